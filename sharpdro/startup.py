"""What a program does before it imports anything else: `start_program` in its first lines.

Importing a module of this package sets nothing; programs and `device.prepare_kernels` do.
"""

import importlib.util
import os
import re
import signal
import sys

from sharpdro.machine import device_files

PACKAGES = {"mindspore": "mindspore", "numpy": "numpy", "scipy": "scipy", "PIL": "pillow"}
PACKAGES |= {"tqdm": "tqdm"}
OLDEST_PYTHON, NEWEST_PYTHON = (3, 10), (3, 12)  # of Python, for MindSpore
_WARNINGS, _FATAL = "2", "4"  # of GLOG_v, from which on MindSpore reports


def start_program() -> None:
    """Prepare the process for a program; ends it with one line where a package is missing.

    Signals are held back from here on, also by the threads of what is imported, see `interrupts`.
    MindSpore's own log, which reports every plugin that is not installed as an error, is cut down
    to what is fatal; where there is a GPU or Ascend to be used, warnings are let through. Processes
    on CPUs that train together wait two hours for one another, not half a minute, as one of them
    may have data to make or to save; one that dies is noticed all the same. What the user has set
    is left alone.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    check_packages()
    os.environ.setdefault("GLOG_v", _WARNINGS if _may_use_device(sys.argv[1:]) else _FATAL)
    os.environ.setdefault("MS_CPU_COMM_OP_TIMEOUT", "7200")


def _may_use_device(words: list[str]) -> bool:
    """Whether this machine has a GPU or Ascend, which a command line does not exclude."""
    named = re.findall(r"--device_target[ =](\w+)", " ".join(words))
    if named and named[-1] == "CPU":
        return False
    return any(device_files(device) for device in ("GPU", "Ascend"))


def check_packages() -> None:
    """Check that Python and the packages are those that the program needs.

    Raises:
        SystemExit: something is missing, which one line on stderr names.
    """
    missing = [name for module, name in PACKAGES.items() if not importlib.util.find_spec(module)]
    if not missing:
        return
    advice = "activate the environment that has it, or pip install -r requirements.txt"
    if not OLDEST_PYTHON <= sys.version_info[:2] <= NEWEST_PYTHON:
        here = ".".join(map(str, sys.version_info[:2]))
        advice = f"it needs Python 3.10, 3.11 or 3.12, and this is {here}"
    name = sys.argv[0].rpartition("/")[2]
    print(f"{name}: error: {', '.join(missing)} not installed: {advice}", file=sys.stderr)
    sys.exit(2)
