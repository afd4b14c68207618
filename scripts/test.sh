#!/usr/bin/env bash
# Checks the code's style and runs the tests, two files at a time. --slow adds those that take long
# or are much like quicker ones; --faults runs those alone that kill runs, fill disks and the like
# (another quarter of an hour). Other arguments go to pytest.
set -euo pipefail
. "$(dirname "$0")/environment.sh" requirements-test.txt

select="not slow and not faults"
arguments=()
for argument in "$@"; do
    case "$argument" in
        --slow) select="not faults" ;;
        --faults) select="faults" ;;
        *) arguments+=("$argument") ;;
    esac
done

ruff check .
ruff format --check .
python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "$select" --durations=10 "${arguments[@]}"
