"""Event files: every value of the tables, once, however often a run was stopped."""

import re
import shutil
import signal
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pytest
from running import ERM, NAME, ROOT, TINY, begun_second_epoch, rows, wait_until

import main
from sharpdro.run_folder import tensorboard
from sharpdro.run_folder.csv_table import Table, until_epoch

pytest.importorskip("tensorboardX")
event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

FLAGS = (*ERM, "--tensorboard", "--log_train", "2", "--eval_every", "1")
STEPS = 3  # an epoch of running.TINY


def events_in(folder):
    """Per tag a list of (step, value)."""
    found = event_accumulator.EventAccumulator(str(folder), size_guidance={"scalars": 0})
    found.Reload()
    tags = found.Tags()["scalars"]
    return {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in tags}


def expected_events(folder, steps_per_epoch=STEPS):
    """The same from the tables, by another way to the tags."""
    found = {}

    def add(tag, step, cell):
        if cell != "":
            found.setdefault(tag, []).append((step, float(np.float32(float(cell)))))

    for row in rows(folder / "train.csv"):
        step = (int(row.pop("epoch")) - 1) * steps_per_epoch + int(row.pop("step"))
        assert int(row.pop("global_step")) == step
        of_all = ("loss", "accuracy", "gradient_norm", "learning_rate", "images_per_second")
        for name in (*of_all, "skipped_steps", "seconds"):
            add(f"train/{name}", step, row.pop(name))
        add("score/spearman", step, row.pop("score_spearman", ""))
        for column, cell in row.items():
            what, number = re.fullmatch(r"(\w+)_(\d)", column).groups()
            if what == "inferred_weight":
                add(f"group_weight/inferred_{number}", step, cell)
            else:
                group = "score" if what == "score" else f"group_{what}"
                add(f"{group}/severity_{number}", step, cell)
    for table, split in (("val", "validation"), ("test", "test")):
        for row in rows(folder / f"{table}.csv"):
            name = {"mean": "mean", "worst": "worst"}.get(
                row["severity"], f"severity_{row['severity']}"
            )
            for what in ("loss", "accuracy", "ece", "worst_class_accuracy"):
                add(f"{split}_{what}/{name}", int(row["epoch"]) * steps_per_epoch, row[what])
    return found


def test_events_are_the_tables(run):
    folder = run(*FLAGS)
    assert len(list((folder / "tensorboard").iterdir())) == 1
    events = events_in(folder / "tensorboard")
    assert events == expected_events(folder)
    assert [step for step, _ in events["train/loss"]] == [2, 3, 5, 6]
    assert [step for step, _ in events["validation_accuracy/worst"]] == [3, 6]
    assert [step for step, _ in events["test_accuracy/severity_2"]] == [3, 6]
    assert "group_weight/severity_0" not in events  # empty cells


@pytest.mark.slow
def test_scores_and_weights(run):
    """Columns that not all methods have."""
    scored = run("--distribution_agnostic", "--tensorboard")
    assert events_in(scored / "tensorboard") == expected_events(scored)
    assert {"score/severity_2", "score/spearman"} <= events_in(scored / "tensorboard").keys()
    weighted = run("--method", "groupdro", "--tensorboard")
    weights = events_in(weighted / "tensorboard")
    assert weights == expected_events(weighted) and "group_weight/severity_2" in weights


@pytest.mark.slow
def test_first_stage_is_a_run_of_its_own(run, tmp_path):
    """Also where it was over before the flag was given."""
    flags = ("--method", "eiil", "--eiil_epochs", "1", "--eiil_steps", "5")
    folder = tmp_path / run(*flags).name
    shutil.copytree(run(*flags), folder)
    own = [*flags, "--tensorboard", "--log_dir", str(tmp_path), "--resume"]
    assert run.code(*own) == 0  # a finished run
    for part in (".", "stage1"):
        assert events_in(folder / "tensorboard" / part) == expected_events(folder / part)
    assert "group_weight/inferred_1" in events_in(folder / "tensorboard")
    shutil.rmtree(folder / "tensorboard")
    kept = ("last.ckpt", "previous.ckpt")
    for name in (*kept, "summary.json", "train.csv", "val.csv", "test.csv"):
        (folder / name).unlink()
    assert run.code(*own) == 0  # the second stage alone
    for part in (".", "stage1"):
        assert events_in(folder / "tensorboard" / part) == expected_events(folder / part)


