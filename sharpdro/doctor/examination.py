"""The examination: each function looks at one thing and notes facts and problems."""

import os
import platform
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from sharpdro import __version__, startup
from sharpdro.device import DEVICE_TARGETS, INSTALL_PAGE, ISA_VARIABLES, prepare_kernels
from sharpdro.doctor import plugins, probe
from sharpdro.doctor.findings import Findings
from sharpdro.errors import RunError
from sharpdro.machine import cpu_features, cpu_model, device_files, git_commit, package_version

TESTED_MINDSPORE = "2.10.0"
# Optional packages, the file that names each, and what it is for.
OPTIONAL = {
    "matplotlib": ("requirements-plots.txt", "pictures"),
    "tensorboardX": ("requirements-tensorboard.txt", "--tensorboard"),
    "onnxruntime": ("requirements-export.txt", "checking an exported ONNX file"),
}
# CIFAR-10 with its archive and one corruption at five severities, with some room.
_DATA_BYTES = 1.5e9
# What a convolution of `probe` takes at most on one slow core that does not compute it by the
# reference loop, which takes 2 s.
_SLOW_SECONDS = 0.5

# In front of what MindSpore logs: level, process, time, source. And how much of it is shown.
_PREFIX = re.compile(r"^\[\w+\] \w+\(.*?\[[^]]*\] ")
_MOST_LINES = 5


def examine(target: str, data_dir: Path) -> Findings:
    """Look at everything that training needs.

    Args:
        target: one of DEVICE_TARGETS.
        data_dir: where datasets lie or would.
    """
    findings = Findings()
    look_at_python(findings)
    look_at_packages(findings)
    if platform.system() != "Linux":  # elsewhere most of what follows does not exist
        return findings
    look_at_processor(findings)
    look_at_disks(findings, {"current folder": Path(), "--data_dir": data_dir})
    look_at_kernels(findings)
    if package_version("mindspore"):
        own_isa = {name: os.environ[name] for name in ISA_VARIABLES if name in os.environ}
        prepare_kernels()
        answer = probe.ask(target)
        look_at_devices(findings, answer, target)
        look_at_computing(findings, answer, own_isa)
    return findings


def look_at_python(findings: Findings) -> None:
    """Program, Python, system."""
    findings.add(
        "program", f"sharpdro {__version__}, commit {git_commit() or 'unknown (no git here)'}"
    )
    findings.add("Python", f"{platform.python_version()}, {sys.executable}")
    findings.add("system", platform.platform())
    oldest, newest = startup.OLDEST_PYTHON, startup.NEWEST_PYTHON
    if not oldest <= sys.version_info[:2] <= newest:
        first, last = (".".join(map(str, version)) for version in (oldest, newest))
        findings.hindrances.append(
            f"MindSpore has no packages for this Python: make an environment with Python {first} "
            f"to {last}"
        )
    if platform.system() != "Linux":
        findings.hindrances.append(f"this program needs Linux, not {platform.system()}")


def look_at_packages(findings: Findings) -> None:
    """What is installed, and what has to be."""
    versions = {name: package_version(name) for name in startup.PACKAGES.values()}
    for name, version in versions.items():
        findings.add(name, version or "not installed")
    missing = [name for name, version in versions.items() if version is None]
    if missing:
        findings.hindrances.append(
            f"{', '.join(missing)} not installed: activate the environment that has it, or pip "
            f"install -r requirements.txt"
        )
    numpy, mindspore = versions["numpy"], versions["mindspore"]
    if numpy is not None and int(numpy.partition(".")[0]) >= 2:
        findings.hindrances.append(
            f"MindSpore does not work with NumPy {numpy}: pip install 'numpy<2'"
        )
    if mindspore not in (None, TESTED_MINDSPORE):
        findings.advice.append(
            f"MindSpore {mindspore} was not tested: if something fails, pip install "
            f"mindspore=={TESTED_MINDSPORE}"
        )
    for name, (file, purpose) in OPTIONAL.items():
        absent = f"not installed; for {purpose}: pip install -r {file}"
        findings.add(name, package_version(name) or absent)


def look_at_processor(findings: Findings) -> None:
    """Processor and memory."""
    usable, cores = len(os.sched_getaffinity(0)), os.cpu_count()
    names = {"avx2": "AVX2", "avx512f": "AVX-512"}
    abilities = ", ".join(names[name] for name in names if name in cpu_features())
    findings.add("processor", f"{cpu_model()}; {abilities or 'neither AVX2 nor AVX-512'}")
    findings.add("cores", f"{usable} of {cores} usable; --threads {usable} is the default of a run")
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    findings.add("memory", f"{memory / 1e9:.1f} GB")


