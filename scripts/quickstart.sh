#!/usr/bin/env bash
# The main job on the drawn dataset, without a download: train with SharpDRO, then show test
# accuracy per severity: two or three minutes on two cores once the packages are there. Further flags
# of main.py can follow.
set -euo pipefail
. "$(dirname "$0")/environment.sh" requirements.txt

python main.py -d synthetic --desc quickstart --resume \
    --lr 0.05 --total_epoch 6 -b 50 --num_val 500 --eval_every 3 --log_train 20 "$@"
