"""What a user may have broken or mistaken: one line, exit code 2, before any long work starts.

Bad values and flags that do not go together are in test_command_line.py; what else may be wrong
with a file of data is told by the tests of its reader, in tests/dataset and tests/corruptions.
"""

import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import mindspore as ms
import numpy as np
import pytest
from PIL import Image
from running import ERM, ROOT, TINY, assert_refused, tree
from small_network import SmallNetwork

from sharpdro.device import is_available

BATCH = "cifar-10-batches-py/data_batch_3"
NOISE = "CIFAR-10-C/train/1/gaussian_noise.npy"


@pytest.fixture(scope="module")
def finished(run):
    """A run, after which all data are there."""
    return run(*ERM)


@pytest.fixture
def state(finished, run, tmp_path, monkeypatch):
    """Copies of complete data and of a run whose summary is missing, and nothing long."""

    def forbidden(*_, **__):
        raise AssertionError("something long was started")

    monkeypatch.setattr("sharpdro.jobs.train.train_network", forbidden)
    monkeypatch.setattr("sharpdro.evaluation.evaluator.Evaluator.__call__", forbidden)
    monkeypatch.setattr("corruptions.storage.making.worker_pool", forbidden)
    shutil.copytree(run.data_dir, tmp_path / "data")
    folder = tmp_path / "logs" / finished.name
    shutil.copytree(finished, folder)
    (folder / "summary.json").unlink()
    return SimpleNamespace(data=tmp_path / "data", run=folder, patch=monkeypatch, tmp=tmp_path)


def remove(name):
    return lambda state: (state.data / name).unlink()


def write(name, content):
    return lambda state: (state.data / name).write_bytes(content)


def little_room(state):
    (state.data / NOISE).unlink()
    usage = SimpleNamespace(total=10**9, used=10**9, free=1000)
    state.patch.setattr("shutil.disk_usage", lambda folder: usage)


def small_frost(state):
    for number in range(1, 7):
        name = f"frost{number}.{'png' if number < 4 else 'jpg'}"
        Image.new("RGB", (20, 20)).save(state.data / name)


# What is damaged, the flags besides, and what the line must hold.
NEW_RUNS = {
    "a batch is missing": (remove(BATCH), "", ["data_batch_3"]),
    "a batch is cut off": (
        lambda state: os.truncate(state.data / BATCH, 5000),
        "",
        ["data_batch_3"],
    ),
    "an array holds too few images": (
        lambda state: np.save(state.data / NOISE, np.load(state.data / NOISE)[:-1]),
        "",
        [NOISE, "expected"],
    ),
    "an array is cut off": (
        lambda state: os.truncate(state.data / NOISE, 1000),
        "",
        [NOISE, "not a whole .npy array"],
    ),
    "labels beside the arrays are others": (
        lambda state: np.save(state.data / NOISE.replace("gaussian_noise", "labels"), np.ones(200)),
        "",
        ["labels"],
    ),
    "the manifest is broken": (write("CIFAR-10-C/manifest.json", b"{"), "", ["manifest.json"]),
    "no room for the arrays": (little_room, "", ["MB are free", "make room"]),
    "the data folder is a file": (
        lambda state: (state.data / "x").write_text(""),
        "--data_dir {data}/x",
        ["data/x", "not a folder"],
    ),
    "the log folder is a file": (write("x", b""), "--log_dir {data}/x", ["data/x"]),
    "frost is missing": (lambda state: None, "-c frost --frost_dir {data}", ["frost1.png"]),
    "frost is tiny": (
        small_frost,
        "-c frost --frost_dir {data}",
        ["frost", "4 × 4", "--frost_dir"],
    ),
    "more images than there are": (lambda state: None, "-n 21", ["-n 21 is too large"]),
    "a batch larger than the set": (lambda state: None, "-b 121", ["-b 121", "120"]),
    "no weights to begin with": (lambda state: None, "--pretrained {data}/x.ckpt", ["x.ckpt"]),
    "weights of nothing": (write("x.ckpt", b"x"), "--pretrained {data}/x.ckpt", ["x.ckpt"]),
    "weights of another network": (
        lambda state: ms.save_checkpoint(SmallNetwork(), str(state.data / "x.ckpt")),
        "--pretrained {data}/x.ckpt",
        ["x.ckpt"],
    ),
    "several processes, one batch": (
        lambda state: launched(state, 3),
        "--distributed",
        ["-b 40 cannot be shared out evenly among 3"],
    ),
    "several processes, not distributed": (
        lambda state: launched(state, 2),
        "",
        ["msrun has started this process: add --distributed"],
    ),
    "msrun's only process, not distributed": (
        lambda state: launched(state, 1),
        "",
        ["add --distributed"],
    ),
    "no photographs": (
        lambda state: (state.data / "ImageNet-30" / "train").mkdir(parents=True),
        "-d imagenet30 -m wideresnet -n 3",
        ["ImageNet-30"],
    ),
    "no tensorboardX": (
        lambda state: state.patch.setitem(sys.modules, "tensorboardX.event_file_writer", None),
        "--tensorboard",
        ["--tensorboard", "requirements-tensorboard.txt"],
    ),
}


