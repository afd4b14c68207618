"""--dry_run: says what a run would do, finds all that is wrong, and leaves no trace."""

import json
import os
import re
import shutil
from collections import namedtuple
from types import SimpleNamespace

import numpy as np
import pytest
from running import ERM, NAME, TINY, tree
from small_network import SmallNetwork

import main
from dataset.specs import SYNTHETIC
from dataset.survey import Sizes
from models import create_model
from models.layers import Normalize
from sharpdro.command_line.settings import parse
from sharpdro.jobs import dry_run, time_estimate
from sharpdro.jobs.dry_run import Done, stages_left
from sharpdro.jobs.stages import create_first_stage
from sharpdro.jobs.time_estimate import Speed, format_seconds, time_evaluation, time_training
from sharpdro.methods.create import create_train_step
from sharpdro.run_folder import checkpoint
from sharpdro.run_folder.folder import RunFolder
from sharpdro.training.optimizer import create_sgd

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def stopwatch(monkeypatch):
    """Steps are not tried out, but taken to last so long; returns how often they were asked for."""
    asked = []

    def training(step, normalize, spec, batch_size, augment_data, on_nan):
        asked.append((step, batch_size, augment_data))
        return Speed(20.0, 2.0, 7)

    def evaluation(network, normalize, spec, batch_size):
        asked.append((network, batch_size))
        return Speed(10.0, 0.5, 5)

    monkeypatch.setattr(dry_run, "time_training", training)
    monkeypatch.setattr(dry_run, "time_evaluation", evaluation)
    return asked


@pytest.fixture
def look(run, tmp_path, monkeypatch, capsys):
    """Calls main.py --dry_run; returns its exit code, its lines by topic, and its problems."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def call(*flags):
        before = tree(tmp_path), tree(run.data_dir)
        capsys.readouterr()
        code = run.code("--log_dir", str(tmp_path / "logs"), *flags, "--dry_run")
        assert (tree(tmp_path), tree(run.data_dir)) == before
        captured = capsys.readouterr()
        lines, topic, problems = {}, "", []
        for line in captured.out.splitlines():
            topic = line[:12].strip() or topic
            lines.setdefault(topic, []).append(line[12:])
        problems = [text for text in lines.pop("problems") if re.match(r"\d+\. ", text)]
        assert code == (2 if problems else 0)
        expected = f"{len(problems)} problem" if problems else ""
        assert expected in captured.err and captured.err.count("\n") == bool(problems)
        return lines, [re.sub(r"^\d+\. ", "", text) for text in problems]

    return call


def test_a_run_that_could_start(look, tmp_path):
    """With the real steps tried out."""
    lines, problems = look(*ERM, "--total_epoch", "3", "--eval_every", "2")
    assert problems == []
    folder = tmp_path / "logs" / NAME.format(method="erm")
    assert lines["run"] == [f"{folder}: new"] and lines["device"] == ["CPU"]
    assert lines["training"] == ["50 50 20 = 120 images at severity 0 … 2"]
    assert lines["evaluation"] == ["6 validation and 5 test images at every severity"]
    network = create_model("wideresnet", 10, depth=10, widen_factor=1)
    number = sum(parameter.size for parameter in network.trainable_params())
    assert lines["model"] == [f"wideresnet-10-1: {number:,} parameters"]
    assert lines["method"] == ["erm: 1 pass per step"]
    # 120 images in batches of 40; both sets at three severities after epochs 2 and 3.
    assert lines["steps"] == [
        "9 training steps in 3 epochs of 3 steps, 12 evaluation steps in 2 evaluations"
    ]
    said = " ".join(lines["time"])
    assert re.search(r"[\d.]+ s a training step, .* an evaluation step; .* to compile", said)
    assert re.search(r"in all, an estimate from \d+ steps of training and \d+ of evaluation", said)


def test_severities_without_images_and_limits_are_told(look, stopwatch):
    """Of Poisson's law by hand: 1/(e·3!) of 17 images are 1.04, and there are 20 of each class."""
    lines, _ = look(*ERM, "--num_severity", "3", "--num_val", "9999", "--num_test", "0")
    counts, advice = lines["training"]
    assert counts == "50 50 20 0 = 120 images at severity 0 … 3"
    assert advice == "no training images at severity 3: there are some from -n 17 on"
    assert lines["evaluation"][1:] == ["--num_val 9999: there are 80 images, and all are taken"]
    lines, _ = look(*ERM, "--num_severity", "4")
    too_small = "the classes are too small for them; --num_severity 2 would do"
    assert lines["training"][1] == f"no training images at severity 3 4: {too_small}"


