#!/usr/bin/env bash
# Table 1 of README.md: every method on a quarter of CIFAR-10, and for reference what other
# severities in training would give; what tells most comes first. Flags go to every run of main.py,
# such as --data_dir, --log_dir and --cpu_kernels; set from outside which seeds, and how many runs at
# a time:
#
#   SEEDS="0 1 2" JOBS=2 bash scripts/results/table1.sh --log_dir logs/table1
#
# Stop it at any moment; the same command goes on.
set -uo pipefail

: "${SEEDS:=0 1 2}"
DATASETS=cifar10 CORRUPTIONS=gaussian_noise SEVERITIES=5
. "$(dirname "$0")/../grid.sh"
set -- -n 1000 --depth 16 --widen_factor 1 --total_epoch 20 --num_val 2000 --eval_every 20 "$@"

DESC=table1 METHODS="sharpdro erm erm_worst sam groupdro groupdro_balanced jtt eiil"
train_grid "$@"
DESC=kurtosis METHODS=sharpdro_agnostic
train_grid "$@" --ood_score kurtosis
DESC=table1-rho METHODS=sam # as in table 2's confirmation
train_grid "$@" --rho .1
METHODS=sharpdro
train_grid "$@" --rho .2
DESC=table1 METHODS="sharpdro_agnostic irm_balanced vrex_balanced irm vrex erm_uniform erm_clean"
train_grid "$@"
