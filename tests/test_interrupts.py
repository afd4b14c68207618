"""Signals at any moment of a program's start: its one line, and 130, 143 or 129.

From its first line on, that is: before, while Python itself starts (a tenth of a second) and while
it imports `signal`, there is nobody yet to answer. `wait_until_held` waits for that border.
"""

import ast
import itertools
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import fake_cifar
import pytest
from made_up_runs import write_run
from running import ROOT, TINY

import main
from corruptions.interrupts import (
    SIGNALS,
    Terminated,
    check_interrupts,
    hold_interrupts,
    interruptible,
)
from corruptions.program import run_program
from models import create_model
from sharpdro.run_folder import checkpoint

STOPS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "hung up"}
SECONDS = 4  # that are tried of a start


def wait_until_held(process):
    """Until the program's first line is through."""
    wanted = sum(1 << (number - 1) for number in SIGNALS)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        status = Path(f"/proc/{process.pid}/status").read_text()
        found = re.search(r"SigBlk:\s*(\w+)", status)
        if found and int(found.group(1), 16) & wanted == wanted:
            return
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.002)
    raise AssertionError("the signals are never held back")


SETTINGS = {"dataset": "cifar10", "model": "wideresnet", "depth": 10, "widen_factor": 1}
SETTINGS |= {"corruption": "gaussian_noise", "num_severity": 2}


def programs(folder, data_dir):
    """Command lines that take longer than a moment, by name."""
    finished = write_run(folder / "finished", 0.5)
    network = create_model("wideresnet", 10, depth=10, widen_factor=1)
    checkpoint.save(finished / "last.ckpt", network, 2, SETTINGS)
    data = ["--data_dir", str(data_dir)]
    return {
        "main.py": ["main.py", *TINY, *data, "--log_dir", str(folder / "logs")],
        "report.py": ["scripts/report.py", str(finished.parent), "-o", str(folder / "report")],
        "flatness.py": [
            *("scripts/flatness.py", str(finished / "last.ckpt"), *data),
            *("-o", str(folder / "flatness")),
        ],
        "python -m corruptions.generate": [
            *("-m", "corruptions.generate", "-d", "cifar10", "-c", "glass_blur"),
            *("--data_dir", str(folder / "data")),
        ],
    }


def stop(command, number, delay):
    """Start a program, send the signal so many seconds after its first line; code, stderr."""
    process = subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    wait_until_held(process)
    time.sleep(delay)
    process.send_signal(number)
    _, error = process.communicate(timeout=200)
    return process.returncode, error


def is_stopped(name, number, code, error):
    expected = f"{name}: {STOPS[number]}: [^\n]*\n"
    return code == 128 + number and re.fullmatch(expected, error) is not None


def test_signals_at_once(tmp_path, data_dir):
    fake_cifar.write_cifar10(tmp_path / "data", per_class=200)
    for (name, command), number in zip(
        programs(tmp_path, data_dir).items(), itertools.cycle(STOPS)
    ):
        code, error = stop(command, number, 0.0)
        assert is_stopped(name, number, code, error), (name, code, error)
    assert {path.name for path in tmp_path.iterdir()} == {"data", "finished"}


@pytest.mark.faults
@pytest.mark.parametrize("number_of_program", range(4))
def test_signals_every_50_ms_of_the_start(tmp_path, data_dir, number_of_program):
    fake_cifar.write_cifar10(tmp_path / "data", per_class=2000)
    name, command = list(programs(tmp_path, data_dir).items())[number_of_program]
    numbers, tried = itertools.cycle(STOPS), 0
    for delay in range(0, 1000 * SECONDS, 50):
        number = next(numbers)
        shutil.rmtree(tmp_path / "logs", ignore_errors=True)  # a run that had begun
        code, error = stop(command, number, delay / 1000)
        if (code, error) == (0, "") and name == "report.py":
            assert (tmp_path / "report" / "report.html").exists()  # it was through
            break
        assert is_stopped(name, number, code, error), (delay, number, code, error)
        tried += 1
    assert tried > 5


MASK = "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})"
EARLY_IMPORTS = {"import signal", "import sys", "from pathlib import Path"}
EARLY_IMPORTS |= {"from sharpdro.startup import start_program"}


def test_programs_hold_signals_back_in_their_first_lines():
    found = set()
    folders = ("corruptions", "dataset", "imagenet30_filelist", "models", "scripts", "sharpdro")
    for path in [*ROOT.glob("*.py"), *(p for f in folders for p in (ROOT / f).rglob("*.py"))]:
        body = ast.parse(path.read_text(encoding="utf-8")).body[1:]
        runs = [s for s in body if isinstance(s, ast.If) and "sys.exit(main" in ast.unparse(s)]
        if not runs or path.parent.name == "doctor":  # it must run where packages are missing
            continue
        found.add(path.stem)
        # Those of corruptions are started by -m, which imports the package first.
        first = path.with_name("__init__.py") if path.parent.name == "corruptions" else path
        lines = [ast.unparse(s) for s in ast.parse(first.read_text(encoding="utf-8")).body[1:]]
        held = next(n for n, line in enumerate(lines) if line.endswith((MASK, "start_program()")))
        imports = {line for line in lines[:held] if "import" in line}
        assert imports <= EARLY_IMPORTS, path
    assert found >= {"main", "generate", "contact_sheet", "report", "flatness", "export"}


def send(number):
    """To this thread, as others of the tests' process do not hold signals back."""
    signal.pthread_kill(threading.get_ident(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_what_arrives_during_the_work_is_not_lost(number, capsys):
    """Also after its last step: whoever stops a sweep means all of it."""
    assert run_program("x.py", lambda: send(number), "again") == 128 + number
    assert capsys.readouterr().err == f"x.py: {STOPS[number]}: again\n"


def test_errors_come_before_signals_that_change_nothing(capsys):
    def work():
        send(signal.SIGINT)
        raise OSError("no such thing")

    assert run_program("x.py", work, "again") == 2
    assert capsys.readouterr().err == "x.py: error: no such thing\n"


def test_nohup_is_heeded():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with hold_interrupts():
            send(signal.SIGHUP)
            check_interrupts()
            with interruptible():
                send(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
    with hold_interrupts(), pytest.raises(Terminated) as stopped:
        send(signal.SIGHUP)
        check_interrupts()
    assert stopped.value.number == signal.SIGHUP


@pytest.mark.parametrize(
    ("job", "flags", "text"),
    [
        ("train.train", [], "run the same command with --resume to continue"),
        ("train.train", ["--no-save_last"], "with --no-save_last nothing is kept to continue from"),
        ("dry_run.dry_run", ["--dry_run"], "a dry run writes nothing"),
    ],
)
def test_who_stops_a_run_is_told_how_to_go_on(monkeypatch, tmp_path, capsys, job, flags, text):
    def stopped(args):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"sharpdro.jobs.{job}", stopped)
    assert main.main(["-d", "synthetic", "--log_dir", str(tmp_path), *flags]) == 130
    assert capsys.readouterr().err.startswith(f"main.py: interrupted: {text}")
