#!/usr/bin/env bash
# One method (or several) on each of the fifteen standard corruptions. Flags go to every run of
# main.py. What to go through can be edited here, or set from outside:
#
#   CORRUPTIONS="fog snow" METHODS="erm sharpdro" bash scripts/sweep_corruptions.sh -n 1000 --total_epoch 20
set -uo pipefail

: "${DATASETS:=cifar10}" "${SEVERITIES:=5}" "${METHODS:=sharpdro}" "${SEEDS:=0}" "${DESC:=run}"
: "${CORRUPTIONS:=gaussian_noise shot_noise impulse_noise defocus_blur glass_blur motion_blur \
    zoom_blur snow frost fog brightness contrast elastic_transform pixelate jpeg_compression}"
. "$(dirname "$0")/grid.sh"
train_grid "$@"