def test_all_that_is_wrong_is_said_at_once(look, tmp_path, monkeypatch, stopwatch):
    (tmp_path / "logs" / NAME.format(method="erm")).mkdir(parents=True)
    (tmp_path / "logs" / NAME.format(method="erm") / "file").write_text("")
    monkeypatch.setitem(main.sys.modules, "tensorboardX.event_file_writer", None)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 10**9, 10**6))
    flags = [*ERM, "--tensorboard", "--device_target", "Ascend", "--pretrained", "no.ckpt"]
    flags += ["-b", "400", "--data_dir", str(tmp_path / "data")]
    lines, problems = look(*flags)
    for text in (
        "pip install -r requirements-tensorboard.txt",
        "exists already: add --resume to continue it, or choose another --desc",
        "--device_target Ascend: MindSpore finds no Ascend",
        "--pretrained no.ckpt is not a file",
        "-b 400 is more than the 120 training images: lower -b or raise -n",
        "and 1 MB are free: make room",
    ):
        assert len([problem for problem in problems if text in problem]) == 1, text
    assert len(problems) == 6 and not stopwatch
    assert lines["training"] == ["50 50 20 = 120 images at severity 0 … 2 (nominal)"]
    assert "would be downloaded from https" in lines["dataset"][1]
    # 170 MB to fetch, 184 MB unpacked, 60,000 images at two severities.
    assert lines["disk"][0].startswith(f"723 MB would be written into {tmp_path / 'data'}, 1 MB")
    _, others = look("--data_dir", str(tmp_path / "data"), "-n", "5001")
    assert any("-n 5001 is too large: class 0 has 5000 images" in text for text in others)


def test_lists_and_photographs(look, tmp_path, stopwatch):
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "imagenet30_val.txt").write_text("barn/1.JPEG 5\n")
    shapeless = ["-d", "imagenet30", "--data_dir", str(tmp_path / "data"), "--depth", "10"]
    lines, problems = look(
        *shapeless, "-m", "wideresnet", "--filelist_dir", str(tmp_path / "lists")
    )
    assert any(text.startswith("-n does not go with the lists in") for text in problems)
    assert sum("ImageNet-30 cannot be fetched" in text for text in problems) == 2
    assert lines["lists"] == [f"those in {tmp_path / 'lists'}"]
    assert any("lists lacks imagenet30_distribution_0.txt" in text for text in problems)


def test_places_that_cannot_be_written(look, tmp_path, monkeypatch, stopwatch):
    from corruptions.storage import files

    monkeypatch.setattr(files.os, "access", lambda *_: False)
    _, problems = look(*ERM, "--data_dir", str(tmp_path / "data"))
    assert problems == [f"{tmp_path}: no permission to write there: use another folder"]
    assert not stopwatch  # nothing is tried out for a run that could not start


def test_more_threads_than_cores(look, stopwatch):
    cores = len(os.sched_getaffinity(0))
    _, problems = look(*ERM, "--threads", str(cores + 1))
    assert len(problems) == 1 and f"--threads {cores + 1}: this machine has" in problems[0]


def test_steps_of_the_epoch_that_was_begun_are_done():
    args = parse(["-d", "synthetic", "--method", "jtt", "--jtt_epochs", "2", "--total_epoch", "5"])
    sizes, stage = Sizes([100, 20], 10, 10), create_first_stage(args, False)
    begun = Done(1, None, 30)
    first, last = stages_left(args, sizes, stage, Done(), begun)
    assert (first.training_steps(100), last.training_steps(100)) == (70, 500)
    (only,) = stages_left(args, sizes, stage, begun, None)
    assert only.training_steps(100) == 370


