"""What programs do before they import anything, and what importing the packages does not do."""

import subprocess
import sys

import pytest
from running import ROOT

from sharpdro import startup


@pytest.mark.parametrize(
    ("version", "advice"),
    [
        ((3, 11, 2), "activate the environment that has it, or pip install -r requirements.txt"),
        ((3, 13, 0), "it needs Python 3.10, 3.11 or 3.12, and this is 3.13"),
    ],
)
def test_one_line(monkeypatch, capsys, version, advice):
    found = startup.importlib.util.find_spec
    lost = ("mindspore", "PIL")
    monkeypatch.setattr(
        startup.importlib.util, "find_spec", lambda name: None if name in lost else found(name)
    )
    monkeypatch.setattr(startup.sys, "version_info", version)
    monkeypatch.setattr(startup.sys, "argv", ["/here/main.py", "--help"])
    with pytest.raises(SystemExit) as end:
        startup.check_packages()
    assert end.value.code == 2
    assert capsys.readouterr().err == (
        f"main.py: error: mindspore, pillow not installed: {advice}\n"
    )


@pytest.mark.parametrize(
    "program",
    ["main", *(f"scripts/{name}" for name in ("report", "flatness", "export", "benchmark"))]
    + ["scripts/evaluate_common_corruptions", "scripts/check_device"],
)
def test_every_program_asks_before_it_imports_any(program):
    """-S leaves out site-packages."""
    command = [sys.executable, "-S", str(ROOT / f"{program}.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "error: mindspore, numpy, scipy, pillow, tqdm not installed: activate" in done.stderr


@pytest.mark.parametrize(
    ("flags", "files", "expected"),
    [
        ([], [], "4"),
        (["--device_target", "GPU"], [], "4"),  # there is none: one line says so
        ([], ["/dev/davinci0"], "2"),
        (["--device_target=auto"], ["/dev/davinci0"], "2"),
        (["--device_target", "Ascend"], ["/dev/davinci0"], "2"),
        (["--device_target", "CPU"], ["/dev/davinci0"], "4"),
        (["--device_target=CPU"], ["/dev/davinci0"], "4"),
    ],
)
def test_warnings_of_mindspore_are_heard_where_there_is_a_device(
    monkeypatch, flags, files, expected
):
    monkeypatch.setattr(startup, "device_files", lambda name: files if name == "Ascend" else [])
    monkeypatch.setattr(startup.sys, "argv", ["main.py", *flags])
    monkeypatch.setattr(startup.signal, "pthread_sigmask", lambda *args: None)
    monkeypatch.delenv("GLOG_v", raising=False)
    monkeypatch.setenv("MS_CPU_COMM_OP_TIMEOUT", "30")
    startup.start_program()
    assert startup.os.environ["GLOG_v"] == expected
    monkeypatch.setenv("GLOG_v", "1")
    startup.start_program()
    assert startup.os.environ["GLOG_v"] == "1"


IMPORTS = """
import os, pkgutil, signal, sys, threading
import mindspore, scipy.ndimage, tqdm

def state():
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    return dict(os.environ), mask, handlers, tqdm.tqdm.monitor_interval, threading.active_count()

before, names = state(), []
for package in ("corruptions", "dataset", "models", "sharpdro"):
    for module in pkgutil.walk_packages([f"{sys.argv[1]}/{package}"], f"{package}."):
        __import__(module.name)
        names.append(module.name)
assert state() == before
print(*names)
"""


def test_importing_any_module_changes_nothing_outside_it():
    command = [sys.executable, "-c", IMPORTS, str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert {"sharpdro.methods.sharpdro", "corruptions.generate"} <= set(done.stdout.split())