def look_at_disks(findings: Findings, folders: Mapping[str, Path]) -> None:
    """Room in folders, which need not be there yet."""
    for name, folder in folders.items():
        try:
            whole = folder.absolute()
            there = next(path for path in (whole, *whole.parents) if path.exists())
            free = shutil.disk_usage(there).free
        except OSError as error:  # it was deleted, or may not be looked into
            findings.advice.append(f"{name} {folder}: {error.strerror}: choose another folder")
            continue
        state = "" if there == whole else ", not there yet"
        findings.add(name, f"{whole}{state}: {free / 1e9:.1f} GB free")
        if not there.is_dir():
            findings.advice.append(f"{name} {there} is not a folder: name one")
        elif not os.access(there, os.W_OK):
            findings.advice.append(f"{name} {there} cannot be written: choose another folder")
        if name == "--data_dir" and free < _DATA_BYTES:
            findings.advice.append(
                f"CIFAR-10 with one corruption takes 1.3 GB, and {whole} has "
                f"{free / 1e9:.1f} GB free: make room, or name another --data_dir"
            )


def look_at_kernels(findings: Findings) -> None:
    """What --cpu_kernels onednn needs."""
    try:
        from sharpdro.cpu_kernels import build

        build.check_support()
    except RunError as error:
        findings.add("CPU kernels", str(error))
        return
    except Exception:  # packages that are missing, or do not fit one another, are named elsewhere
        return
    try:
        look_at_disks(findings, {"cache folder": build.cache_folder()})
        kernels = "onednn or onednn_avx512" if build.has_avx512() else "onednn"
        findings.add("C++ compiler", f"{build.find_compiler()}, for --cpu_kernels {kernels}")
    except RunError as error:
        findings.add("C++ compiler", "none")
        findings.advice.append(str(error))


def look_at_devices(findings: Findings, answer: probe.Answer, target: str) -> None:
    """GPU and Ascend: what MindSpore finds, what it misses."""
    counts = answer.known.get("devices", {})
    for device in DEVICE_TARGETS[2:]:
        if counts.get(device):
            findings.add(device, f"{counts[device]} found")
            continue
        files = device_files(device)
        findings.add(device, _absence(device, is_wanted=bool(files) or target == device))
        if not files and target != device:
            continue
        there = f"this machine has one ({' '.join(files)})" if files else "nor is there one in /dev"
        problem = (
            f"MindSpore finds no {device}; {there}: install {plugins.PLUGINS[device][1]}, see "
            f"{INSTALL_PAGE}"
        )
        (findings.hindrances if target == device else findings.advice).append(problem)
        said = dict.fromkeys(_PREFIX.sub("", line).strip() for line in answer.log)
        for line in [line for line in said if device.lower() in line.lower()][:_MOST_LINES]:
            findings.add("MindSpore says", line)


def _absence(device: str, is_wanted: bool) -> str:
    """That MindSpore finds no such device, and what its plugin misses, in full where it matters."""
    plugin, missing = plugins.missing_libraries(device)
    if not missing:
        return "MindSpore finds none"
    names = ": " + " ".join(missing) if is_wanted else ""
    return f"MindSpore finds none; {plugin} misses {len(missing)} libraries{names}"


def look_at_computing(findings: Findings, answer: probe.Answer, own_isa: Mapping[str, str]) -> None:
    """Whether MindSpore can be imported and computes, and how fast."""
    isa = [f"{name}={value}, your own" for name, value in own_isa.items()]
    ours = os.environ.get(ISA_VARIABLES[0])
    if not isa and ours:
        why = "with AVX-512 MindSpore's own convolutions are 90 times slower"
        isa = [f"{ISA_VARIABLES[0]}={ours}, set by this program: {why}"]
    findings.add("instruction set", "; ".join(isa) or "as oneDNN chooses")
    if answer.failure:
        what = "be imported" if "version" not in answer.known else "compute"
        findings.hindrances.append(
            f"MindSpore cannot {what} ({answer.failure}): pip install --force-reinstall "
            f"mindspore=={TESTED_MINDSPORE} 'numpy<2' in a new environment, or see {INSTALL_PAGE}"
        )
    if "seconds" not in answer.known:
        return
    device, seconds = answer.known["device"], answer.known["seconds"]
    findings.add("computes on", answer.known["name"])
    findings.add(
        "a convolution",
        f"{1e3 * seconds:.1f} ms: 3×3, {probe.CHANNELS} to {probe.CHANNELS} channels, "
        f"{probe.IMAGES} images of {probe.SIDE}×{probe.SIDE}",
    )
    if device == "CPU" and seconds > _SLOW_SECONDS:
        remedy = f"unset {' '.join(own_isa)}" if own_isa else f"try {ISA_VARIABLES[0]}=AVX2"
        findings.advice.append(f"convolutions are slow here, 20 ms is usual on two cores: {remedy}")
