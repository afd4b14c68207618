"""Whether Python and the packages are those that the program needs, asked before any is used."""

import importlib.util
import sys

_PACKAGES = {"mindspore": "mindspore", "numpy": "numpy", "scipy": "scipy", "PIL": "pillow"}
_PACKAGES |= {"tqdm": "tqdm"}
_OLDEST, _NEWEST = (3, 10), (3, 12)  # of Python, for MindSpore


def check_packages() -> None:
    """End the process with one line where something is missing."""
    missing = [name for module, name in _PACKAGES.items() if not importlib.util.find_spec(module)]
    if not missing:
        return
    advice = "activate the environment that has it, or pip install -r requirements.txt"
    if not _OLDEST <= sys.version_info[:2] <= _NEWEST:
        here = ".".join(map(str, sys.version_info[:2]))
        advice = f"it needs Python 3.10, 3.11 or 3.12, and this is {here}"
    name = sys.argv[0].rpartition("/")[2]
    print(f"{name}: error: {', '.join(missing)} not installed: {advice}", file=sys.stderr)
    sys.exit(2)
