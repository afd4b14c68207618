#!/usr/bin/env bash
# One method (or several) with training sets of fewer and of all severities: --num_severity 1 to 5.
# Below 5, run directories begin with DESC-severityS. Flags go to every run of main.py. What to go
# through can be edited here, or set from outside:
#
#   SEVERITIES="1 3 5" METHODS="erm sharpdro" bash scripts/sweep_severities.sh -n 1000 --total_epoch 20
set -uo pipefail

: "${DATASETS:=cifar10}" "${CORRUPTIONS:=gaussian_noise}" "${SEVERITIES:=1 2 3 4 5}"
: "${METHODS:=sharpdro}" "${SEEDS:=0}" "${DESC:=run}"
. "$(dirname "$0")/grid.sh"
train_grid "$@"
