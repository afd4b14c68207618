"""Everything about the device and the CPU's kernels."""

import contextlib
import functools
import importlib.metadata
import os

from sharpdro.errors import RunError

DEVICE_TARGETS = ("auto", "CPU", "GPU", "Ascend")
AVX512_KERNELS = "onednn_avx512"
CPU_KERNELS = ("stock", "onednn", AVX512_KERNELS)
MODES = ("graph", "pynative")
# By which oneDNN is told the highest instruction set; the second is its older name.
ISA_VARIABLES = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
INSTALL_PAGE = "https://www.mindspore.cn/install"


def prepare_kernels(cpu_kernels: str = "stock") -> None:
    """Set what MindSpore reads from the environment when it first compiles and computes.

    On CPUs with AVX-512, oneDNN 3.10 (in MindSpore 2.9 and later) runs plain NCHW convolutions
    through its reference loop, 90 times slower than its AVX2 kernels. Naming AVX2 as the highest
    instruction set avoids it, unless the user has named one. It has no effect on a process that
    has run a convolution. MindSpore's cache of compiled graphs is kept off, whatever the user has
    set: it knows a graph again by its source and shapes, not by constants such as --rho, so that a
    run could silently train with another run's settings.

    Args:
        cpu_kernels: one of CPU_KERNELS; with onednn_avx512, which leaves no convolution to
            MindSpore, AVX-512 is named instead.
    """
    os.environ["MS_COMPILER_CACHE_ENABLE"] = "0"
    if cpu_kernels == AVX512_KERNELS:
        os.environ[ISA_VARIABLES[0]] = "AVX512_CORE"
    if not {*ISA_VARIABLES} & os.environ.keys() and _has_slow_onednn():
        os.environ[ISA_VARIABLES[0]] = "AVX2"


def _has_slow_onednn() -> bool:
    try:
        version = importlib.metadata.version("mindspore")
    except importlib.metadata.PackageNotFoundError:
        return False
    major, minor = version.split(".")[:2]
    return (int(major), int(minor)) >= (2, 9)


def select_device(target: str, cpu_kernels: str = "stock", mode: str = "graph") -> str:
    """Put MindSpore into a mode on a device, with its kernels prepared.

    Args:
        target: as of `find_device`.
        cpu_kernels: as of `prepare_kernels`.
        mode: one of MODES; graph compiles what it computes, pynative goes operator by operator.

    Returns, raises: as `find_device`.
    """
    import mindspore as ms

    prepare_kernels(cpu_kernels)
    device = find_device(target)
    ms.set_device(device)
    ms.set_context(mode=ms.GRAPH_MODE if mode == "graph" else ms.PYNATIVE_MODE)
    return device


def compute_in_float32(device: str) -> None:
    """Let convolutions and matrix products round as float32 does, not to fewer bits.

    By the documentation of MindSpore (untested: nobody here has such a device) convolutions on
    Ascend compute in HF32, and on GPUs from Ampere on in TF32, unless told otherwise: both keep
    float32's range but only 10 bits behind the point. Differences of losses or gradients at nearby
    parameters would then be mostly rounding. A CPU knows neither and is left alone.

    Args:
        device: what `select_device` returned; before anything is computed, and once per process.
    """
    import mindspore as ms

    if device == "Ascend":
        precision = ms.device_context.ascend.op_precision
        precision.conv_allow_hf32(False)
        precision.matmul_allow_hf32(False)
    if device == "GPU":
        precision = ms.device_context.gpu.op_precision
        precision.conv_allow_tf32(False)
        precision.matmul_allow_tf32(False)


def fix_threads(threads: int) -> int:
    """Settle among how many threads the CPU's kernels share out their sums, for this process.

    The last bits of a sum depend on it. No setting of MindSpore 2.10 (op_tuning.threads_num,
    dispatch_threads_num, set_cpu_affinity, runtime_num_threads) changes it: its oneDNN counts the
    cores that it may use when it first computes, and keeps that number. So it is let compute with
    as many cores as there are to be threads; afterwards all threads may use all cores again.

    Args:
        threads: how many there are to be.

    Returns:
        How many there are; fewer where the machine has not as many cores, whether this process may
        use them or not. After the first call always the same.
    """
    allowed = os.sched_getaffinity(0)
    _allow(0, _cores(threads, allowed))
    try:
        return _count_threads()
    finally:
        for thread in os.listdir("/proc/self/task"):
            with contextlib.suppress(OSError):  # it has ended
                _allow(int(thread), allowed)


def _cores(number: int, allowed: set[int]) -> set[int]:
    forbidden = [core for core in range(os.cpu_count() or 1) if core not in allowed]
    return {*[*sorted(allowed), *forbidden][:number]}


def _allow(thread: int, cores: set[int]) -> None:
    os.sched_setaffinity(thread, cores)


@functools.cache
def _count_threads() -> int:
    import mindspore as ms
    from mindspore import Tensor, ops

    ops.Conv2D(1, 1)(Tensor([[[[0.0]]]], ms.float32), Tensor([[[[0.0]]]], ms.float32)).asnumpy()
    return len(os.sched_getaffinity(0))


def is_available(device: str) -> bool:
    """Whether MindSpore finds CPU, GPU or Ascend with its libraries here."""
    import mindspore as ms

    return getattr(ms.device_context, device.lower()).is_available()


def find_device(target: str) -> str:
    """Which device there is for a target.

    Args:
        target: one of DEVICE_TARGETS; auto takes Ascend or GPU where there is one.

    Returns:
        CPU, GPU or Ascend.

    Raises:
        RunError: MindSpore finds no such device or not the libraries for it.
    """
    available = [name for name in DEVICE_TARGETS[1:] if is_available(name)]
    if target == "auto":
        target = available[-1]
    if target not in available:
        raise RunError(
            f"--device_target {target}: MindSpore finds no {target} with its libraries here, "
            f"only {', '.join(available)}: choose one of these, or install what "
            f"{INSTALL_PAGE} names for {target} (python -m sharpdro.doctor says what is missing)"
        )
    return target
