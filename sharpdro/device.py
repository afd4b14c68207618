"""Everything about the device and the CPU's kernels."""

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


def find_device(target: str) -> str:
    """Which device there is for a target.

    Args:
        target: one of DEVICE_TARGETS; auto takes Ascend or GPU where there is one.

    Returns:
        CPU, GPU or Ascend.

    Raises:
        RunError: MindSpore finds no such device or not the libraries for it.
    """
    import mindspore as ms

    available = [name for name in DEVICE_TARGETS[1:] if ms.hal.is_available(name)]
    if target == "auto":
        target = available[-1]
    if target not in available:
        raise RunError(
            f"--device_target {target}: MindSpore finds no {target} with its libraries here, "
            f"only {', '.join(available)}: choose one of these, or install what "
            f"https://www.mindspore.cn/install names for {target}"
        )
    return target
