"""Runs that are stopped, killed, broken or there already."""

import itertools
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from running import (
    ERM,
    NAME,
    ROOT,
    TINY,
    begun_second_epoch,
    check_equal,
    rows,
    same_weights,
    tree,
    wait_until,
    weights,
    without_speed,
)

from sharpdro.errors import RunError
from sharpdro.networks.build import load_trained

SLOW = pytest.mark.slow
SAVED = (*ERM, "--save_step", "1")  # the run that most tests look at, copy or take up


@pytest.fixture(scope="module")
def saved(run):
    return run(*SAVED)


def test_existing_run_is_not_touched_without_resume(run, capsys):
    folder = run(*SAVED)
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    assert run.code(*SAVED, "--log_dir", str(folder.parent)) == 2
    assert "exists already: add --resume to continue it" in capsys.readouterr().err
    assert run.code(*SAVED, "--log_dir", str(folder.parent), "--resume", "--lr", "0.2") == 2
    message = capsys.readouterr().err
    assert re.search(r"--lr is 0.2, but .* was started with 0.05: give the same", message)
    longer = [*SAVED, "--log_dir", str(folder.parent), "--resume", "--total_epoch", "5"]
    assert run.code(*longer) == 2
    message = capsys.readouterr().err
    assert "--total_epoch is 5, but " in message and "a run cannot be made longer" in message
    assert f"--pretrained {folder / 'best.ckpt'} and another --desc" in message
    assert message.count("\n") == 1 and "to finish it" not in message
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_resuming_a_finished_run_changes_nothing(run, capsys):
    folder = run(*SAVED)
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    capsys.readouterr()
    assert run.code(*SAVED, "--log_dir", str(folder.parent), "--resume") == 0
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    assert capsys.readouterr().out == f"finished already: {folder}\n"


def test_finished_run_that_kept_nothing_to_resume_is_finished_all_the_same(run, tmp_path, capsys):
    """So that a sweep skips it."""
    folder = tmp_path / run(*SAVED).name
    shutil.copytree(run(*SAVED), folder)
    settings = json.loads((folder / "settings.json").read_text())
    settings["settings"]["save_last"] = False
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "last.ckpt").unlink()
    own = (*ERM, "--no-save_last", "--log_dir", str(tmp_path), "--resume")
    assert run.code(*own) == run.code(*own, "--dry_run") == 0
    assert f"finished already: {folder}\n" in capsys.readouterr().out
    (folder / "summary.json").unlink()
    assert run.code(*own) == 2
    assert "was run with --no-save_last and cannot be resumed" in capsys.readouterr().err
    assert run.code(*own[:-1]) == 2
    assert capsys.readouterr().err.endswith(f"{folder} exists already: choose another --desc\n")


def test_run_killed_before_it_wrote_anything_is_begun(run, tmp_path, asked_steps):
    folder = tmp_path / NAME.format(method="erm")
    folder.mkdir()
    (folder / ".settings.json.partial").write_text("{")
    assert run.code(*ERM, "--log_dir", str(tmp_path), "--resume") == 2 and asked_steps
    assert json.loads((folder / "settings.json").read_text())["settings"]["method"] == "erm"


@pytest.mark.parametrize("name", ["last.ckpt", "val.csv", "settings.json"])
def test_incomplete_run_is_not_resumed_and_not_touched(run, tmp_path, capsys, name):
    folder = tmp_path / run(*SAVED).name
    shutil.copytree(run(*SAVED), folder)
    (folder / "summary.json").unlink()  # as of a run that is not finished
    (folder / name).unlink()
    (folder / "previous.ckpt").unlink()
    before = {p.name: p.read_bytes() for p in folder.glob("*.c*")}
    assert run.code(*ERM, "--log_dir", str(tmp_path), "--resume") == 2
    assert re.search(rf"{name} (is missing|cannot be read)", capsys.readouterr().err)
    assert {p.name: p.read_bytes() for p in folder.glob("*.c*")} == before


