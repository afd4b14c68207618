"""scripts/check_device.py: what it computes, what it takes for wrong, what it says then."""

import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import oracle
import pytest
from running import ROOT, refusal_of

sys.path.insert(0, str(ROOT / "scripts"))
import check_device
from device_checks import comparisons, formulas
from device_checks.results import FAIL, PASS, Check, Options, distance, judged, same_bits
from sharpdro.doctor.probe import Answer
from sharpdro.methods.specs import METHODS


def test_distance_by_hand():
    """(3, 4) for (3, 3): 1 over √18. The larger of two arrays' counts."""
    near, far = {"a": np.array([3.0, 4.0])}, {"a": np.array([3.0, 3.0])}
    assert distance(near, far) == pytest.approx(0.2357023)
    assert distance(near | {"b": np.ones(2)}, far | {"b": np.full(2, 2.0)}) == 0.5
    assert distance({"a": np.array(0.25)}, {"a": np.array(0.0)}) == 0.25
    assert distance(far, far) == 0


@pytest.mark.parametrize(
    "found",
    [
        {},
        {"b": np.ones(2)},
        {"a": np.ones(3)},
        {"a": np.array([1, np.nan])},
        {"a": np.full(2, np.inf)},
    ],
)
def test_what_cannot_be_compared_has_not_passed(found):
    expected = {"a": np.ones(2)}
    check = judged("name", distance(found, expected), 1e9)
    assert (check.state, check.largest) == (FAIL, np.inf)
    assert same_bits("name", found, expected).state == FAIL


def test_nan_is_within_no_tolerance():
    assert judged("name", np.nan, 1.0).state == FAIL


def test_one_bit_is_no_equal_run():
    expected = {"a": np.ones(3, np.float32)}
    found = {"a": np.nextafter(expected["a"], np.float32(2))}
    assert same_bits("name", expected, expected).state == PASS
    assert same_bits("name", found, expected).state == FAIL


def test_right_step_passes_and_a_wrong_one_fails():
    """The wrong formula has a rate that is one per cent too high."""

    class Wrong(oracle.Oracle):
        def __init__(self, *args):
            super().__init__(*args)
            self.lr *= 1.01

    right = formulas.check_method("erm", oracle)
    assert right.state == PASS and 0 < right.largest < 1e-4
    wrong = formulas.check_method("erm", SimpleNamespace(Oracle=Wrong))
    assert wrong.state == FAIL and 0.005 < wrong.largest < 0.05


def test_what_raises_has_failed():
    """As an operator does that the device has not."""

    def fails(*args):
        raise RuntimeError("no kernel for Conv2D\nmore")

    check = formulas.check_method("erm", SimpleNamespace(Oracle=fails))
    assert (check.state, check.note) == (FAIL, "no kernel for Conv2D")


def test_every_method_has_settings():
    assert formulas.SETTINGS.keys() == METHODS.keys()


def test_methods_of_one_step_are_compared_once():
    """jtt's second stage is ERM, eiil's group DRO."""
    groups = comparisons.same_steps(("erm", "sam", "jtt", "eiil", "groupdro"))
    assert groups == {"erm": "cpu: erm, jtt", "sam": "cpu: sam", "eiil": "cpu: eiil, groupdro"}


def test_process_that_dies_is_a_check_that_failed():
    (check,) = comparisons.from_worker("os:_exit", "amp", 7)
    assert (check.name, check.state) == ("amp: the rest", FAIL)
    assert check.note.startswith("the process ended with exit code 7")


def program(monkeypatch, capsys, rows):
    """Exit code and output of the program, whose checks come to these rows."""
    answer = Answer({"device": "CPU", "devices": {"GPU": 0, "Ascend": 0}, "name": "CPU"}, "", [])
    monkeypatch.setattr(check_device, "ask_device", lambda target: answer)
    monkeypatch.setattr(check_device, "checks_of", lambda *args: iter(rows))
    code = check_device.main(["formulas"])
    return code, capsys.readouterr().out


def test_exit_code_says_whether_a_check_failed(monkeypatch, capsys):
    good = Check("first", PASS, 1e-7, 1e-4)
    code, output = program(monkeypatch, capsys, [good, good])
    assert code == 0 and output.endswith("\nchecks on CPU: 2 pass, 0 FAIL, 0 skipped\n")
    assert re.search(r"^first +pass +1\.0e-07 +1\.0e-04$", output, re.MULTILINE)
    assert "mindspore       2." in output and "device " in output
    code, output = program(monkeypatch, capsys, [good, Check("second", FAIL, note="why")])
    assert code == 1 and output.endswith("\nchecks on CPU: 1 pass, 1 FAIL, 0 skipped\n")


def test_two_processes_need_two_devices(tmp_path):
    options = Options("GPU", ("erm",), tmp_path, tmp_path)
    (check,) = check_device.checks_of("processes", options, num_devices=1)
    assert (check.state, check.note) == ("skipped", "there is one GPU")


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["steps"], "no part 'steps': choose from formulas, cpu"),
        (["--method", "adam"], "argument --method: invalid choice: 'adam'"),
        (["--oracle", "nowhere.py"], "--oracle nowhere.py is not a file"),
        (["--device_target", "TPU"], "argument --device_target: invalid choice: 'TPU'"),
    ],
)
def test_bad_usage(capsys, flags, text):
    refusal_of(check_device.main, capsys, flags, text)


def started(*flags):
    command = [sys.executable, str(ROOT / "scripts" / "check_device.py"), *flags]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.slow
def test_whole_run_on_a_cpu(tmp_path):
    done = started("--device_target", "CPU")
    assert done.returncode == 0, done.stdout + done.stderr
    states = re.findall(r"^\w+: .*?  (pass|FAIL|skipped|–) ", done.stdout, re.MULTILINE)
    # Formulas of nine methods, which have seven steps; four levels with an overflow each; two
    # methods run again and resumed, and in two processes; two steps and the input are timed.
    assert states.count("pass") == 9 + 7 + 2 * 4 + 2 * 2 + 2 and states.count("–") == 3
    assert len(states) == 33


@pytest.mark.slow
def test_formulas_of_ones_own_that_are_wrong(tmp_path):
    text = (ROOT / "tests" / "oracle.py").read_text()
    wrong = tmp_path / "wrong.py"
    wrong.write_text(text.replace("self.lr * self.velocity[k]", "0.9 * self.lr * self.velocity[k]"))
    done = started("formulas", "--device_target", "CPU", "--method", "erm", "--oracle", str(wrong))
    assert done.returncode == 1 and "formulas: erm" in done.stdout, done.stderr
    assert "checks on CPU: 0 pass, 1 FAIL, 0 skipped" in done.stdout


@pytest.mark.slow
def test_device_that_is_not_there():
    done = started("--device_target", "Ascend")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "--device_target Ascend: MindSpore finds no Ascend here" in done.stderr
