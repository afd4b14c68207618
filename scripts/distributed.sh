#!/usr/bin/env bash
# Trains in several processes, each with a part of every batch (a device each, where there are any):
#
#   scripts/distributed.sh N [flags of main.py …]
#
# On several machines that share --log_dir, the same on each of them, N being its own processes:
#
#   MACHINES=2 MACHINE=0 MASTER=<address of machine 0> scripts/distributed.sh N [flags …]
#   MACHINES=2 MACHINE=1 MASTER=<address of machine 0> scripts/distributed.sh N [flags …]
#
# PORT is the one on which machine 0 brings the processes together (8118; on one machine one that is
# free). Shows what the machine's first process says. Stopped by Ctrl-C or killed, the same command
# with --resume goes on.
set -euo pipefail
if ! [[ "${1:-}" =~ ^[1-9][0-9]*$ ]]; then
    echo "error: name the number of processes first: scripts/distributed.sh 2 -d cifar10" >&2
    exit 2
fi
processes=$1 machines=${MACHINES:-1} machine=${MACHINE:-0}
shift
if [ "$machines" -gt 1 ] && [ -z "${MASTER:-}" ]; then
    echo "error: MACHINES=$machines needs MASTER=<address of machine 0>" >&2
    exit 2
fi
. "$(dirname "$0")/environment.sh" requirements.txt

port=${PORT:-8118}
if [ "$machines" -eq 1 ] && [ -z "${PORT:-}" ]; then
    port=$(python -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])')
fi
folder=$(mktemp -d "${TMPDIR:-/tmp}/sharpdro.XXXXXX")
first=$folder/worker_$((machine * processes)).log
touch "$first"
msrun --worker_num=$((processes * machines)) --local_worker_num="$processes" --join=True \
    --node_rank="$machine" --master_addr="${MASTER:-127.0.0.1}" --master_port="$port" \
    --log_dir="$folder" main.py --distributed "$@" > "$folder/msrun.log" 2>&1 &
launcher=$!
stopped=0
stop() {
    stopped=$1
    # Again and again, as msrun listens only when all processes are started.
    while kill -INT "$launcher" 2>/dev/null; do sleep 1; done
}
trap 'stop 130' INT
trap 'stop 143' TERM HUP
tail -n +1 -f --pid="$launcher" "$first" | grep --line-buffered -v '^\[INFO\]' &
code=0
wait "$launcher" || code=$?
wait || true
if [ "$stopped" -ne 0 ]; then
    echo "distributed.sh: stopped: the same command with --resume goes on after the last finished" \
         "epoch" >&2
    rm -rf "$folder"
    exit "$stopped"
fi
if [ "$code" -ne 0 ]; then
    if error=$(grep -h '^main.py: error: ' "$folder"/worker_*.log | grep -v 'first process' | sort -u); then
        grep -q '^main.py: error: ' "$first" || echo "$error" >&2
        rm -rf "$folder"
        exit 2
    fi
    echo "error: a process has ended before its time (what each said is in $folder); the same" \
         "command with --resume goes on after the last finished epoch" >&2
    exit 1
fi
rm -rf "$folder"