@pytest.mark.slow
@pytest.mark.parametrize("from_the_start", [True, False])
def test_killed_and_resumed(data_dir, tmp_path, from_the_start):
    """Neither gaps nor doubles, also if the flag is given at --resume alone."""
    command = [sys.executable, str(ROOT / "main.py"), *TINY, *ERM, "--data_dir", str(data_dir)]
    command += ["--total_epoch", "4", "--eval_every", "1", "--log_train", "1", "--resume"]
    command += ["--log_dir", str(tmp_path)]
    first = [*command, "--tensorboard"] if from_the_start else command
    killed = subprocess.Popen(first, stdout=subprocess.DEVNULL)
    folder = tmp_path / NAME.format(method="erm")
    wait_until(killed, partial(begun_second_epoch, folder / "train.csv"))
    killed.kill()
    killed.wait()
    if from_the_start:  # what was written by then was on disk
        before = events_in(folder / "tensorboard")["train/loss"]
        assert [step for step, _ in before][:STEPS] == [1, 2, 3]
    resumed = [*command, "--tensorboard"]
    assert subprocess.run(resumed, stdout=subprocess.DEVNULL, timeout=300).returncode == 0
    events = events_in(folder / "tensorboard")
    assert events == expected_events(folder)
    assert [step for step, _ in events["train/loss"]] == list(range(1, 4 * STEPS + 1))


@pytest.mark.slow
def test_an_interrupted_run_has_what_it_wrote(data_dir, tmp_path):
    """SIGINT ends it at once; every row that the tables have is in the event file."""
    command = [sys.executable, str(ROOT / "main.py"), *TINY, *ERM, "--total_epoch", "100000"]
    command += ["--data_dir", str(data_dir), "--log_dir", str(tmp_path), "--tensorboard"]
    command += ["--log_train", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    wait_until(process, lambda: list(tmp_path.glob("*/last.ckpt")))
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and errors.decode().count("\n") == 1
    (folder,) = tmp_path.iterdir()
    assert events_in(folder / "tensorboard") == expected_events(folder)


def test_the_file_follows_a_table(tmp_path):
    path, columns = tmp_path / "train.csv", ["epoch", "step", "loss", "loss_0", "weight_1"]
    path.write_text("epoch,step,loss,loss_0,weight_1\n1,5,0.5,,1\n2,5,0.25,0.2,\n3,1,9,9,9\n")
    with tensorboard.event_file(tmp_path / "events", 5) as write:
        assert not (tmp_path / "events").exists()
        table = Table(path, columns, until_epoch(2), partial(write, "train.csv"))
        table.append([{"epoch": 3, "step": 2, "loss": 1 / 3, "loss_0": None, "weight_1": 7}])
        assert events_in(tmp_path / "events") == {  # already, and no line that was dropped
            "train/loss": [(5, 0.5), (10, 0.25), (12, pytest.approx(0.333333))],
            "group_loss/severity_0": [(10, pytest.approx(0.2))],
            "group_weight/severity_1": [(5, 1.0), (12, 7.0)],
        }


def test_missing_package_is_one_line_before_anything_else(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorboardX.event_file_writer", None)
    own = ["--log_dir", str(tmp_path / "logs"), "--data_dir", str(tmp_path / "none")]
    assert run.code(*ERM, "--tensorboard", *own) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "--tensorboard needs the package tensorboardX" in error
    assert "pip install -r requirements-tensorboard.txt" in error
    assert list(tmp_path.iterdir()) == []


def test_not_with_eval_only(tmp_path, capsys):
    own = ["--eval_only", "--checkpoint", "last.ckpt", "--tensorboard"]
    assert main.main([*own, "--log_dir", str(tmp_path)]) == 2
    assert "--tensorboard does not go with --eval_only" in capsys.readouterr().err