def launched(state, number):
    state.patch.setenv("MS_ROLE", "MS_WORKER")
    state.patch.setenv("MS_WORKER_NUM", str(number))


def in_run(name, content):
    return lambda state: (state.run / name).write_bytes(content)


def settings(change):
    def damage(state):
        path = state.run / "settings.json"
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return damage


RESUMED_RUNS = {
    "without --resume": (lambda state: None, "", ["add --resume", "--desc"]),
    "another learning rate": (lambda state: None, "--resume --lr 1", ["--lr is 1.0", "0.05"]),
    "more epochs": (lambda state: None, "--resume --total_epoch 9", ["--total_epoch is 9"]),
    "no settings": (in_run("settings.json", b""), "--resume", ["settings.json cannot be read"]),
    "settings of something else": (in_run("settings.json", b"[1]"), "--resume", ["settings.json"]),
    "settings without settings": (
        settings(lambda content: content.pop("settings")),
        "--resume",
        ["settings.json"],
    ),
    "nothing was kept": (
        settings(lambda content: content["settings"].update(save_last=False)),
        "--resume --no-save_last",
        ["--no-save_last"],
    ),
    "a summary of something else": (in_run("summary.json", b"[]"), "--resume", ["summary.json"]),
}
EVALUATIONS = {
    "no checkpoint": (lambda state: None, "{run}/x.ckpt", ["x.ckpt does not exist"]),
    "a folder": (lambda state: None, "{run}", ["is a folder", "best.ckpt"]),
    "a table": (lambda state: None, "{run}/train.csv", ["train.csv is no .ckpt file"]),
    "an empty checkpoint": (in_run("best.ckpt", b""), "{run}/best.ckpt", ["best.ckpt is empty"]),
    "a damaged checkpoint": (
        lambda state: os.truncate(state.run / "best.ckpt", 9999),
        "{run}/best.ckpt",
        ["best.ckpt is damaged"],
    ),
    "a checkpoint of something else": (
        lambda state: ms.save_checkpoint(SmallNetwork(), str(state.run / "x.ckpt")),
        "{run}/x.ckpt",
        ["x.ckpt is damaged or was not written by this program"],
    ),
    "published arrays that are nowhere": (
        lambda state: None,
        "{run}/best.ckpt --published {data}/nowhere",
        ["--published", "nowhere"],
    ),
    "published arrays without this corruption": (
        lambda state: (state.data / "CIFAR-10-C" / "test").rename(state.data / "other"),
        "{run}/best.ckpt --published {data}/other",
        ["other"],
    ),
}


def check_refused(capsys, state, flags, texts):
    before = tree(state.tmp)
    assert_refused(capsys, flags, *texts)
    assert tree(state.tmp) == before  # nothing is lost, nothing half-written


def expanded(flags, state):
    return flags.format(data=state.data, run=state.run).split()


@pytest.mark.parametrize("name", NEW_RUNS)
def test_new_run_is_refused(capsys, state, name):
    damage, flags, texts = NEW_RUNS[name]
    damage(state)
    own = [*TINY, *ERM, "--data_dir", state.data, "--log_dir", state.tmp / "new"]
    check_refused(capsys, state, [*own, *expanded(flags, state)], texts)


@pytest.mark.parametrize("name", RESUMED_RUNS)
def test_run_is_not_taken_up(capsys, state, name):
    damage, flags, texts = RESUMED_RUNS[name]
    damage(state)
    own = [*TINY, *ERM, "--data_dir", state.data, "--log_dir", state.run.parent]
    check_refused(capsys, state, [*own, *expanded(flags, state)], texts)


@pytest.mark.parametrize("name", EVALUATIONS)
def test_evaluation_is_refused(capsys, state, name):
    damage, flags, texts = EVALUATIONS[name]
    damage(state)
    own = ["--data_dir", state.data, "--log_dir", state.tmp / "new", "--eval_only", "--checkpoint"]
    check_refused(capsys, state, [*own, *expanded(flags, state)], texts)


@pytest.mark.parametrize("target", ["GPU", pytest.param("Ascend", marks=pytest.mark.slow)])
def test_device_that_is_not_there(tmp_path, target):
    """In a process of its own, as MindSpore prints what it does not find."""
    if is_available(target):
        pytest.skip(f"there is a {target}")
    command = [sys.executable, "main.py", "--device_target", target, "--log_dir", tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert f"main.py: error: --device_target {target}: MindSpore finds no {target}" in done.stderr
    assert not list(tmp_path.iterdir())
