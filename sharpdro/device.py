"""Everything about the device and the CPU's kernels."""

import contextlib
import functools
import importlib.metadata
import os

from sharpdro.errors import RunError

DEVICE_TARGETS = ("auto", "CPU", "GPU", "Ascend")


def prepare_environment() -> None:
    """Set what MindSpore and its libraries read from the environment when they start.

    On CPUs with AVX-512, oneDNN 3.10 (in MindSpore 2.9 and later) runs plain NCHW convolutions
    through its reference loop, 90 times slower than its AVX2 kernels. Naming AVX2 as the highest
    instruction set avoids it. MindSpore's own log, which reports every plugin that is not installed
    as an error, is cut down to what is fatal. What the user has set is left alone, but for
    MindSpore's cache of compiled graphs, which is kept off: it knows a graph again by its source
    and shapes, not by constants such as --rho, so that a run could silently train with another
    run's settings. Processes on CPUs that train together wait two hours for one another, not half a
    minute, as one of them may have data to make or to save; one that dies is noticed all the same.
    """
    os.environ["MS_COMPILER_CACHE_ENABLE"] = "0"
    if not {"ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"} & os.environ.keys() and _has_slow_onednn():
        os.environ["ONEDNN_MAX_CPU_ISA"] = "AVX2"
    os.environ.setdefault("GLOG_v", "4")
    os.environ.setdefault("MS_CPU_COMM_OP_TIMEOUT", "7200")


def _has_slow_onednn() -> bool:
    try:
        version = importlib.metadata.version("mindspore")
    except importlib.metadata.PackageNotFoundError:
        return False
    major, minor = version.split(".")[:2]
    return (int(major), int(minor)) >= (2, 9)


def select_device(target: str) -> str:
    """Put MindSpore into graph mode on a device.

    Args, returns, raises: as `find_device`.
    """
    import mindspore as ms

    found = find_device(target)
    ms.set_device(found)
    ms.set_context(mode=ms.GRAPH_MODE)
    return found


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
    own = os.sched_getaffinity(0)
    _allow(0, _cores(threads, own))
    try:
        return _count_threads()
    finally:
        for thread in os.listdir("/proc/self/task"):
            with contextlib.suppress(OSError):  # it has ended
                _allow(int(thread), own)


def _cores(number: int, own: set[int]) -> set[int]:
    others = [core for core in range(os.cpu_count() or 1) if core not in own]
    return {*[*sorted(own), *others][:number]}


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
            f"https://www.mindspore.cn/install names for {target}"
        )
    return target
