"""Programs whose stdout or stderr is closed, full or gone."""

import os
import subprocess
import sys

import pytest
from running import ERM, NAME, ROOT, TINY, check_equal

GENERATE = ["-m", "corruptions.generate", "-d", "cifar10", "-c", "fog", "--data_dir"]


def shell(command, redirection):
    """A program of this project with its output as the shell's redirection says; code, stderr."""
    line = f'"$0" "$@" {redirection}; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(
        ["bash", "-c", line, sys.executable, *map(str, command)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("redirection", "note"),
    [
        pytest.param(
            *(">/dev/full", "stdout cannot be written (No space left on device)"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("| head -1 >/dev/null", "stdout cannot be written (Broken pipe)"),
            marks=pytest.mark.slow,
        ),
        pytest.param("2>&- >/dev/null", "", marks=pytest.mark.slow),
        pytest.param(">&- 2>&-", "", marks=pytest.mark.slow),
        pytest.param("2>/dev/full", "", marks=pytest.mark.slow),
    ],
)
def test_run_goes_on_without_a_terminal(run, tmp_path, redirection, note):
    command = ["main.py", *TINY, *ERM, "--data_dir", run.data_dir, "--log_dir", tmp_path]
    assert shell(command, redirection) == (0, "")
    folder = tmp_path / NAME.format(method="erm")
    check_equal(folder, run(*ERM))
    text = (folder / "log.txt").read_text()
    assert text.count("the run goes on without it") == bool(note) and note in text


@pytest.mark.slow
def test_output_that_is_the_result_is_not_lost_silently(run):
    finished = run(*ERM)
    report = ["scripts/report.py", finished.parent, "-o", finished.parent.parent / "report"]
    code, error = shell(report, ">/dev/full")
    expected = "report.py: error: stdout cannot be written: No space left on device\n"
    assert (code, error) == (2, expected)
    assert shell(report, "| head -1 >/dev/null") == (0, "")


def test_files_do_not_become_a_closed_stderr(data_dir):
    """The next file to be opened would get its number, and what is written to stderr."""
    code = (
        "import os, sys; from corruptions.program import run_program\n"
        "def work(): assert os.open(os.devnull, os.O_RDONLY) > 2; print('x', file=sys.stderr)\n"
        "sys.exit(run_program('x', work, 'x'))"
    )
    for redirection in ("2>&-", ">&- 2>&-", "<&- >&- 2>&-"):
        assert shell(["-c", code], redirection) == (0, "")
    assert os.fstat(2)
