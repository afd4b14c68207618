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


def missing_libraries(device: str) -> dict[str, list[str]]:
    """The libraries that each plugin for GPU or Ascend misses, by the plugin's file name.

    Empty where MindSpore, or a plugin for the device, is not there.
    """
    return {path.name: _missing(path) for path in _plugins(PLUGINS[device][0])}


def _plugins(pattern: str) -> list[Path]:
    spec = importlib.util.find_spec("mindspore")
    if spec is None or not spec.origin:
        return []
    return sorted(Path(spec.origin).parent.joinpath(_FOLDER).glob(pattern), reverse=True)


def _missing(library: Path) -> list[str]:
    try:
        done = subprocess.run(["ldd", str(library)], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):  # no ldd here
        return []
    return sorted({*re.findall(r"^\s*(\S+) => not found", done.stdout, re.MULTILINE)})
