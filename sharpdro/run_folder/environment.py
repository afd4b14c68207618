"""What is recorded with a run about its environment: machine, versions, data, model."""

import datetime
import os
import platform
import shlex
import sys
from pathlib import Path

from dataset.prepare_dataset import describe_foreign
from sharpdro import __version__
from sharpdro.machine import cpu_model, git_commit, package_version

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
        **{name: package_version(name) for name in _PACKAGES},
        "git_commit": git_commit(),
        "onednn_max_cpu_isa": os.environ.get("ONEDNN_MAX_CPU_ISA"),
    }


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
