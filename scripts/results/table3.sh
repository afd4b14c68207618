#!/usr/bin/env bash
# Table 3: the paper's network and all images, but few epochs; 10 for methods that need two passes,
# 20 for ERM, which takes as long. Flags go to every run of main.py; set from outside which seeds, and
# how many runs at a time:
#
#   SEEDS=0 bash scripts/results/table3.sh --log_dir logs/table3
#
# Stop it at any moment; the same command goes on.
set -euo pipefail

export SEEDS="${SEEDS:-0}"
cd "$(dirname "$0")/.."

sweep() { # METHODS, epochs, flags
    DESC=table3 METHODS=$1 bash sweep_methods.sh -n 4000 --num_val 2000 --total_epoch "$2" \
        --eval_every "$2" "${@:3}"
}

sweep "sharpdro sam" 10 "$@"
sweep erm 20 "$@"
