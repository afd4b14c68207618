# Sourced by the sweeps: `train_grid FLAGS…` trains once for every combination of the values in
# DATASETS, CORRUPTIONS, SEVERITIES, METHODS and SEEDS, one run after the other, or JOBS=K at a time,
# each on its share of the cores. Runs that are finished are skipped, those that were cut off go on:
# stop it and start it again as you like. A run that fails does not stop the others; failed ones are
# named at the end, and `train_grid` returns 1, then and whenever the script calls it again. Relative
# paths in FLAGS are meant from the project's folder. PRINT=1 prints the commands instead, one a line,
# for Slurm's arrays or GNU parallel.
: "${JOBS:=1}" "${PRINT:=0}"
grid_code=0
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh" requirements.txt >&2

refuse() {
    echo "error: $1" >&2
    exit 2
}

# Refuses a value that is none of the known ones, before anything starts.
check_names() { # variable, its values, known values, what can be given besides
    local value
    for value in $2; do
        if [[ " $3 " != *" $value "* ]]; then
            refuse "$1: $(python -c 'from corruptions.command_line import invalid_choice
import sys; print(invalid_choice(sys.argv[1], sys.argv[3:], sys.argv[2]))' "$value" "${4:-}" $3)"
        fi
    done
}

# Splits a name of METHODS into main.py's method and a variant of the data: sets `base`, `suffix` for
# the runs' names, and `variant`, its flags. The user's own methods have no variants.
split_name() { # name
    base=$1 suffix='' variant=()
    case $1 in
    *:*) ;;
    *_balanced) variant=(--sampler balanced) ;;
    *_uniform | *_worst | *_clean) variant=(--severity_law "${1##*_}") ;;
    esac
    if [ ${#variant[@]} -gt 0 ]; then suffix=-${1##*_} base=${1%_*}; fi
}

check_grid() {
    local known flag method name base suffix variant
    for name in DATASET CORRUPTION METHOD SEED; do
        if [ -n "${!name:-}" ]; then
            echo "note: $name=${!name} has no effect; did you mean ${name}S?" >&2
        fi
    done
    known=$(python -c 'from corruptions import CORRUPTIONS
from dataset.specs import DATASETS, OWN
from sharpdro.methods.specs import METHODS
for names in (*DATASETS, *OWN), CORRUPTIONS, METHODS: print(*names)') || exit 2
    mapfile -t known <<<"$known"
    check_names DATASETS "$DATASETS" "${known[0]}"
    check_names CORRUPTIONS "$CORRUPTIONS" "${known[1]}"
    for method in $METHODS; do
        if [[ $method != *:* ]]; then # main.py looks for the user's own
            split_name "$method"
            check_names METHODS "$base" "${known[2]}" \
                ", each also with _balanced, _uniform, _worst or _clean at its end"
        fi
    done
    check_names SEVERITIES "$SEVERITIES" "1 2 3 4 5"
    for flag in $SEEDS; do
        case $flag in *[!0-9]*) refuse "$flag in SEEDS is not a whole number" ;; esac
    done
    for flag in "$@"; do
        case $flag in
        -d* | --dataset* | -c* | --corruption* | --num_severity* | --method | --method=* | \
            --seed* | --desc* | --distribution_agnostic | --resume)
            refuse "$flag is given by the sweep: set DATASETS, CORRUPTIONS, SEVERITIES, METHODS, SEEDS, DESC" ;;
        esac
        for method in $METHODS; do
            split_name "$method"
            if [ -n "$suffix" ] && [[ $flag == "${variant[0]}" || $flag == "${variant[0]}="* ]]; then
                refuse "$flag is given by $method: take one of them out"
            fi
        done
    done
    python -c 'from sharpdro.command_line.flags import FLAGS, create_parser, given_settings
import sys; given_settings(create_parser("main.py"), FLAGS, sys.argv[1:])' "$@" || exit
}

