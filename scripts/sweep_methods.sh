#!/usr/bin/env bash
# Trains by every method with every seed, one run after the other. Runs that are finished are
# skipped, those that were cut off go on: stop it and start it again as you like. Flags go to every
# run of main.py, so only such as all the methods have; the loops are meant to be edited.
#
#   METHODS="erm sharpdro_agnostic" SEEDS="0 1 2" bash scripts/sweep_methods.sh -d cifar10 -n 1000 --total_epoch 20 ...
set -uo pipefail
. "$(dirname "$0")/environment.sh" requirements.txt

known=$(python -c 'from sharpdro.methods import METHODS; print(*METHODS)') || exit 2
: "${METHODS:=$known}" "${SEEDS:=0 1 2}"
for method in $METHODS; do
    if [[ " $known " != *" $method "* ]]; then
        echo "error: no method $method in METHODS: choose from $known" >&2
        exit 2
    fi
done
for flag in "$@"; do
    case $flag in
    --method* | --seed* | --distribution_agnostic)
        echo "error: $flag is given by the sweep: set METHODS or SEEDS" >&2
        exit 2
        ;;
    esac
done
failed=()
for seed in $SEEDS; do
    for method in $METHODS; do
        flags=(--method "${method%_agnostic}")
        if [[ $method == *_agnostic ]]; then flags+=(--distribution_agnostic); fi
        echo "== ${flags[*]} --seed $seed"
        python main.py "${flags[@]}" --seed "$seed" --resume "$@"
        code=$?
        if [ $code -eq 130 ] || [ $code -eq 143 ]; then exit $code; fi # Ctrl-C, SIGTERM
        if [ $code -ne 0 ]; then failed+=("$method seed $seed (exit code $code)"); fi
    done
done
if [ ${#failed[@]} -gt 0 ]; then
    printf 'failed: %s\n' "${failed[@]}" >&2
    exit 1
fi
