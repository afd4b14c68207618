# Sourced by the sweeps: `train_grid FLAGS…` trains once for every combination of the values in
# DATASETS, CORRUPTIONS, SEVERITIES, METHODS and SEEDS, one run after the other. Runs that are
# finished are skipped, those that were cut off go on: stop it and start it again as you like.
# A run that fails does not stop the others; failed ones are named at the end. Relative paths in
# FLAGS are meant from the project's folder.
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh" requirements.txt

refuse() {
    echo "error: $1" >&2
    exit 2
}

# Refuses a value that is none of the known ones, before anything starts.
check_names() { # variable, its values, known values
    local value
    for value in $2; do
        if [[ " $3 " != *" $value "* ]]; then refuse "no $value in $1: choose from $3"; fi
    done
}

# A method without what is added to its name for a variant of the data.
strip_variant() {
    local name=$1
    case $name in *_balanced | *_uniform | *_worst | *_clean) name=${name%_*} ;; esac
    echo "$name"
}

# Sets `flags` to those of a method or variant of one.
set_method_flags() { # name
    local name
    name=$(strip_variant "$1")
    flags=(--method "${name%_agnostic}")
    if [[ $name == *_agnostic ]]; then flags+=(--distribution_agnostic); fi
    case $1 in
    *_balanced) flags+=(--sampler balanced) ;;
    *_uniform | *_worst | *_clean) flags+=(--severity_law "${1##*_}") ;;
    esac
}

check_grid() {
    local known flag method
    known=$(python -c 'from corruptions import CORRUPTIONS
from dataset.specs import DATASETS
from sharpdro.methods.specs import METHODS
for names in DATASETS, CORRUPTIONS, METHODS: print(*names)') || exit 2
    mapfile -t known <<<"$known"
    check_names DATASETS "$DATASETS" "${known[0]}"
    check_names CORRUPTIONS "$CORRUPTIONS" "${known[1]}"
    for method in $METHODS; do
        if [[ $method != *:* ]]; then # main.py looks for the user's own
            check_names METHODS "$(strip_variant "$method")" "${known[2]}"
        fi
    done
    check_names SEVERITIES "$SEVERITIES" "1 2 3 4 5"
    for flag in $SEEDS; do
        case $flag in *[!0-9]*) refuse "$flag in SEEDS is not a whole number" ;; esac
    done
    for flag in "$@"; do
        case $flag in
        -d* | --dataset* | -c* | --corruption* | --num_severity* | --method* | --seed* | --desc* | \
            --distribution_agnostic | --resume)
            refuse "$flag is given by the sweep: set DATASETS, CORRUPTIONS, SEVERITIES, METHODS, SEEDS, DESC" ;;
        esac
    done
}

# Sets `code` to main.py's exit code. SIGTERM to the sweep alone is passed on, which bash would do
# only after a foreground process has ended; and Ctrl-C reaches main.py, although bash lets
# processes in the background ignore it.
run_main() {
    local child
    env --default-signal=INT python main.py "$@" &
    child=$!
    trap 'kill -TERM $child 2>/dev/null' TERM
    trap : INT
    wait $child
    code=$?
    while kill -0 $child 2>/dev/null; do # the wait was cut short by a signal
        wait $child
        code=$?
    done
    trap - TERM INT
}

name_failed() {
    if [ ${#failed[@]} -gt 0 ]; then printf 'failed: %s\n' "${failed[@]}" >&2; fi
}

train_grid() {
    check_grid "$@"
    local failed=() code flags desc dataset corruption severity method seed
    for dataset in $DATASETS; do for corruption in $CORRUPTIONS; do for severity in $SEVERITIES; do
        for seed in $SEEDS; do for method in $METHODS; do
            # The name of a run's directory does not tell how many severities there are, nor what
            # variant it is.
            desc=$DESC
            if [ "$severity" != 5 ]; then desc=$DESC-severity$severity; fi
            if [ "$(strip_variant "$method")" != "$method" ]; then desc+=-${method##*_}; fi
            set_method_flags "$method"
            flags=(--desc "$desc" -d "$dataset" -c "$corruption" --num_severity "$severity"
                --seed "$seed" "${flags[@]}")
            echo "== ${flags[*]}"
            run_main "${flags[@]}" --resume "$@"
            if [ $code -eq 130 ] || [ $code -eq 143 ]; then # Ctrl-C, SIGTERM
                name_failed
                echo "stopped: start the sweep again, and it goes on" >&2
                exit $code
            fi
            if [ $code -ne 0 ]; then failed+=("${flags[*]} (exit code $code)"); fi
        done; done
    done; done; done
    name_failed
    if [ ${#failed[@]} -gt 0 ]; then exit 1; fi
}
