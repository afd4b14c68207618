# Sourced by the other scripts: goes to the project's folder and makes sure that `python` is a
# Python 3.10–3.12 with the packages of the requirements files named as arguments. Uses the active
# virtual environment, or makes one in .venv. PYTHON=… names the Python to make it with.
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

fits() {
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null
}

if [ -z "${VIRTUAL_ENV:-}" ] && [ "${CONDA_DEFAULT_ENV:-base}" = base ]; then
    if [ ! -f .venv/bin/activate ]; then
        for candidate in ${PYTHON:-python3.11 python3.12 python3.10 python3 python}; do
            if fits "$candidate"; then found=$candidate && break; fi
        done
        if [ -z "${found:-}" ]; then
            echo "error: MindSpore needs Python 3.10, 3.11 or 3.12, and none was found" \
                 "(name one with PYTHON=/path/to/python)" >&2
            exit 2
        fi
        echo "making a virtual environment in .venv with $("$found" --version)"
        "$found" -m venv .venv || { rm -rf .venv; exit 2; }
    fi
    . .venv/bin/activate
fi
if ! fits python; then
    echo "error: the active environment has $(python --version 2>&1); MindSpore needs Python" \
         "3.10, 3.11 or 3.12" >&2
    exit 2
fi

for requirements in "$@"; do
    if ! python -m pip install --quiet --dry-run --no-index -r "$requirements" 2>/dev/null; then
        echo "installing $requirements (MindSpore is a download of about 800 MB)"
        python -m pip install --quiet --disable-pip-version-check -r "$requirements" || exit 2
    fi
done