def test_diverged_training_stops_and_saves_nothing(run, tmp_path, capsys):
    flags = (*ERM, "--total_epoch", "1", "-b", "120", "--lr", "1e30", "--log_dir", str(tmp_path))
    assert run.code(*flags) == 2
    message = capsys.readouterr().err
    assert "loss is no longer finite after epoch 1: lower --lr and choose another" in message
    assert message.endswith("; there is no earlier checkpoint\n")
    (folder,) = tmp_path.iterdir()
    assert not list(folder.glob("*.ckpt")) and not rows(folder / "test.csv")
    last = (folder / "log.txt").read_text().splitlines()[-1]
    assert re.search("error: the .*loss is no longer finite after epoch 1: lower", last)


@pytest.mark.slow
def test_step_that_diverged_is_named_whenever_results_are_fetched(run, tmp_path, capsys):
    """The second of three, as the first one's update is far too long; fetched alone, and last."""
    messages = []
    for log_train in ("1", "100"):
        own = ("--lr", "1e30", "--log_train", log_train, "--log_dir", str(tmp_path / log_train))
        assert run.code(*ERM, *own) == 2
        messages.append(capsys.readouterr().err)
        (folder,) = (tmp_path / log_train).iterdir()
        assert len(rows(folder / "train.csv")) == (log_train == "1")
        assert not list(folder.glob("*.ckpt"))
    assert re.search("loss of severity [012].* finite in epoch 1, step 2: lower --lr", messages[0])
    assert messages[1] == messages[0]


@SLOW
def test_run_may_be_guarded_from_its_middle_on(run, tmp_path):
    """--on_nan changes nothing where all is finite, except that train.csv counts skipped steps."""
    own = (*ERM, "--save_step", "1", "--on_nan", "skip")
    guarded = run(*own)
    assert same_weights(weights(guarded), weights(run(*SAVED)))
    assert {row["skipped_steps"] for row in rows(guarded / "train.csv")} == {"0"}
    folder = back_to_first_epoch(guarded, tmp_path)
    assert run.code(*ERM, "--log_dir", str(tmp_path), "--resume") == 0
    assert same_weights(weights(folder), weights(guarded))


def back_to_first_epoch(finished, parent):
    """A copy of a run as it was after its first epoch."""
    folder = parent / finished.name
    shutil.copytree(finished, folder)
    (folder / "summary.json").unlink()
    shutil.copy(folder / "epoch_1.ckpt", folder / "last.ckpt")
    return folder


@SLOW
def test_run_of_a_version_that_measured_less_goes_on(run, tmp_path):
    """Cells that it did not have stay empty; all else is as if nothing had happened."""
    own = (*SAVED, "--eval_every", "1")
    finished = run(*own)
    folder = back_to_first_epoch(finished, tmp_path)
    for name in ("val.csv", "test.csv"):
        lines = (folder / name).read_text().splitlines()
        (folder / name).write_text("".join(",".join(x.split(",")[:5]) + "\n" for x in lines))
    assert run.code(*own, "--log_dir", str(tmp_path), "--resume") == 0
    assert same_weights(weights(folder), weights(finished))
    for name in ("val.csv", "test.csv"):
        for row, expected in zip(rows(folder / name), rows(finished / name), strict=True):
            assert expected["ece"] and expected["worst_class_accuracy"]
            if row["epoch"] == "1":
                expected |= {"ece": "", "worst_class_accuracy": ""}
            assert row == expected