FLAGS = (*ERM, "--save_step", "1", "--eval_every", "1")


def killed_after_first_epoch(run, folder):
    """What a run killed in its second of two epochs leaves."""
    shutil.copytree(run(*FLAGS), folder)
    (folder / "epoch_1.ckpt").replace(folder / "last.ckpt")
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps({**summary, "finished": False}))
    return FLAGS


@pytest.mark.slow
def test_a_run_that_would_be_resumed(look, run, tmp_path, stopwatch):
    folder = tmp_path / "logs" / NAME.format(method="erm")
    flags = killed_after_first_epoch(run, folder)
    lines, problems = look(*flags, "--resume")
    assert problems == []
    assert lines["run"] == [f"{folder}: would be resumed after epoch 1"]
    assert lines["steps"] == [
        "3 training steps in 1 epoch of 3 steps, 6 evaluation steps in 1 evaluation"
    ]
    # 20 + 2 · 2 for the steps, 10 + 5 · 0.5 for the evaluation.
    assert (
        "36 s in all, an estimate from 7 steps of training and 5 of evaluation"
        in (lines["time"][2])
    )
    lines, problems = look(*flags)
    assert lines["run"] == [f"{folder}: exists already"] and "add --resume" in problems[0]
    _, problems = look(*flags, "--resume", "--lr", "0.2")
    assert len(problems) == 1 and "--lr is 0.2, but" in problems[0]
    run = RunFolder(folder)
    run._take_lock()
    _, problems = look(*flags, "--resume")
    run.close()
    assert len(problems) == 1 and "another process is at work in" in problems[0]
    (folder / "last.ckpt").unlink()
    lines, problems = look(*flags, "--resume")
    told = "last.ckpt does not exist: going on from the one before"
    assert problems == [] and told in " ".join(lines["run"])
    (folder / "previous.ckpt").unlink()
    _, problems = look(*flags, "--resume")
    assert len(problems) == 1 and "last.ckpt is missing" in problems[0]


@pytest.mark.slow
def test_images_of_a_resumed_run_are_compared(look, run, tmp_path, stopwatch):
    folder = tmp_path / "logs" / NAME.format(method="erm")
    flags = killed_after_first_epoch(run, folder)
    data = tmp_path / "data"
    shutil.copytree(run.data_dir, data)
    _, problems = look(*flags, "--resume", "--data_dir", str(data))
    assert problems == []
    images = data / "CIFAR-10-C" / "test" / "2" / "gaussian_noise.npy"
    np.save(images, 255 - np.load(images))
    _, problems = look(*flags, "--resume", "--data_dir", str(data))
    assert len(problems) == 1 and f"the test images of {images} differ" in problems[0]


@pytest.mark.slow
def test_a_checkpoint_of_another_model(look, run, tmp_path, stopwatch):
    folder = tmp_path / "logs" / NAME.format(method="erm")
    flags = killed_after_first_epoch(run, folder)
    checkpoint.save(folder / "last.ckpt", SmallNetwork(), 1, {})
    _, problems = look(*flags, "--resume")
    assert len(problems) == 1 and "is of another model" in problems[0]


def test_a_finished_run(look, run, tmp_path, stopwatch):
    folder = tmp_path / "logs" / NAME.format(method="erm")
    shutil.copytree(run(*FLAGS), folder)
    lines, problems = look(*FLAGS, "--resume")
    assert problems == [] and not stopwatch
    assert lines == {"run": [f"{folder}: finished already, nothing would be done"]}


def test_two_stages(look, stopwatch):
    flags = ("--method", "eiil", "--eiil_epochs", "1", "--total_epoch", "4")
    lines, problems = look(*flags, "--eval_batch_size", "4", "--augment_data")
    assert problems == []
    # 6 + 5 images in batches of 4 at 3 severities: 12 an evaluation; 120 / 4 = 30 to predict.
    assert lines["steps"][0] == (
        "stage 1: 3 training steps in 1 epoch of 3 steps, 42 evaluation steps in 1 evaluation"
    )
    assert stopwatch[0][0].num_groups == 3 and stopwatch[2][0].num_groups == 2
    assert [asked[1:] for asked in stopwatch] == [(40, True), (4,)] * 2
    # 20 + 2 · 2 + 10 + 41 · 0.5, then 20 + 11 · 2 + 10 + 23 · 0.5.
    assert lines["time"][3].startswith("118 s in all, an estimate from 14 steps of training")


