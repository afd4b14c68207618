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
# free). Shows what the machine's first process says. Ctrl-C, SIGTERM and SIGHUP let the processes
# agree on a step and save; a second one ends them at once. The same command with --resume goes on.
set -euo pipefail

launcher='' folder='' stopped=0
finish() { # exit code
    if [ -n "$folder" ]; then rm -rf "$folder"; fi
    echo "distributed.sh: stopped: the same command with --resume goes on after what is saved" >&2
    exit "$1"
}
have_met() { grep -qs 'have found one another' "$folder"/worker_*.log; }
# The processes that train, each of which msrun makes the leader of a session.
workers() { ps -o pid=,sid= --ppid "$launcher" | awk '$1 == $2 { print $1 }'; }
stop() { # exit code
    if [ -z "$launcher" ]; then finish "$1"; fi
    local is_first=$((stopped == 0)) pids
    stopped=$1
    # Again and again, as msrun listens only when all processes are started.
    while kill -0 "$launcher" 2>/dev/null; do
        pids=$(workers) || pids=''
        if [ "$is_first" -eq 1 ] && [ -n "$pids" ] && have_met; then
            kill -TERM $pids 2>/dev/null || true
        else # nothing is trained that could be lost
            kill -INT "$launcher" 2>/dev/null || true
        fi
        sleep 1 || true
    done
}
# MindSpore waits two hours for a process that the network has lost. The scheduler, to which all have
# connected, misses it and ends after half a minute, which the other machines see in turn.
watch() {
    local misses=0
    until [ "$misses" -eq 3 ]; do
        sleep 10
        if timeout 10 bash -c "exec 3<> /dev/tcp/$master/$port" || ! have_met; then
            misses=0
        else
            misses=$((misses + 1))
        fi
    done
    touch "$folder/lost"
    while kill -INT "$launcher"; do sleep 1; done
}
trap 'stop 130' INT
trap 'stop 143' TERM
trap 'stop 129' HUP

if ! [[ "${1:-}" =~ ^[1-9][0-9]*$ ]]; then
    echo "error: name the number of processes first: scripts/distributed.sh 2 -d cifar10" >&2
    exit 2
fi
processes=$1 machines=${MACHINES:-1} machine=${MACHINE:-0} master=${MASTER:-127.0.0.1}
shift
if [ "$machines" -gt 1 ] && [ -z "${MASTER:-}" ]; then
    echo "error: MACHINES=$machines needs MASTER=<address of machine 0>" >&2
    exit 2
fi
. "$(dirname "$0")/environment.sh" requirements.txt

port=${PORT:-8118}
if [ "$machines" -eq 1 ] && [ -z "${PORT:-}" ]; then port=0; fi
if [ "$machine" -eq 0 ]; then # where the processes will look for one another nobody may listen yet
    port=$(python - "$master" "$port" <<'EOF'
import socket, sys
try:
    print(socket.create_server((sys.argv[1], int(sys.argv[2]))).getsockname()[1])
except (OSError, ValueError, OverflowError) as error:
    reason = getattr(error, "strerror", None) or error
    advice = "choose another with PORT=…, or the machine's own address with MASTER=…"
    sys.exit(f"error: port {sys.argv[2]} of {sys.argv[1]} cannot be used ({reason}): {advice}")
EOF
) || exit 2
fi
folder=$(mktemp -d "${TMPDIR:-/tmp}/sharpdro.XXXXXX")
first=$folder/worker_$((machine * processes)).log
touch "$first"
# In sessions of their own, so that signals to the whole group come to this script alone; the system
# ends msrun with it.
setpriv --pdeathsig KILL setsid \
    msrun --worker_num=$((processes * machines)) --local_worker_num="$processes" --join=True \
    --node_rank="$machine" --master_addr="$master" --master_port="$port" \
    --log_dir="$folder" main.py --distributed "$@" > "$folder/msrun.log" 2>&1 &
launcher=$!
setsid tail -n +1 -f --pid="$launcher" "$first" | setsid grep --line-buffered -v '^\[INFO\]' &
watch < /dev/null > /dev/null 2>&1 &
watcher=$!
code=0
wait "$launcher" || code=$?
kill "$watcher" 2>/dev/null || true
wait || true
if [ "$stopped" -ne 0 ]; then finish "$stopped"; fi
if [ -e "$folder/lost" ]; then
    rm -rf "$folder"
    echo "error: the processes have lost one another: see to the network between the machines; the" \
         "same command with --resume goes on after the last finished epoch" >&2
    exit 1
fi
if [ "$code" -ne 0 ]; then
    if error=$(grep -h '^main.py: error: ' "$folder"/worker_*.log | grep -v 'first process' | sort -u); then
        grep -q '^main.py: error: ' "$first" || echo "$error" >&2
        rm -rf "$folder"
        exit 2
    fi
    if grep -qs '^main.py: \(interrupted\|terminated\|hung up\): ' "$folder"/worker_*.log; then
        finish 143 # one of the processes was stopped, and all of them with it
    fi
    echo "error: a process has ended before its time (what each said is in $folder); the same" \
         "command with --resume goes on after the last finished epoch" >&2
    exit 1
fi
rm -rf "$folder"
