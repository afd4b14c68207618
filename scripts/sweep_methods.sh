#!/usr/bin/env bash
# Every method with every seed. Flags go to every run of main.py, so only such as all the methods
# have. What to go through can be edited here, or set from outside:
#
#   METHODS="erm sharpdro_agnostic" SEEDS="0 1 2" bash scripts/sweep_methods.sh -n 1000 --total_epoch 20
#
# METHOD_balanced is a method with --sampler balanced (which the authors of groupdro use, DomainBed
# and WILDS with irm, and DomainBed with vrex); METHOD_uniform, METHOD_worst, METHOD_clean have that
# --severity_law: for reference, see README.md.
set -uo pipefail

: "${DATASETS:=cifar10}" "${CORRUPTIONS:=gaussian_noise}" "${SEVERITIES:=5}" "${SEEDS:=0 1 2}"
: "${METHODS:=erm sam groupdro groupdro_balanced irm_balanced vrex_balanced jtt eiil sharpdro_agnostic sharpdro}" "${DESC:=run}"
. "$(dirname "$0")/grid.sh"
train_grid "$@"
