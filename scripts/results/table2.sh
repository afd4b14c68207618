#!/usr/bin/env bash
# Table 2: 400 images a class and many epochs, so that the training set is learnt by heart. Methods
# that need two passes train for 40 epochs, the others for 80, which takes as long. Flags go to every
# run of main.py; set from outside which corruptions and seeds, and how many runs at a time:
#
#   CORRUPTIONS=gaussian_noise SEEDS="0 1 2" JOBS=2 bash scripts/results/table2.sh --log_dir logs/table2
#
# Stop it at any moment; the same command goes on.
set -euo pipefail

export CORRUPTIONS="${CORRUPTIONS:-gaussian_noise jpeg_compression}" SEEDS="${SEEDS:-0 1 2}"
cd "$(dirname "$0")/.."

sweep() { # DESC, METHODS, epochs, flags
    DESC=$1 METHODS=$2 bash sweep_methods.sh -n 400 --depth 16 --widen_factor 1 --num_val 2000 \
        --total_epoch "$3" --eval_every "$3" "${@:4}"
}

sweep table2 "erm erm_worst" 80 "$@"
sweep rho.1 "sam sharpdro" 40 --rho .1 "$@"
sweep rho.05 sharpdro 40 --rho .05 "$@"
sweep rho.2 sharpdro 40 --rho .2 "$@"
sweep kurtosis sharpdro_agnostic 40 --ood_score kurtosis "$@"
sweep table2 "jtt eiil" 80 "$@"
