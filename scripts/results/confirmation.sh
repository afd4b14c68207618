#!/usr/bin/env bash
# Confirms what gains most in table 2 with seeds that nothing was chosen on: SAM, and SharpDRO with
# the rho that was best there, against ERM with as many passes. Flags go to every run of main.py; set
# from outside which corruptions and seeds, and how many runs at a time:
#
#   SEEDS="10 11 12" JOBS=2 bash scripts/results/confirmation.sh --log_dir logs/confirmation
#
# Stop it at any moment; the same command goes on.
set -uo pipefail

: "${CORRUPTIONS:=gaussian_noise}" "${SEEDS:=10 11 12}"
DATASETS=cifar10 SEVERITIES=5 DESC=confirmation
. "$(dirname "$0")/../grid.sh"
set -- -n 400 --depth 16 --widen_factor 1 --num_val 2000 --eval_every 80 "$@"

METHODS=erm
train_grid "$@" --total_epoch 80
METHODS=sam
train_grid "$@" --total_epoch 40 --rho .1
METHODS=sharpdro
train_grid "$@" --total_epoch 40 --rho .2
