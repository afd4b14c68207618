#!/usr/bin/env bash
# Table 3: the paper's network and all images, but few epochs: 8 for methods that need two passes,
# 16 for ERM, which takes as long. Flags go to every run of main.py; set from outside which seeds, and
# how many runs at a time:
#
#   SEEDS=0 bash scripts/results/table3.sh --log_dir logs/table3
#
# Stop it at any moment; the same command goes on.
set -uo pipefail

: "${SEEDS:=0}"
DATASETS=cifar10 CORRUPTIONS=gaussian_noise SEVERITIES=5 DESC=table3
. "$(dirname "$0")/../grid.sh"
set -- -n 4000 --num_val 2000 "$@"

METHODS="sharpdro sam"
train_grid "$@" --total_epoch 8 --eval_every 8
METHODS=erm
train_grid "$@" --total_epoch 16 --eval_every 16