@pytest.mark.slow
def test_loss_scale_is_kept(run, tmp_path, monkeypatch):
    """It is found at the beginning, by skipped steps, and a resumed run goes on with it."""
    monkeypatch.setattr("sharpdro.training.nan_guard._FIRST_SCALE", 2.0**19)
    own = (*ERM, "--amp_level", "O2", "--save_step", "1", "--log_train", "1")
    finished = run(*own)
    steps = rows(finished / "train.csv")
    skipped = sum(int(row["skipped_steps"]) for row in steps)
    assert 0 < skipped < len(steps)
    assert [row["loss"] == "" for row in steps] == [row["skipped_steps"] == "1" for row in steps]
    assert float(weights(finished)["scale_value"]) == 2.0 ** (19 - skipped)
    assert f", {skipped} steps skipped (first step 1: the" in (finished / "log.txt").read_text()
    folder = back_to_first_epoch(finished, tmp_path)
    assert run.code(*own, "--log_dir", str(tmp_path), "--resume") == 0
    assert same_weights(weights(folder), weights(finished))
    assert without_speed(folder / "train.csv") == without_speed(finished / "train.csv")
    assert (folder / "test.csv").read_bytes() == (finished / "test.csv").read_bytes()


@pytest.mark.slow
def test_killed_run_resumes_to_the_same_bits(data_dir, tmp_path):
    """SIGKILL in the second of four epochs, then --resume; against an undisturbed process.

    With losses that are remembered for absent groups.
    """
    command = [sys.executable, str(ROOT / "main.py"), *TINY, "--data_dir", str(data_dir)]
    command += ["--total_epoch", "4", "--eval_every", "1", "--log_train", "1"]
    command += ["--absent_groups", "ema", "--step_size", "0.5"]

    def start(name, *more):
        logs = ["--log_dir", str(tmp_path / name)]
        return subprocess.Popen([*command, *logs, *more], stdout=subprocess.DEVNULL, cwd=tmp_path)

    undisturbed = start("undisturbed")
    assert undisturbed.wait(timeout=300) == 0
    killed = start("killed")
    table = tmp_path / "killed" / NAME.format(method="sharpdro") / "train.csv"
    wait_until(killed, partial(begun_second_epoch, table))
    killed.kill()
    killed.wait()
    folder = table.parent
    assert not json.loads((folder / "summary.json").read_text())["finished"]
    assert start("killed", "--resume").wait(timeout=300) == 0

    (expected,) = (tmp_path / "undisturbed").iterdir()
    assert "going on after epoch" in (folder / "log.txt").read_text()
    check_equal(folder, expected)


@pytest.mark.parametrize(
    ("calls", "epoch", "step"),
    [pytest.param(2, 0, 2, marks=SLOW), (5, 1, 2), pytest.param(7, 1, 3, marks=SLOW)],
)
def test_stopped_run_goes_on_inside_the_epoch(run, tmp_path, monkeypatch, calls, epoch, step):
    """Ctrl-C after 2 of the first epoch's 3 steps, 2 of the second's, and while evaluating."""
    counter = itertools.count(1)

    def check():
        if next(counter) == calls:
            raise KeyboardInterrupt

    own = (*ERM, "--log_dir", str(tmp_path))
    with monkeypatch.context() as patch:
        for module in ("training.trainer", "evaluation.evaluator"):
            patch.setattr(f"sharpdro.{module}.check_interrupts", check)
        assert run.code(*own) == 130
    folder = tmp_path / run(*SAVED).name
    log = (folder / "log.txt").read_text()
    assert f"stopped in epoch {epoch + 1} after step {step}, which is saved" in log
    inside = rf"last.ckpt was saved inside epoch {epoch + 1}, .*: finish it with --resume"
    with pytest.raises(RunError, match=inside):
        load_trained(folder / "last.ckpt")
    (folder / ".best_of_epoch_2").mkdir()  # as a kill leaves it
    assert run.code(*own, "--resume") == 0
    assert not list(folder.glob(".best_of_epoch_*"))
    log = (folder / "log.txt").read_text()
    where = f"epoch {epoch} and {step} of the 3 steps of the next"
    assert f"going on after {where if step < 3 else 'the last step of epoch 2'}\n" in log
    check_equal(folder, run(*SAVED))


