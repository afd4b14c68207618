"""Compiles kernels.cc on first use, after seeing that it was made for what is here."""

import ctypes
import functools
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

from corruptions.storage.files import publish
from sharpdro.device import AVX512_KERNELS
from sharpdro.errors import RunError
from sharpdro.machine import cpu_features
from sharpdro.own_code import is_place

# Whose interfaces kernels.cc was written for and tried with.
MINDSPORE_VERSIONS = ("2.10.0",)
ONEDNN_VERSION = (3, 10)
_SOURCE = Path(__file__).with_name("kernels.cc")
_FLAGS = (
    "-O3",
    "-fno-trapping-math",
    "-std=c++17",
    "-shared",
    "-fPIC",
    "-pthread",
    "-mavx2",
    "-mfma",
)
_THREADPOOL_RUNTIME = 8
# What oneDNN means by AVX512_CORE.
_AVX512 = {"avx512f", "avx512bw", "avx512vl", "avx512dq"}


class _OneDNNVersion(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int) for name in ("major", "minor", "patch")),
        ("commit", ctypes.c_char_p),
        ("cpu_runtime", ctypes.c_uint),
    ]


def check_model(cpu_kernels: str, model: str) -> None:
    """Refuse kernels that a network of the user's own cannot have.

    Raises:
        RunError: they are not MindSpore's own.
    """
    if cpu_kernels != "stock" and is_place(model):
        raise RunError(f"--cpu_kernels {cpu_kernels} does not apply to -m {model}: leave it out")


def check_machine(cpu_kernels: str) -> None:
    """Refuse kernels that cannot be had here; compiles them.

    Args:
        cpu_kernels: one of CPU_KERNELS, not stock.

    Raises:
        RunError, OSError: as `build_library`; the processor has no AVX-512 for onednn_avx512.
    """
    build_library()
    if cpu_kernels == AVX512_KERNELS and not has_avx512():
        raise RunError(f"--cpu_kernels {cpu_kernels} needs a processor with AVX-512: choose onednn")


def has_avx512() -> bool:
    """Whether the processor has what oneDNN's AVX-512 kernels need."""
    return cpu_features() >= _AVX512


def check_support() -> None:
    """Check that processor and MindSpore are what the kernels were made for, without a compiler.

    Raises:
        RunError: one is not.
    """
    _check_processor()
    _check_versions()


@functools.cache
def build_library() -> Path:
    """The compiled kernels, in the user's cache folder.

    Raises:
        RunError: this is not what they were made for, or there is no compiler.
        OSError: the cache folder cannot be written.
    """
    _check_processor()
    mindspore, onednn = _check_versions()
    compiler = find_compiler()
    version = subprocess.run([compiler, "--version"], capture_output=True).stdout
    parts = (_SOURCE.read_bytes(), mindspore.encode(), version, " ".join(_FLAGS).encode())
    key = hashlib.sha256(b"\0".join(parts)).hexdigest()[:20]
    library = cache_folder() / f"kernels-{key}.so"
    if not library.exists():
        library.parent.mkdir(parents=True, exist_ok=True)
        _compile(compiler, onednn, library)
    return library


def _refuse(reason: str):
    raise RunError(f"--cpu_kernels onednn {reason}: leave it out")


def _check_processor() -> None:
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        _refuse(f"needs Linux on x86-64, not {platform.system()} on {platform.machine()}")
    if not {"avx2", "fma"} <= cpu_features():
        _refuse("needs a processor with AVX2 and FMA")


def _check_versions() -> tuple[str, Path]:
    """MindSpore's version, and the path of its oneDNN."""
    version = importlib.metadata.version("mindspore")
    if version not in MINDSPORE_VERSIONS:
        _refuse(f"was made for MindSpore {', '.join(MINDSPORE_VERSIONS)}, not {version}")
    path = Path(importlib.util.find_spec("mindspore").origin).parent / "lib" / "libdnnl.so.3"
    if not path.is_file():
        _refuse(f"needs {path}, which is not there")
    function = ctypes.CDLL(str(path)).dnnl_version
    function.restype = ctypes.POINTER(_OneDNNVersion)
    onednn = function().contents
    if (onednn.major, onednn.minor) != ONEDNN_VERSION or onednn.cpu_runtime != _THREADPOOL_RUNTIME:
        wanted = ".".join(map(str, ONEDNN_VERSION))
        _refuse(
            f"was made for oneDNN {wanted} with a thread pool, not for {path}, which is "
            f"{onednn.major}.{onednn.minor} with runtime {onednn.cpu_runtime}"
        )
    return version, path


def find_compiler() -> str:
    """The path of a C++ compiler.

    Raises:
        RunError: there is none.
    """
    names = [os.environ["CXX"]] if os.environ.get("CXX") else ["c++", "g++", "clang++"]
    for name in names:
        if path := shutil.which(name):
            return path
    raise RunError(
        f"--cpu_kernels onednn needs a C++ compiler and finds no {' or '.join(names)}: install "
        f"one (apt install g++, say), or leave the flag out"
    )


def cache_folder() -> Path:
    """Where the compiled kernels lie.

    Raises:
        RunError: MindSpore could not load them from there.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sharpdro"
    if ":" in str(folder):  # which for MindSpore ends the path
        raise RunError(f"--cpu_kernels onednn cannot use {folder}: set XDG_CACHE_HOME, without ':'")
    return folder.absolute()


def _compile(compiler: str, onednn: Path, library: Path) -> None:
    """Several processes may do so at once: each writes its own file, which then takes the name."""
    with tempfile.TemporaryDirectory(dir=library.parent, prefix="compiling-") as folder:
        written = Path(folder) / library.name
        command = [compiler, *_FLAGS, str(_SOURCE), "-o", str(written), str(onednn)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if "error" in line.lower()]
            raise RunError(
                f"--cpu_kernels onednn: {compiler} cannot compile {_SOURCE.name} "
                f"({(lines or [f'exit code {done.returncode}'])[0]}): set CXX to another compiler, "
                f"or leave the flag out"
            )
        publish(written, library)
