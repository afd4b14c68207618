"""What is recorded with a run about its environment: machine, versions, data, model."""

import datetime
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path

from dataset.prepare_dataset import describe_foreign
from sharpdro import __version__

_PACKAGE = Path(__file__).resolve().parent.parent
_PACKAGES = ("mindspore", "numpy", "scipy", "pillow")


def describe_environment(device: str) -> dict:
    """Versions, device, commit and command line, for settings.json."""
    return {
        "started": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": shlex.join([sys.executable, *sys.argv]),
        "directory": os.getcwd(),
        "device": device,
        "processor": platform.processor() or platform.machine(),
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "sharpdro": __version__,
        **{name: _version(name) for name in _PACKAGES},
        "git_commit": _git_commit(),
        "onednn_max_cpu_isa": os.environ.get("ONEDNN_MAX_CPU_ISA"),
    }


def cpu_model() -> str | None:
    """The CPU's model, as Linux names it; None where it does not."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    entries = (line.partition(":") for line in lines)
    return next((text.strip() for key, _, text in entries if key.strip() == "model name"), None)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """The project's commit, with "-dirty" where files were changed; None without git."""
    command = ["git", "-C", str(_PACKAGE), "describe", "--always", "--abbrev=40", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def describe_data(folder: Path, device: str, data) -> str:
    """The lines a run begins with: where it writes, how much it trains and is measured on."""
    counts = data.train.counts(len(data.test.arrays))
    lines = [
        f"run directory: {folder}",
        f"device: {device}",
        f"training images at severity 0…{len(counts) - 1}: {' '.join(map(str, counts))}",
        f"evaluation images at every severity: {len(data.validation.labels)} validation, "
        f"{len(data.test.labels)} test",
    ]
    if data.num_foreign:
        lines.append(describe_foreign(data.num_foreign))
    empty = [str(severity) for severity, count in enumerate(counts) if not count]
    if empty:
        lines.append(f"no training images at severity {' '.join(empty)}")
    return "\n".join(lines)
