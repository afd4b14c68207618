"""Asks MindSpore what it finds, in a process of its own, which may crash without harm.

`python -m sharpdro.doctor.probe DEVICE` prints a line of JSON behind MARK for each thing as it is
known.
"""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from sharpdro.device import DEVICE_TARGETS, is_available, select_device

MARK = "sharpdro.doctor: "
# A convolution of the networks here, in the middle of WideResNet-28-2: images, channels, side.
IMAGES, CHANNELS, SIDE = 100, 32, 32
_ROOT = Path(__file__).resolve().parents[2]
_SECONDS = 300


@dataclass(frozen=True)
class Answer:
    """What MindSpore says.

    Args:
        known: version; devices, a number by name; device, the one that computed; name, what that
            is called; seconds, of a convolution there. What it did not come to is missing.
        failure: why it did not come to all; empty: it did.
        log: what it printed besides.
    """

    known: dict
    failure: str
    log: list[str]


def ask(target: str) -> Answer:
    """Ask MindSpore.

    Args:
        target: one of DEVICE_TARGETS, to compute on.
    """
    command = [sys.executable, "-m", "sharpdro.doctor.probe", target]
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    environment = {"GLOG_v": "2", **os.environ, "PYTHONPATH": path}
    how = {"env": environment, "stdin": subprocess.DEVNULL, "timeout": _SECONDS}
    try:
        done = subprocess.run(command, capture_output=True, **how)
    except subprocess.TimeoutExpired:
        return Answer({}, f"it gave no answer in {_SECONDS} s", [])
    out, error = (text.decode(errors="replace").splitlines() for text in (done.stdout, done.stderr))
    known = {}
    for line in (line for line in out if line.startswith(MARK)):
        known |= json.loads(line.removeprefix(MARK))
    log = [line for line in out + error if line.strip() and not line.startswith(MARK)]
    return Answer(known, _failure(done.returncode, log), log)


def _failure(code: int, log: list[str]) -> str:
    if code == 0:
        return ""
    if code < 0:
        return f"the process was ended by {signal.Signals(-code).name}"
    return log[-1].strip() if log else f"exit code {code}"


def device_count(device: str) -> int:
    """How many GPU or Ascend devices MindSpore finds."""
    import mindspore as ms

    return getattr(ms.device_context, device.lower()).device_count() if is_available(device) else 0


def device_name(device: str) -> str:
    """What a device is called, as far as MindSpore tells."""
    import mindspore as ms

    try:
        return str(ms.hal.get_device_name(0, device))
    except (AttributeError, RuntimeError, ValueError, TypeError):  # announced for removal
        return device


def time_convolution() -> float:
    """The seconds of a 3×3 convolution, once it is warm, by the fastest of three."""
    import mindspore as ms
    import numpy as np
    from mindspore import Tensor, nn

    cell = nn.Conv2d(CHANNELS, CHANNELS, 3, pad_mode="pad", padding=1)
    images = Tensor(np.ones((IMAGES, CHANNELS, SIDE, SIDE)), ms.float32)
    times = []
    for _ in range(4):
        start = time.perf_counter()
        cell(images).asnumpy()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def _print(**known) -> None:
    print(MARK + json.dumps(known), flush=True)


def main(target: str) -> None:
    """Print what there is."""
    import mindspore as ms

    _print(version=ms.__version__)
    counts = {name: device_count(name) for name in DEVICE_TARGETS[2:]}
    _print(devices=counts)
    device = select_device(target if counts.get(target, 1) else "auto")
    _print(device=device, name=device_name(device))
    _print(seconds=time_convolution())


if __name__ == "__main__":
    main(sys.argv[1])
