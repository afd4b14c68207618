"""python -m sharpdro.doctor: what it finds, whatever is broken, and its exit code."""

import os
import subprocess
import sys
from collections import namedtuple

import pytest
from running import ROOT

from sharpdro.doctor import __main__ as doctor
from sharpdro.doctor import examination, plugins, probe
from sharpdro.doctor.findings import Findings

WORKS = probe.Answer(
    {"version": "2.10.0", "devices": {"GPU": 0, "Ascend": 0}, "device": "CPU", "name": "CPU"}
    | {"seconds": 0.02},
    "",
    [],
)


@pytest.fixture
def machine(monkeypatch):
    """One with nothing but a CPU that works, on which tests change something."""
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(examination.probe, "ask", lambda target: WORKS)
    monkeypatch.setattr(examination, "device_files", lambda device: [])
    monkeypatch.setattr(examination.plugins, "missing_libraries", lambda device: ("", []))
    monkeypatch.setattr(examination, "prepare_kernels", lambda: None)
    return monkeypatch


def examine(target="auto", tmp_path=None):
    found = examination.examine(target, tmp_path or ROOT)
    return found, " ".join(found.hindrances), " ".join(found.advice)


def versions(machine, **others):
    real = examination.package_version
    machine.setattr(examination, "package_version", lambda name: others.get(name, real(name)))


def test_kernels_that_this_machine_cannot_have_need_no_compiler(machine):
    machine.setattr("platform.machine", lambda: "aarch64")
    found, hindrances, advice = examine()
    lines = dict(found.facts)
    why = "--cpu_kernels onednn needs Linux on x86-64, not Linux on aarch64: leave it out"
    assert lines["CPU kernels"] == why and "C++ compiler" not in lines
    assert not hindrances and not advice


def test_nothing_to_mend(machine, capsys):
    assert doctor.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "to mend         nothing" in lines and max(map(len, lines)) <= 100
    assert any(line.startswith("a convolution   20.0 ms: 3×3, 32 to 32 channels") for line in lines)


@pytest.mark.parametrize(
    ("package", "version", "text"),
    [
        ("numpy", "2.1.0", "MindSpore does not work with NumPy 2.1.0: pip install 'numpy<2'"),
        (
            "scipy",
            None,
            "scipy not installed: activate the environment that has it, or pip install",
        ),
        ("mindspore", None, "mindspore not installed: activate the environment"),
    ],
)
def test_packages_that_hinder(machine, package, version, text):
    versions(machine, **{package: version})
    assert text in examine()[1] and doctor.main([]) == 1


def test_versions_of_python(machine):
    machine.setattr(examination.sys, "version_info", (3, 13, 0))
    text = "MindSpore has no packages for this Python: make an environment with Python 3.10 to 3.12"
    assert examine()[1] == text


def test_version_that_was_not_tested_is_no_hindrance(machine):
    versions(machine, mindspore="2.8.0")
    _, hindrances, advice = examine()
    assert hindrances == "" and "MindSpore 2.8.0 was not tested" in advice


def test_mindspore_that_fails(machine):
    broken = probe.Answer({}, "ImportError: libgomp.so.1: cannot open", ["x"])
    machine.setattr(examination.probe, "ask", lambda target: broken)
    text = "MindSpore cannot be imported (ImportError: libgomp.so.1: cannot open): pip install"
    assert examine()[1].startswith(text) and doctor.main([]) == 1
    late = probe.Answer({"version": "2.10.0"}, "the process was ended by SIGILL", [])
    machine.setattr(examination.probe, "ask", lambda target: late)
    assert examine()[1].startswith("MindSpore cannot compute (the process was ended by SIGILL)")


def test_device_without_its_libraries(machine):
    """Advice where a CPU would do; a hindrance where the device is asked for."""
    missing = "libmindspore_gpu.so.11.6", ["libcublas.so.11", "libcudnn.so.8"]
    machine.setattr(plugins, "missing_libraries", lambda device: missing)
    _, *nothing = examine()
    assert nothing == ["", ""]  # a machine that has no GPU
    machine.setattr(
        examination, "device_files", lambda device: ["/dev/nvidia0"] if device == "GPU" else []
    )
    prefix = "[WARNING] ME(1:2,MainProcess):2026-11-29-21:55:12 [device_context/gpu/device.py:56] "
    log = [f"{prefix}Device GPU is not available.", "something else"]
    answer = probe.Answer(WORKS.known, "", log)
    machine.setattr(examination.probe, "ask", lambda target: answer)
    found, hindrances, advice = examine()
    fact = "MindSpore finds none; libmindspore_gpu.so.11.6 misses 2 libraries"
    assert ("GPU", f"{fact}: libcublas.so.11 libcudnn.so.8") in found.facts
    assert ("Ascend", fact) in found.facts
    assert [text for topic, text in found.facts if topic == "MindSpore says"] == [
        "Device GPU is not available."
    ]
    text = "MindSpore finds no GPU; this machine has one (/dev/nvidia0): install CUDA 11.6"
    assert hindrances == "" and advice.startswith(text)
    assert examine("GPU")[1].startswith(text) and doctor.main(["--device_target", "GPU"]) == 1
    assert "MindSpore finds no Ascend; nor is there one in /dev" in examine("Ascend")[1]