def test_best_checkpoint_of_another_epoch_is_told(run, saved, tmp_path):
    """Though all else is finished."""
    folder = tmp_path / saved.name
    shutil.copytree(saved, folder)
    summary = json.loads((folder / "summary.json").read_text())
    other = 3 - summary["best"]["epoch"]
    (folder / "summary.json").unlink()
    shutil.copy(folder / f"epoch_{other}.ckpt", folder / "best.ckpt")
    assert run.code(*ERM, "--log_dir", str(tmp_path), "--resume") == 0
    warning = (folder / "log.txt").read_text().splitlines()[-1]
    assert f"best.ckpt holds epoch {other} " in warning and f"best epoch is {3 - other}" in warning


@SLOW
def test_run_goes_on_from_the_checkpoint_before_a_damaged_one(run, tmp_path):
    """And keeps that one until there is a good one again."""
    finished = run(*SAVED)
    folder = tmp_path / finished.name
    shutil.copytree(finished, folder)
    (folder / "summary.json").unlink()
    (folder / "last.ckpt").write_bytes((finished / "last.ckpt").read_bytes()[:-100])
    assert run.code(*ERM, "--log_dir", str(tmp_path), "--resume") == 0
    log = (folder / "log.txt").read_text()
    assert "last.ckpt is damaged" in log and "going on after epoch 1\n" in log
    check_equal(folder, finished)
    before = (finished / "previous.ckpt").read_bytes()
    assert (folder / "previous.ckpt").read_bytes() == before


def check_every_thread_holds_interrupts_back(process):
    """One that does not gets the signal, and with it what MindSpore does about it."""
    held = 1 << (signal.SIGINT - 1) | 1 << (signal.SIGTERM - 1)
    threads = list(Path(f"/proc/{process.pid}/task").iterdir())
    assert len(threads) > 2
    for thread in threads:
        blocked = re.search(r"SigBlk:\s*(\w+)", (thread / "status").read_text()).group(1)
        assert int(blocked, 16) & held == held, thread


@pytest.mark.parametrize(
    ("number", "code", "delay"),
    [
        (signal.SIGINT, 130, 0.0),
        pytest.param(signal.SIGTERM, 143, 0.1234, marks=SLOW),
        pytest.param(signal.SIGHUP, 129, 0.05, marks=SLOW),
    ],
)
def test_interruption_is_one_line(data_dir, tmp_path, number, code, delay):
    """With as many threads of the numerical libraries as they like to have."""
    command = [sys.executable, str(ROOT / "main.py"), *TINY, *ERM, "--total_epoch", "100000"]
    command += ["--data_dir", str(data_dir), "--log_dir", str(tmp_path)]
    free = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    free["OPENBLAS_NUM_THREADS"] = "2"
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, env=free, **pipes)
    wait_until(process, lambda: list(tmp_path.glob("*/last.ckpt")))
    try:
        check_every_thread_holds_interrupts_back(process)
    except BaseException:
        process.kill()
        raise
    time.sleep(delay)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert (
        errors.decode().count("\n") == 1
        and b"run the same command with --resume to continue" in errors
    )
    (log,) = tmp_path.glob("*/log.txt")
    assert re.search(r"stopped in epoch \d+ after step \d, which is saved\n$", log.read_text())


def reversed_data(data_dir, folder):
    """The same photographs and labels, but all corrupted images in reverse, and no manifest."""
    shutil.copytree(data_dir, folder)
    for path in (folder / "CIFAR-10-C").glob("*/*/gaussian_noise.npy"):
        np.save(path, np.load(path)[::-1])
    (folder / "CIFAR-10-C" / "manifest.json").unlink()
    return folder


