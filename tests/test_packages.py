"""Missing packages and a Python that MindSpore has none for are answered in one line."""

import subprocess
import sys

import pytest
from running import ROOT

from sharpdro import packages


@pytest.mark.parametrize(
    ("version", "advice"),
    [
        ((3, 11, 2), "activate the environment that has it, or pip install -r requirements.txt"),
        ((3, 13, 0), "it needs Python 3.10, 3.11 or 3.12, and this is 3.13"),
    ],
)
def test_one_line(monkeypatch, capsys, version, advice):
    found = packages.importlib.util.find_spec
    lost = ("mindspore", "PIL")
    monkeypatch.setattr(
        packages.importlib.util, "find_spec", lambda name: None if name in lost else found(name)
    )
    monkeypatch.setattr(packages.sys, "version_info", version)
    monkeypatch.setattr(packages.sys, "argv", ["/here/main.py", "--help"])
    with pytest.raises(SystemExit) as end:
        packages.check_packages()
    assert end.value.code == 2
    assert capsys.readouterr().err == (
        f"main.py: error: mindspore, pillow not installed: {advice}\n"
    )


@pytest.mark.parametrize(
    "program",
    ["main", *(f"scripts/{name}" for name in ("report", "flatness", "export", "benchmark"))]
    + ["scripts/evaluate_common_corruptions"],
)
def test_every_program_asks_before_it_imports_any(program):
    """-S leaves out site-packages."""
    command = [sys.executable, "-S", str(ROOT / f"{program}.py"), "--help"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "error: mindspore, numpy, scipy, pillow, tqdm not installed: activate" in done.stderr
