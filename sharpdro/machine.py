"""This machine and what is installed on it, found out without importing any of it."""

import importlib.metadata
import platform
import subprocess
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
# What drivers put there for each accelerator; the last is how WSL has GPUs.
_DEVICE_FILES = {
    "GPU": ("nvidia[0-9]*", "dxg"),
    "Ascend": ("davinci[0-9]*",),
}


def package_version(package: str) -> str | None:
    """The version of an installed package; None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def git_commit() -> str | None:
    """The project's commit, with "-dirty" where files were changed; None without git."""
    # Without --exclude a commit after a tag would be called after the tag.
    command = ["git", "-C", str(_PACKAGE), "describe", "--always", "--abbrev=40", "--dirty"]
    command += ["--exclude", "*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def cpu_model() -> str:
    """What the processor calls itself; where it says nothing, its architecture."""
    return _cpu_line("model name") or platform.processor() or platform.machine()


def cpu_features() -> frozenset[str]:
    """The processor's abilities by Linux's names, such as avx2 and avx512f."""
    return frozenset(_cpu_line("flags").split() or _cpu_line("Features").split())


def _cpu_line(name: str) -> str:
    """What /proc/cpuinfo says under a name; nothing where it says nothing."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return ""
    pairs = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in pairs if key.strip() == name), "")


def device_files(device: str) -> list[str]:
    """The files by which the driver of GPU or Ascend shows what it has found; often none."""
    files = (path for pattern in _DEVICE_FILES[device] for path in Path("/dev").glob(pattern))
    return sorted(map(str, files))