def test_run_is_not_resumed_on_other_images(run, tmp_path_factory, tmp_path, capsys):
    finished = run(*SAVED)
    others = tmp_path_factory.mktemp("others")
    other_data = reversed_data(run.data_dir, others / "reversed")
    folder = back_to_first_epoch(finished, tmp_path)
    recorded = json.loads((folder / "settings.json").read_text())["data"]
    before = tree(folder)
    own = (*ERM, "--log_dir", str(tmp_path), "--resume")
    assert run.code(*own, "--data_dir", str(other_data)) == 2
    error = capsys.readouterr().err
    array = other_data / "CIFAR-10-C" / "train" / "1" / "gaussian_noise.npy"
    assert f"the training images of {array} differ from those that {folder} was" in error
    assert error.count("\n") == 1 and tree(folder) == before
    # One severity of the test images alone.
    mended = others / "mended"
    shutil.copytree(run.data_dir, mended)
    array = mended / "CIFAR-10-C" / "test" / "2" / "gaussian_noise.npy"
    shutil.copy(other_data / array.relative_to(mended), array)
    assert run.code(*own, "--data_dir", str(mended)) == 2
    assert f"the test images of {array} differ" in capsys.readouterr().err
    assert tree(folder) == before
    # The right ones, elsewhere.
    shutil.copy(run.data_dir / array.relative_to(mended), array)
    assert run.code(*own, "--data_dir", str(mended)) == 0
    assert same_weights(weights(folder), weights(finished))
    assert json.loads((folder / "settings.json").read_text())["data"] == recorded


def test_run_goes_on_from_the_same_pretrained_weights(run, saved, tmp_path, asked_steps, capsys):
    """Stopped before the second stage has begun from them."""
    path = tmp_path / "x.ckpt"
    shutil.copy(saved / "epoch_1.ckpt", path)
    jtt = ("--method", "jtt", "--log_dir", str(tmp_path / "logs"), "--pretrained", str(path))
    assert run.code(*jtt) == 2 and asked_steps.pop()
    (folder,) = (tmp_path / "logs").iterdir()
    recorded = json.loads((folder / "settings.json").read_text())["data"]["pretrained_crc32"]
    assert recorded == f"{zlib.crc32(path.read_bytes()):08x}"
    assert run.code(*jtt, "--resume") == 2 and asked_steps.pop()
    shutil.copy(saved / "last.ckpt", path)
    before = (folder / "settings.json").read_bytes()
    capsys.readouterr()
    assert run.code(*jtt, "--resume") == 2 and not asked_steps
    expected = f"--pretrained {path} is no longer the file that {folder} was started with: restore"
    assert expected in capsys.readouterr().err
    assert run.code(*jtt, "--resume", "--dry_run") == 2
    assert expected in re.sub(r"\s+", " ", capsys.readouterr().out)
    assert (folder / "settings.json").read_bytes() == before
    shutil.copy(saved / "last.ckpt", folder / "previous.ckpt")  # as a kill can leave it alone
    assert run.code(*jtt, "--resume") == 2 and asked_steps


def test_run_of_an_earlier_version_is_resumed_and_its_images_recorded(
    run, saved, tmp_path, asked_steps
):
    folder = back_to_first_epoch(saved, tmp_path)
    content = json.loads((folder / "settings.json").read_text())
    recorded = content.pop("data")
    for later in ("warmup_epochs", "clip_grad"):
        del content["settings"][later]
    content["settings"]["scheduler"] = True  # it was on or off
    (folder / "settings.json").write_text(json.dumps(content))
    assert run.code(*ERM, "--log_dir", str(tmp_path), "--resume", "--no-scheduler") == 2
    assert not asked_steps
    assert run.code(*ERM, "--log_dir", str(tmp_path), "--resume") == 2 and asked_steps
    assert "did not record its images: not compared;" in (folder / "log.txt").read_text()
    assert json.loads((folder / "settings.json").read_text())["data"] == recorded


