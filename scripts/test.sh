#!/usr/bin/env bash
# Checks the code's style and runs the tests, two files at a time. --slow adds those that take
# minutes; other arguments go to pytest.
set -euo pipefail
. "$(dirname "$0")/environment.sh" requirements-test.txt

select="not slow"
arguments=()
for argument in "$@"; do
    if [ "$argument" = --slow ]; then select=""; else arguments+=("$argument"); fi
done

ruff check .
ruff format --check .
python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "$select" --durations=10 "${arguments[@]}"