# Sets `cores` to the cores of each slot, as taskset takes them; one slot has all without it.
share_out_cores() {
    local own slot
    cores=()
    if [ "$JOBS" -eq 1 ]; then return; fi
    own=($(python -c 'import os; print(*sorted(os.sched_getaffinity(0)))'))
    for ((slot = 0; slot < JOBS; slot++)); do
        local from=$((slot * ${#own[@]} / JOBS)) to=$(((slot + 1) * ${#own[@]} / JOBS))
        if [ $to -eq $from ]; then to=$((from + 1)); fi # more jobs than cores
        cores[slot]=$(IFS=, && echo "${own[*]:from:to-from}")
    done
}

# Starts main.py in a slot. Ctrl-C reaches it, although bash lets processes in the background ignore
# it; that and SIGTERM are for the traps of train_grid.
start_run() { # slot, flags of main.py
    local slot=$1 command=(env --default-signal=INT python main.py)
    shift
    if [ "$JOBS" -gt 1 ]; then
        command=(taskset -c "${cores[slot]}" "${command[@]}")
        set -- "$@" --no-show_progress
    fi
    "${command[@]}" "$@" &
    pids[slot]=$!
}

# Sets `slot` to one that is free, once there is one, and notes how the run there has ended.
wait_for_slot() {
    while true; do
        for ((slot = 0; slot < JOBS; slot++)); do
            if [ -z "${pids[slot]:-}" ]; then return; fi
            if ! kill -0 "${pids[slot]}" 2>/dev/null; then
                wait_for_run "$slot"
                return
            fi
        done
        if [ "$JOBS" -eq 1 ]; then wait "${pids[0]}" 2>/dev/null; else sleep 0.1; fi
    done
}

wait_for_run() { # slot
    local code=0
    while kill -0 "${pids[$1]}" 2>/dev/null; do wait "${pids[$1]}"; done # signals cut a wait short
    wait "${pids[$1]}" || code=$?
    unset "pids[$1]"
    if [ $code -eq 130 ] || [ $code -eq 143 ]; then # Ctrl-C, SIGTERM
        : "${stopped:=$code}"
    elif [ $code -ne 0 ]; then
        failed+=("${runs[$1]} (exit code $code)")
    fi
}

# Ends with 130 or 143 if runs were stopped, once all of them have ended.
end_if_stopped() {
    local slot
    if [ -z "$stopped" ]; then return; fi
    for slot in "${!pids[@]}"; do
        [[ $told == *" ${pids[slot]} "* ]] || kill -TERM "${pids[slot]}" 2>/dev/null
    done
    for slot in "${!pids[@]}"; do wait_for_run "$slot"; done
    name_failed
    echo "stopped: start the sweep again, and it goes on" >&2
    exit "$stopped"
}

name_failed() {
    if [ ${#failed[@]} -gt 0 ]; then printf 'failed: %s\n' "${failed[@]}" >&2; fi
}

# Trains with the flags of one combination, or prints the command.
train_one() { # what the user gave
    local slot
    if [ "$PRINT" = 1 ]; then
        printf 'cd %q && %q main.py' "$PWD" "$(command -v python)"
        printf ' %q' "${flags[@]}" --resume "$@"
        printf '\n'
        return
    fi
    wait_for_slot
    end_if_stopped
    echo "== ${flags[*]}"
    runs[slot]=${flags[*]}
    start_run "$slot" "${flags[@]}" --resume "$@"
}

train_grid() {
    case $JOBS in '' | 0* | *[!0-9]*) refuse "JOBS=$JOBS is not a whole number of at least 1" ;; esac
    check_grid "$@"
    local failed=() pids=() runs=() cores stopped='' told='' flags slot
    local desc dataset corruption severity method seed base suffix variant
    share_out_cores
    # SIGTERM to the sweep alone is passed on; Ctrl-C has reached the runs already.
    trap 'stopped=143 told=" ${pids[*]} "; kill -TERM "${pids[@]}" 2>/dev/null' TERM
    trap 'stopped=130 told=" ${pids[*]} "' INT
    for dataset in $DATASETS; do for corruption in $CORRUPTIONS; do for severity in $SEVERITIES; do
        for seed in $SEEDS; do for method in $METHODS; do
            split_name "$method"
            # The name of a run's directory does not tell how many severities there are, nor what
            # variant it is.
            desc=$DESC
            if [ "$severity" != 5 ]; then desc+=-severity$severity; fi
            desc+=$suffix
            flags=(--desc "$desc" -d "$dataset" -c "$corruption" --num_severity "$severity"
                --seed "$seed")
            if [[ $base == *_agnostic && $base != *:* ]]; then
                flags+=(--method "${base%_agnostic}" --distribution_agnostic)
            else
                flags+=(--method "$base")
            fi
            flags+=("${variant[@]}")
            train_one "$@"
            end_if_stopped
        done; done
    done; done; done
    for slot in "${!pids[@]}"; do wait_for_run "$slot"; done
    end_if_stopped
    name_failed
    if [ ${#failed[@]} -gt 0 ]; then grid_code=1; fi
    return $grid_code
}
