#!/usr/bin/env bash
# Table 2: 400 images a class and many epochs, so that the training set is learnt by heart. Methods
# that need two passes train for 40 epochs, the others for 80, which takes as long; ERM does both, so
# that an effect of fewer steps is not taken for one of flatness. What tells most comes first. Flags
# go to every run of main.py; set from outside which corruptions and seeds, and how many runs at a
# time:
#
#   CORRUPTIONS=gaussian_noise SEEDS="0 1 2" JOBS=2 bash scripts/results/table2.sh --log_dir logs/table2
#
# Stop it at any moment; the same command goes on.
set -uo pipefail

: "${CORRUPTIONS:=gaussian_noise jpeg_compression}" "${SEEDS:=0 1 2}"
DATASETS=cifar10 SEVERITIES=5
. "$(dirname "$0")/../grid.sh"
set -- -n 400 --depth 16 --widen_factor 1 --num_val 2000 "$@"
one_pass=(--total_epoch 80 --eval_every 80) two_passes=(--total_epoch 40 --eval_every 40)

DESC=table2 METHODS="erm erm_worst"
train_grid "$@" "${one_pass[@]}"
DESC=table2-half METHODS=erm
train_grid "$@" "${two_passes[@]}"
for rho in .1 .05 .2; do
    DESC=table2-rho$rho METHODS=sharpdro
    if [ $rho != .05 ]; then METHODS="sam sharpdro"; fi
    train_grid "$@" "${two_passes[@]}" --rho $rho
done
DESC=table2-kurtosis METHODS=sharpdro_agnostic
train_grid "$@" "${two_passes[@]}" --ood_score kurtosis
DESC=table2 METHODS="jtt eiil"
train_grid "$@" "${one_pass[@]}"