def test_checksums_in_settings_are_those_of_the_images(run):
    """Of the rows that count, each by its severity, computed anew here."""
    data = json.loads((run(*SAVED) / "settings.json").read_text())["data"]
    assert data["foreign_arrays"] == 0
    sums = data["images_crc32"]
    assert sums.keys() == {"training", "validation", "test"}
    batch = pickle.loads((run.data_dir / "cifar-10-batches-py" / "test_batch").read_bytes())
    chosen = np.sort(np.random.default_rng(0).permutation(len(batch[b"labels"]))[:5])
    labels = np.array(batch[b"labels"])[chosen]
    arrays = [batch[b"data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)]
    folder = run.data_dir / "CIFAR-10-C" / "test"
    arrays += [np.load(folder / str(severity) / "gaussian_noise.npy") for severity in (1, 2)]
    expected = [
        zlib.crc32(labels.astype("<i8").tobytes() + chosen.tobytes() + array[chosen].tobytes())
        for array in arrays
    ]
    assert sums["test"] == [f"{value:08x}" for value in expected]


def with_threads(finished, parent, number):
    """A copy of a run as it was after its first epoch, computed with so many threads."""
    folder = back_to_first_epoch(finished, parent)
    content = json.loads((folder / "settings.json").read_text())
    content["settings"]["threads"] = number
    (folder / "settings.json").write_text(json.dumps(content))
    return folder


def test_resumed_run_keeps_its_threads_or_says_that_it_cannot(
    run, saved, tmp_path, capsys, asked_steps
):
    cores = len(os.sched_getaffinity(0))
    own = (*ERM, "--log_dir", str(tmp_path), "--resume")
    content = json.loads((saved / "settings.json").read_text())
    assert content["settings"]["threads"] == cores
    folder = with_threads(saved, tmp_path, 4096)
    assert run.code(*own, "--threads", str(cores)) == 2
    assert f"--threads is {cores}, but {folder} was started with 4096" in capsys.readouterr().err
    assert run.code(*own) == 2 and len(asked_steps) == 1
    line = f"4096 threads of the CPU's kernels until now, {cores} from now on"
    assert line in (folder / "log.txt").read_text()
    assert json.loads((folder / "settings.json").read_text())["settings"]["threads"] == 4096
    # A run that was begun before there was such a setting: as many as it had cores.
    shutil.rmtree(folder)
    folder = with_threads(saved, tmp_path, None)
    assert run.code(*own) == 2 and len(asked_steps) == 2
    assert "threads of the CPU" not in (folder / "log.txt").read_text()


def test_more_threads_than_cores_are_refused_at_the_beginning(run, tmp_path, capsys):
    assert run.code(*ERM, "--log_dir", str(tmp_path), "--threads", "4096") == 2
    assert "--threads 4096: this machine has " in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="takes two cores")
def test_threads_and_not_cores_decide_the_bits(tmp_path):
    """vrex differs between one and two threads from the first epoch on, whatever the cores."""
    one, *_ = both = sorted(os.sched_getaffinity(0))[:2]
    command = [sys.executable, str(ROOT / "main.py"), "-d", "synthetic", "-n", "40"]
    command += ["--num_severity", "2", "--depth", "10", "--widen_factor", "1", "-b", "50"]
    command += ["--total_epoch", "1", "--log_train", "1", "--num_val", "50", "--num_test", "50"]
    command += ["--method", "vrex", "--data_dir", str(tmp_path / "data")]

    def trained(cores, threads):
        logs = tmp_path / f"{len(cores)}{threads}"
        flags = ["--threads", str(threads), "--log_dir", str(logs)]
        quiet = {"stdout": subprocess.DEVNULL, "check": True, "timeout": 600}
        pin = partial(os.sched_setaffinity, 0, cores)
        subprocess.run([*command, *flags], preexec_fn=pin, **quiet)
        return next(logs.iterdir())

    runs = {n: [trained(cores, n) for cores in ({one}, set(both))] for n in (1, 2)}
    for first, second in runs.values():
        assert same_weights(weights(first), weights(second))
        assert without_speed(first / "train.csv") == without_speed(second / "train.csv")
    assert not same_weights(weights(runs[1][0]), weights(runs[2][0]))
