"""MindSpore's plugins for devices, and the libraries that they miss here."""

import importlib.util
import re
import subprocess
from pathlib import Path

_FOLDER = Path("lib", "plugin")
# By device: what its plugins are called, and what to install for them.
PLUGINS = {
    "GPU": ("libmindspore_gpu.so.*", "CUDA 11.6 and cuDNN 8 (or CUDA 11.1) and the NVIDIA driver"),
    "Ascend": ("libmindspore_ascend.so.*", "CANN and the Ascend driver"),
}


def missing_libraries(device: str) -> tuple[str, list[str]]:
    """The newest plugin for GPU or Ascend that MindSpore brings, and the libraries that it misses.

    Empty where MindSpore, or a plugin for the device, is not there.
    """
    spec = importlib.util.find_spec("mindspore")
    if spec is None or not spec.origin:
        return "", []
    plugins = sorted(Path(spec.origin).parent.joinpath(_FOLDER).glob(PLUGINS[device][0]))
    return (plugins[-1].name, _missing(plugins[-1])) if plugins else ("", [])


def _missing(library: Path) -> list[str]:
    try:
        done = subprocess.run(["ldd", str(library)], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):  # no ldd here
        return []
    return sorted({*re.findall(r"^\s*(\S+) => not found", done.stdout, re.MULTILINE)})