def test_slow_convolutions(machine):
    slow = probe.Answer({**WORKS.known, "seconds": 1.9}, "", [])
    machine.setattr(examination.probe, "ask", lambda target: slow)
    assert examine()[2].endswith("usual on two cores: try ONEDNN_MAX_CPU_ISA=AVX2")
    machine.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE")
    found, _, advice = examine()
    assert ("instruction set", "ONEDNN_MAX_CPU_ISA=AVX512_CORE, your own") in found.facts
    assert advice.endswith("usual on two cores: unset ONEDNN_MAX_CPU_ISA")


def test_little_room(machine, tmp_path):
    usage = namedtuple("Usage", "total used free")(10**9, 10**9, 10**8)
    machine.setattr(examination.shutil, "disk_usage", lambda path: usage)
    found, hindrances, advice = examine(tmp_path=tmp_path / "data")
    assert ("--data_dir", f"{tmp_path / 'data'}, not there yet: 0.1 GB free") in found.facts
    assert hindrances == "" and "CIFAR-10 with one corruption takes 1.3 GB" in advice


def test_folders_that_cannot_be_used(machine, tmp_path):
    (tmp_path / "file").write_text("")
    assert (
        f"--data_dir {tmp_path / 'file'} is not a folder" in examine(tmp_path=tmp_path / "file")[2]
    )

    def refused(path):
        raise PermissionError(13, "Permission denied", str(path))

    machine.setattr(examination.shutil, "disk_usage", refused)
    advice = examine(tmp_path=tmp_path)[2]
    assert f"--data_dir {tmp_path}: Permission denied: choose another folder" in advice


def test_other_systems(machine):
    machine.setattr(examination.platform, "system", lambda: "Darwin")
    machine.delattr(examination.os, "sched_getaffinity")
    assert examine()[1] == "this program needs Linux, not Darwin"


def test_texts_are_wrapped_and_numbered():
    found = Findings()
    found.add("topic", "word " * 40 + "a\x1b[2J")
    found.hindrances += ["one", "two"]
    lines = found.lines()
    assert max(map(len, lines)) <= 100 and lines[1].startswith(" " * 16 + "word")
    assert lines[2].endswith("a\\x1b[2J")
    assert lines[3:] == ["to mend         1. one", " " * 16 + "2. two", "to improve      nothing"]


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        ("raise ImportError('libgomp.so.1: no such file')", "ImportError: libgomp.so.1: no such"),
        ("import os; os.abort()", "the process was ended by SIGABRT"),
    ],
)
def test_mindspore_that_cannot_be_imported(monkeypatch, tmp_path, code, failure):
    (tmp_path / "mindspore.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    answer = probe.ask("auto")
    assert answer.known == {} and answer.failure.startswith(failure)


def test_python_without_any_package():
    """-S leaves out site-packages: no traceback, every reason named."""
    command = [sys.executable, "-S", "-m", "sharpdro.doctor"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (1, "")
    assert "1. mindspore, numpy, scipy, pillow, tqdm not installed: activate" in done.stdout


def test_bad_usage():
    command = [sys.executable, "-S", "-m", "sharpdro.doctor", "--device_target", "TPU"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "'TPU'" in done.stderr


def test_this_machine(tmp_path):
    """From another folder, in an environment without settings of this program."""
    unset = ("GLOG_v", "ONEDNN_MAX_CPU_ISA")
    environment = {k: v for k, v in os.environ.items() if k not in unset}
    command = [sys.executable, "-m", "sharpdro.doctor", "--data_dir", str(tmp_path)]
    how = {"cwd": tmp_path, "env": {**environment, "PYTHONPATH": str(ROOT)}}
    done = subprocess.run(command, capture_output=True, text=True, **how)
    assert done.returncode == 0 and done.stderr == "", done.stdout + done.stderr
    assert "mindspore       2.10.0\n" in done.stdout and "a convolution   " in done.stdout