def test_not_with_eval_only(run, capsys):
    own = ["--eval_only", "--checkpoint", str(run(*FLAGS) / "last.ckpt"), "--dry_run"]
    assert main.main(own) == 2
    assert "--dry_run does not go with --eval_only: leave it out" in capsys.readouterr().err


def test_stages_left():
    args = {"total_epoch": 10, "eval_every": 4, "eval_batch_size": 16}
    sizes = Sizes([50, 30, 21], 40, 33)

    def left(last, first, stage, method="erm"):
        settings = SimpleNamespace(**args, method=method, distribution_agnostic=False)
        stages = stages_left(settings, sizes, stage, last, first)
        return [(s.title, s.epochs, s.evaluations, s.evaluation_steps) for s in stages]

    # ⌈40/16⌉ + ⌈33/16⌉ = 6 batches at three severities; after epochs 4, 8 and 10.
    assert left(Done(), None, None) == [("", 10, 3, 54)]
    assert left(Done(8), None, None) == [("", 2, 1, 18)]
    assert left(Done(10), None, None) == [("", 0, 0, 0)]
    jtt = SimpleNamespace(epochs=3, num_inferred=None)
    second = ("stage 2: ", 10, 3, 54)
    assert left(Done(), Done(1), jtt, "jtt") == [("stage 1: ", 2, 1, 18 + 7), second]
    assert left(Done(), Done(3), jtt, "jtt") == [("stage 1: ", 0, 0, 7), second]
    assert left(Done(4), None, jtt, "jtt") == [("stage 2: ", 6, 2, 36)]


def test_speed_and_durations():
    speed = Speed(first=9.0, later=0.5, steps=4)
    assert [speed.seconds(n) for n in (0, 1, 2, 100)] == [0, 9, 9.5, 58.5]
    seconds = [0.0123, 2.34, 45.4, 119.4, 730, 3599, 12_000, 86_399, 180_000]
    assert [format_seconds(s) for s in seconds] == [
        *("0.012 s", "2.3 s", "45 s", "119 s", "12 min", "60 min"),
        *("3 h 20 min", "24 h 0 min", "2 days 2 h"),
    ]


@pytest.mark.slow
def test_steps_are_timed(monkeypatch):
    """With a clock that goes on by so many seconds whenever it is asked."""
    now, tick = [0.0], [0.25]

    def perf_counter():
        now[0] += tick[0]
        return now[0]

    monkeypatch.setattr(time_estimate, "time", SimpleNamespace(perf_counter=perf_counter))
    network, normalize = SmallNetwork(num_classes=10), Normalize(SYNTHETIC.mean, SYNTHETIC.std)
    optimizer = create_sgd(network.trainable_params(), 0.1, 0.9, 0.0)
    step = create_train_step("groupdro", network, optimizer, 3)
    weight = network.conv.weight.asnumpy().copy()
    assert time_training(step, normalize, SYNTHETIC, 8) == Speed(0.25, 0.25, 20)
    assert not np.array_equal(weight, network.conv.weight.asnumpy())  # real steps
    weight = network.conv.weight.asnumpy().copy()
    tick[0] = 6.0  # three of these take more than 15 s
    assert time_evaluation(network, normalize, SYNTHETIC, 8) == Speed(6.0, 6.0, 3)
    assert np.array_equal(weight, network.conv.weight.asnumpy())


def test_settings_of_a_dry_run_are_free_on_resume(run, tmp_path):
    folder = tmp_path / run(*FLAGS).name
    shutil.copytree(run(*FLAGS), folder)
    settings = folder / "settings.json"
    content = json.loads(settings.read_text())
    content["settings"] |= {"dry_run": True, "data_sink": True}  # the latter of earlier versions
    settings.write_text(json.dumps(content))
    assert main.main([*TINY, *FLAGS, "--log_dir", str(tmp_path), "--resume"]) == 0
