"""main.py as its users call it, on a tiny folder in CIFAR-10's format."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import fake_cifar
import mindspore as ms
import numpy as np
import pytest
from PIL import Image

import main
from corruptions.frost_photographs import PUBLISHED
from dataset.cifar import read_cifar10
from dataset.specs import CIFAR10
from models import create_model
from sharpdro import train_step
from sharpdro.command_line import create_parser
from sharpdro.errors import RunError
from sharpdro.methods import METHODS

ROOT = Path(__file__).resolve().parents[1]
TINY = [
    *("-d", "cifar10", "-n", "15", "--num_severity", "2", "--depth", "10", "--widen_factor", "1"),
    *("-b", "40", "--lr", "0.05", "--total_epoch", "2"),
    *("--num_val", "6", "--num_test", "5", "--eval_every", "2"),
]
NAME = "run_dsetcifar10_corrgaussian_noise_{method}_seed0"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    fake_cifar.write_cifar10(folder)
    return folder


class Runner:
    """Calls main.main in this process; every call gets a log directory of its own."""

    def __init__(self, data_dir, make_folder):
        self.data_dir, self.make_folder, self.finished = data_dir, make_folder, {}

    def __call__(self, *flags):
        """The run directory, cached by its flags; later flags win over TINY's."""
        if flags not in self.finished:
            logs = self.make_folder("logs")
            assert self.code(*flags, "--log_dir", str(logs)) == 0
            (self.finished[flags],) = logs.iterdir()
        return self.finished[flags]

    def code(self, *flags):
        return main.main([*TINY, "--data_dir", str(self.data_dir), *flags])


@pytest.fixture(scope="module")
def run(data_dir, tmp_path_factory):
    return Runner(data_dir, tmp_path_factory.mktemp)


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def weights(folder, name="last.ckpt"):
    stored = ms.load_checkpoint(str(folder / name))
    return {k: np.asarray(v.asnumpy()) for k, v in stored.items() if hasattr(v, "asnumpy")}


def same_weights(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


def test_run_directory(run):
    folder = run()
    assert folder.name == NAME.format(method="sharpdro")
    files = "best.ckpt last.ckpt log.txt settings.json summary.json test.csv train.csv val.csv"
    assert sorted(p.name for p in folder.iterdir()) == files.split()

    settings = json.loads((folder / "settings.json").read_text())
    assert settings["settings"]["lr"] == 0.05 and settings["settings"]["rho"] == 0.05
    assert settings["environment"]["device"] == "CPU" and settings["environment"]["mindspore"]
    missing = {a.dest for a in create_parser()._actions} - settings["settings"].keys()
    others = (
        set().union(*(m.settings for m in METHODS.values())) - METHODS["sharpdro"].settings.keys()
    )
    assert missing == others | {"help"}

    # 120 training images in batches of 40: three steps an epoch, one line for each epoch.
    train = rows(folder / "train.csv")
    assert [(row["epoch"], row["step"]) for row in train] == [("1", "3"), ("2", "3")]
    for row in train:
        assert sum(int(row[f"count_{s}"]) for s in range(3)) == 120
        assert sum(float(row[f"weight_{s}"]) for s in range(3)) == pytest.approx(1, abs=1e-5)
        mean = sum(int(row[f"count_{s}"]) * float(row[f"loss_{s}"]) for s in range(3)) / 120
        assert float(row["loss"]) == pytest.approx(mean, rel=1e-4)
    assert [float(row["learning_rate"]) for row in train] == [0.05, 0.01]

    for name, count in (("val", 6), ("test", 5)):
        table = rows(folder / f"{name}.csv")
        assert [row["severity"] for row in table] == ["0", "1", "2", "mean", "worst"]
        assert {row["epoch"] for row in table} == {"2"}
        accuracies = [float(row["accuracy"]) for row in table]
        assert accuracies[3] == pytest.approx(np.mean(accuracies[:3]), abs=1e-5)
        assert accuracies[4] == min(accuracies[:3])
        assert [int(row["count"]) for row in table] == [count] * 3 + [3 * count, count]

    summary = json.loads((folder / "summary.json").read_text())
    assert summary["finished"] and summary["best"]["epoch"] == summary["last"]["epoch"] == 2
    assert "best epoch (2)" in (folder / "log.txt").read_text()


ERM = ("--method", "erm")
# What changes the weights, beside the flags that come before it.
CHANGES_WEIGHTS = [
    (ERM, "--lr 0.1"),
    (ERM, "--momentum 0.5"),
    (ERM, "--weight_decay 0.1"),
    (ERM, "--no-scheduler"),
    (ERM, "--seed 1"),
    (ERM, "--augment_data"),
    (ERM, "-n 18"),
    (ERM, "--num_severity 1"),
    (ERM, "-c jpeg_compression"),
    (ERM, "-b 30"),
    (ERM, "--depth 16"),
    (ERM, "--widen_factor 2"),
    (ERM, "-m resnet18"),
    (ERM, "--total_epoch 1"),
    (ERM, "--sampler shuffle"),
    (ERM, "--sampler balanced"),
    ((), "--method erm"),
    ((), "--rho 0.5"),
    ((), "--distribution_agnostic"),
]
# Settings of single methods: what they do is told by the tests of the steps and first stages.
METHOD_FLAGS = [
    ("sharpdro", "--rho 0.5 --is_adaptive", {"rho": 0.5, "is_adaptive": True}),
    ("sharpdro", "--step_size 1 --absent_groups ema", {"step_size": 1, "absent_groups": "ema"}),
    ("sharpdro", "--group_adjustment 9", {"group_adjustment": 9, "group_sizes": [50, 50, 20]}),
    (
        "sharpdro_agnostic",
        "--distribution_agnostic --ood_score entropy --rho 1",
        {"ood_score": "entropy", "rho": 1},
    ),
    ("sam", "--method sam --rho 0.5 --is_adaptive", {"rho": 0.5, "is_adaptive": True}),
    ("groupdro", "--method groupdro --absent_groups keep", {"absent_groups": "keep"}),
    ("irm", "--method irm --irm_lambda 5 --irm_warmup 3", {"irm_lambda": 5, "irm_warmup": 3}),
    ("vrex", "--method vrex --vrex_beta 5 --vrex_warmup 3", {"vrex_beta": 5, "vrex_warmup": 3}),
]


@pytest.mark.parametrize(("before", "flags"), CHANGES_WEIGHTS, ids=lambda value: str(value))
def test_flag_changes_the_weights(run, before, flags):
    flags = flags.split()
    arguments = (*before, *flags)
    if flags[0] == "-m":  # goes without the shape of the wideresnet
        shapeless = [a for a in TINY if a not in ("--depth", "10", "--widen_factor", "1")]
        logs = run.make_folder("logs")
        own = ["--data_dir", str(run.data_dir), "--log_dir", str(logs)]
        assert main.main([*shapeless, *own, *arguments]) == 0
        (changed,) = logs.iterdir()
    else:
        changed = run(*arguments)
    base, other = weights(run(*before)), weights(changed)
    assert not same_weights(base, other)
    if base.keys() == other.keys():  # else the network is another one
        learnt = [k for k in base if k.endswith("weight") and not k.startswith(("accum", "stat"))]
        assert not all(np.array_equal(base[k], other[k]) for k in learnt)


@pytest.mark.parametrize(("method", "flags", "settings"), METHOD_FLAGS, ids=str)
def test_flag_reaches_the_step(run, tmp_path, monkeypatch, method, flags, settings):
    asked = []

    def record(method, network, optimizer, num_groups, **settings):
        asked.append((method, num_groups, settings))
        raise RunError("enough")

    monkeypatch.setattr(train_step, "create_train_step", record)
    assert run.code(*flags.split(), "--log_dir", str(tmp_path)) == 2
    ((asked_method, num_groups, found),) = asked
    if "group_sizes" in found:
        found["group_sizes"] = found["group_sizes"].tolist()
    assert settings.items() <= found.items() and num_groups == 3
    assert asked_method == method and ("group_sizes" in found) == ("step_size" in found)
    (folder,) = tmp_path.iterdir()
    assert folder.name == NAME.format(method=method)


def test_same_flags_same_weights(run, tmp_path):
    assert run.code(*ERM, "--log_dir", str(tmp_path)) == 0
    (again,) = tmp_path.iterdir()
    assert same_weights(weights(run(*ERM)), weights(again))
    for name in ("val.csv", "test.csv"):
        assert (again / name).read_bytes() == (run(*ERM) / name).read_bytes()


def test_flags_of_looking_and_keeping(run, monkeypatch):
    """Flags that leave the weights alone, each with what it does change."""
    shapes = []
    from dataset import pipeline

    batches = pipeline.evaluation_batches

    def recording(*arguments):
        for batch in batches(*arguments):
            shapes.append(len(batch[0]))
            yield batch

    monkeypatch.setattr(pipeline, "evaluation_batches", recording)
    flags = (
        *ERM,
        *("--desc", "other", "--num_val", "7", "--num_test", "9", "--eval_batch_size", "4"),
        *("--eval_every", "1", "--log_train", "2", "--save_step", "1", "--no-save_last"),
        *("--no-save_best", "--best_metric", "clean"),
    )
    folder = run(*flags)
    assert folder.name.startswith("other_dsetcifar10")
    assert {row["count"] for row in rows(folder / "val.csv")} == {"7", "21"}
    assert {row["count"] for row in rows(folder / "test.csv")} == {"9", "27"}
    assert {row["epoch"] for row in rows(folder / "test.csv")} == {"1", "2"}
    assert set(shapes) == {4}
    assert [row["step"] for row in rows(folder / "train.csv")] == ["2", "3", "2", "3"]
    checkpoints = sorted(p.name for p in folder.glob("*.ckpt"))
    assert checkpoints == ["epoch_1.ckpt", "epoch_2.ckpt"]
    assert json.loads((folder / "summary.json").read_text())["best_metric"] == "clean"
    assert same_weights(weights(folder, "epoch_2.ckpt"), weights(run(*ERM)))


def test_num_workers_and_show_progress(run, tmp_path, monkeypatch):
    from corruptions import arrays
    from sharpdro import trainer

    fake_cifar.write_cifar10(tmp_path / "data")
    asked, bars = [], []
    pool, bar = arrays.worker_pool, trainer.tqdm
    monkeypatch.setattr(arrays, "_WORTH_WORKERS_BYTES", 1)
    monkeypatch.setattr(arrays, "worker_pool", lambda n: asked.append(n) or pool(0))
    monkeypatch.setattr(trainer, "tqdm", lambda *a, **k: bars.append(k["disable"]) or bar(*a, **k))
    own = (*ERM, "--data_dir", str(tmp_path / "data"), "--num_workers", "3")
    assert run.code(*own, "--log_dir", str(tmp_path / "a"), "--no-show_progress") == 0
    assert asked == [3] and set(bars) == {True}
    bars.clear()
    assert run.code(*own, "--log_dir", str(tmp_path / "b"), "--show_progress") == 0
    assert asked == [3] and set(bars) == {None}  # None: where stderr is a terminal


def test_frost_dir(run, tmp_path):
    """Photographs of one colour make frost of that colour."""
    fake_cifar.write_cifar10(tmp_path / "data")
    for name in PUBLISHED:
        Image.new("RGB", (300, 250), (200, 0, 0)).save(tmp_path / name)
    own = (*ERM, "-c", "frost", "--data_dir", str(tmp_path / "data"))
    assert run.code(*own, "--frost_dir", str(tmp_path), "--log_dir", str(tmp_path / "logs")) == 0
    frosted = np.load(tmp_path / "data" / "CIFAR-10-C" / "test" / "2" / "frost.npy")
    clean = read_cifar10(CIFAR10, tmp_path / "data", False)["test"][0]
    # Severity 2 adds 0.3 of the photograph, to the red channel alone.
    red = np.clip(clean[..., 0] + 0.3 * 200, 0, 255)
    assert np.abs(frosted[..., 0] - red).max() <= 2
    assert np.abs(frosted[..., 2].astype(int) - clean[..., 2]).max() <= 2


def test_eval_only_repeats_the_last_evaluation(run, tmp_path, capsys):
    """Settings come from the checkpoint; --num_test and the like can be given anew."""
    trained = run()
    own = ["--eval_only", "--checkpoint", str(trained / "last.ckpt"), "--log_dir", str(tmp_path)]
    own += ["--data_dir", str(run.data_dir)]
    assert main.main([*own, "--desc", "all"]) == 0
    (folder,) = tmp_path.iterdir()
    assert folder.name == "all_dsetcifar10_corrgaussian_noise_eval_seed0"
    assert (folder / "test.csv").read_bytes() == (trained / "test.csv").read_bytes()
    assert "test accuracy in percent per severity" in capsys.readouterr().out

    assert main.main([*own, "--num_test", "11", "-c", "jpeg_compression"]) == 0
    other = tmp_path / "run_sharpdro_last_dsetcifar10_corrjpeg_compression_eval_seed0"
    settings = json.loads((other / "settings.json").read_text())["settings"]
    assert settings["num_test"] == 11 and settings["trained_with"]["num_test"] == 5
    assert "lr" not in settings and settings["trained_with"]["lr"] == 0.05
    assert [row["count"] for row in rows(other / "test.csv")] == ["11"] * 3 + ["33", "11"]
    for other in (["--depth", "16"], ["-m", "resnet18"]):
        assert main.main([*own, *other, "--desc", "other"]) == 2
        assert "is of another model: " in capsys.readouterr().err
    assert main.main([*own, "--desc", "all"]) == 2
    assert "exists already: choose another --desc" in capsys.readouterr().err


def test_synthetic_is_the_default(run, tmp_path):
    own = ["--data_dir", str(tmp_path / "data"), "--log_dir", str(tmp_path / "logs"), *ERM]
    sizes = ["-n", "20", "--num_val", "5", "--num_test", "5", "--total_epoch", "1"]
    assert main.main([*own, *sizes, "--num_severity", "1"]) == 0
    (folder,) = (tmp_path / "logs").iterdir()
    assert folder.name == "run_dsetsynthetic_corrgaussian_noise_erm_seed0"


def test_existing_run_is_not_touched_without_resume(run, capsys):
    folder = run()
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    assert run.code("--log_dir", str(folder.parent)) == 2
    assert "exists already: add --resume to continue it" in capsys.readouterr().err
    assert run.code("--log_dir", str(folder.parent), "--resume", "--lr", "0.2") == 2
    message = capsys.readouterr().err
    assert re.search(r"--lr is 0.2, but .* was started with 0.05: give the same", message)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_resuming_a_finished_run_changes_nothing(run, capsys):
    folder = run()
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    assert run.code("--log_dir", str(folder.parent), "--resume") == 0
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    assert capsys.readouterr().out == f"finished already: {folder}\n"


@pytest.mark.parametrize("name", ["last.ckpt", "val.csv", "settings.json"])
def test_incomplete_run_is_not_resumed_and_not_touched(run, tmp_path, capsys, name):
    folder = tmp_path / run(*ERM).name
    shutil.copytree(run(*ERM), folder)
    (folder / "summary.json").unlink()  # as of a run that is not finished
    (folder / name).unlink()
    before = {p.name: p.read_bytes() for p in folder.glob("*.c*")}
    assert run.code(*ERM, "--log_dir", str(tmp_path), "--resume") == 2
    assert re.search(rf"{name} (is missing|cannot be read)", capsys.readouterr().err)
    assert {p.name: p.read_bytes() for p in folder.glob("*.c*")} == before


def test_diverged_training_stops_and_saves_nothing(run, tmp_path, capsys):
    flags = (*ERM, "--total_epoch", "1", "-b", "120", "--lr", "1e30", "--log_dir", str(tmp_path))
    assert run.code(*flags) == 2
    assert "loss is no longer finite after epoch 1: lower --lr" in capsys.readouterr().err
    (folder,) = tmp_path.iterdir()
    assert not list(folder.glob("*.ckpt")) and not rows(folder / "test.csv")


def wait_until(process, condition):
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)


def begun_second_epoch(table):
    return table.exists() and "\n2,1," in table.read_text()


def without_speed(path):
    return [{k: v for k, v in row.items() if k != "images_per_second"} for row in rows(path)]


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
    for name in ("val.csv", "test.csv", "summary.json"):
        assert (folder / name).read_bytes() == (expected / name).read_bytes(), name
    assert without_speed(folder / "train.csv") == without_speed(expected / "train.csv")
    for name in ("last.ckpt", "best.ckpt"):
        assert same_weights(weights(folder, name), weights(expected, name)), name


def kept_of_first_stage(folder):
    table = rows(folder / "stage1" / "alignment.csv")
    return [int(row["count"]) for row in table], [float(list(row.values())[-1]) for row in table]


def test_jtt_in_one_command(run, tmp_path):
    """Stage 1 is the beginning of ERM; stage 2 starts anew and draws errors more often."""
    jtt = ("--method", "jtt", "--jtt_epochs", "1")
    folder = run(*jtt)
    first = rows(folder / "stage1" / "train.csv")
    assert (
        without_speed(folder / "stage1" / "train.csv") == without_speed(run(*ERM) / "train.csv")[:1]
    )
    assert len(first) == 1 and {row["epoch"] for row in rows(folder / "val.csv")} == {"2"}
    errors = rows(folder / "stage1" / "error_set.csv")
    counts, rates = kept_of_first_stage(folder)
    assert counts == [50, 50, 20] and len(errors) == 120
    for severity, rate in enumerate(rates):
        of_it = [int(row["is_error"]) for row in errors if int(row["severity"]) == severity]
        assert rate == pytest.approx(np.mean(of_it), abs=1e-5)
    assert "stage 2 of 2" in (folder / "log.txt").read_text()
    # Without repetition the second stage is ERM from its beginning.
    once = run(*jtt, "--jtt_upweight", "1")
    assert same_weights(weights(once), weights(run(*ERM)))
    assert not same_weights(weights(folder), weights(once))


def test_error_set_is_what_the_first_stage_gets_wrong(run):
    """Against a forward pass of the kept checkpoint by other code than the program's."""
    folder = run("--method", "jtt", "--jtt_epochs", "1")
    network = create_model("wideresnet", 10, depth=10, widen_factor=1).set_train(False)
    stored = ms.load_checkpoint(str(folder / "stage1" / "last.ckpt"))
    ms.load_param_into_net(network, stored)
    clean = read_cifar10(CIFAR10, run.data_dir, False)["train"][0]
    arrays = run.data_dir / "CIFAR-10-C" / "train"
    images = [clean, *(np.load(arrays / str(s) / "gaussian_noise.npy") for s in (1, 2))]
    table = rows(folder / "stage1" / "error_set.csv")
    batch = np.stack([images[int(row["severity"])][int(row["index"])] for row in table]) / 255
    normed = (batch - np.array(CIFAR10.mean)) / np.array(CIFAR10.std)
    logits = network(ms.Tensor(normed.transpose(0, 3, 1, 2).astype(np.float32))).asnumpy()
    wrong = logits.argmax(1) != [int(row["label"]) for row in table]
    margin = np.sort(logits, 1)[:, -1] - np.sort(logits, 1)[:, -2]
    found = np.array([int(row["is_error"]) for row in table])
    assert (found == wrong)[margin > 1e-3].all() and 0 < wrong.sum() < 120


def test_killed_in_either_stage_resumes_to_the_same_bits(run, tmp_path):
    """SIGKILL in both stages of EIIL, each followed by --resume; against an undisturbed run."""
    flags = ["--method", "eiil", "--eiil_epochs", "3", "--total_epoch", "3", "--log_train", "1"]
    flags += ["--eiil_steps", "2000"]
    expected = run(*flags)
    command = [sys.executable, str(ROOT / "main.py"), *TINY, "--data_dir", str(run.data_dir)]
    command += [*flags, "--log_dir", str(tmp_path), "--resume"]
    folder = tmp_path / expected.name
    for table in (folder / "stage1" / "train.csv", folder / "train.csv"):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wait_until(process, partial(begun_second_epoch, table))
        process.kill()
        process.wait()
    assert subprocess.run(command, stdout=subprocess.DEVNULL, timeout=300).returncode == 0
    assert (folder / "log.txt").read_text().count("going on after epoch") == 2
    for name in ("val.csv", "test.csv", "summary.json"):
        for part in ("", "stage1"):
            assert (folder / part / name).read_bytes() == (expected / part / name).read_bytes()
    for name in ("alignment.csv", "inferred_groups.csv"):
        assert (folder / "stage1" / name).read_bytes() == (expected / "stage1" / name).read_bytes()
    assert without_speed(folder / "train.csv") == without_speed(expected / "train.csv")
    for name in ("last.ckpt", "best.ckpt"):
        assert same_weights(weights(folder, name), weights(expected, name)), name
    last = rows(folder / "train.csv")[-1]
    assert sum(float(last[f"inferred_weight_{g}"]) for g in (0, 1)) == pytest.approx(1, abs=1e-5)
    assert last["weight_0"] == ""


def test_scores_are_logged_by_severity(run):
    """A score that is the loss has the loss's mean per severity."""
    for row in rows(run("--distribution_agnostic", "--ood_score", "loss") / "train.csv"):
        for s in range(3):
            assert float(row[f"score_{s}"]) == pytest.approx(float(row[f"loss_{s}"]), rel=1e-4)
        assert -1 <= float(row["score_spearman"]) <= 1
        assert row["weight_0"] == ""


@pytest.mark.parametrize("delay", [0.0, 0.1234])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interruption_is_one_line(data_dir, tmp_path, number, code, delay):
    command = [sys.executable, str(ROOT / "main.py"), *TINY, *ERM, "--total_epoch", "100000"]
    command += ["--data_dir", str(data_dir), "--log_dir", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    wait_until(process, lambda: list(tmp_path.glob("*/last.ckpt")))
    time.sleep(delay)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert errors.decode().count("\n") == 1 and b"with the same command and --resume" in errors


BAD_VALUES = {
    "--dataset": ["mnist"],
    "--desc": ["", "a/b", ".."],
    "--seed": ["-1", "x", "4294967296"],
    "--device_target": ["TPU"],
    "--corruption": ["rain"],
    "--num_per_class": ["0", "-3", "1.5"],
    "--num_severity": ["0", "6", "two"],
    "--num_val": ["-1"],
    "--num_test": ["-1"],
    "--num_workers": ["-1"],
    "--model": ["vgg"],
    "--depth": ["11", "4", "x"],
    "--widen_factor": ["0"],
    "--method": ["adam"],
    "--rho": ["-0.1", "nan", "inf", "x"],
    "--step_size": ["-1", "nan"],
    "--absent_groups": ["drop"],
    "--group_adjustment": ["-1", "inf"],
    "--ood_score": ["mahalanobis"],
    "--irm_lambda": ["-1", "nan"],
    "--irm_warmup": ["-1", "1.5"],
    "--vrex_beta": ["-1", "nan"],
    "--vrex_warmup": ["-1"],
    "--jtt_epochs": ["0"],
    "--jtt_upweight": ["0", "2.5"],
    "--eiil_epochs": ["0"],
    "--eiil_steps": ["0"],
    "--eiil_lr": ["0", "nan"],
    "--sampler": ["weighted"],
    "--total_epoch": ["0", "1.5"],
    "--batch_size": ["0"],
    "--lr": ["0", "-1", "nan", "inf"],
    "--momentum": ["1", "-0.1"],
    "--weight_decay": ["-1", "nan"],
    "--eval_batch_size": ["0"],
    "--eval_every": ["0"],
    "--best_metric": ["median"],
    "--log_train": ["0"],
    "--save_step": ["-1"],
}
# Switches take no value; paths are tried in test_bad_states.
NO_BAD_VALUE = {
    *("--help", "--resume", "--eval_only", "--augment_data", "--is_adaptive", "--show_progress"),
    *("--distribution_agnostic", "--scheduler", "--save_last", "--save_best"),
    *("--log_dir", "--data_dir", "--checkpoint", "--frost_dir"),
}


def test_every_flag_is_tried():
    names = [
        max((s for s in action.option_strings if not s.startswith("--no-")), key=len)
        for action in create_parser()._actions
    ]
    assert set(names) == BAD_VALUES.keys() | NO_BAD_VALUE


def assert_refused(capsys, arguments, *texts):
    try:
        code = main.main(arguments)
    except SystemExit as exit:
        code = exit.code
    error = capsys.readouterr().err
    assert code == 2, error
    assert error.count("\n") == 1 and error.startswith("main.py: error: "), error
    for text in texts:
        assert text in error


@pytest.mark.parametrize(
    ("flag", "value"), [(flag, value) for flag, values in BAD_VALUES.items() for value in values]
)
def test_bad_value_is_refused_in_one_line(capsys, tmp_path, flag, value):
    own = ["--log_dir", str(tmp_path / "logs"), "--data_dir", str(tmp_path / "data")]
    assert_refused(capsys, [*own, f"{flag}={value}"], flag)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ("--unknown", "unrecognized arguments: --unknown"),
        ("--total 3", "unrecognized arguments: --total 3"),
        (
            "--method sam --distribution_agnostic",
            "--distribution_agnostic does not apply to --method sam",
        ),
        (
            "--distribution_agnostic --step_size 1",
            "--step_size does not apply to --method sharpdro",
        ),
        ("--distribution_agnostic --absent_groups keep", "--absent_groups does not apply"),
        ("--ood_score loss", "leave it out, or add --distribution_agnostic"),
        ("--distribution_agnostic --sampler balanced", "--sampler balanced needs severity labels"),
        ("--method jtt --sampler balanced", "--sampler balanced needs severity labels"),
        ("--method irm --absent_groups keep", "--absent_groups does not apply to --method irm"),
        ("--method sam --step_size 1", "--step_size does not apply to --method sam"),
        ("--method groupdro --rho 1", "--rho does not apply to --method groupdro"),
        ("--method vrex --irm_lambda 1", "--irm_lambda does not apply to --method vrex"),
        ("--jtt_epochs 3", "--jtt_epochs does not apply to --method sharpdro"),
        ("--method jtt --eiil_steps 3", "--eiil_steps does not apply to --method jtt"),
        (
            "--method jtt --jtt_epochs 3 --total_epoch 2",
            "--jtt_epochs 3 is more than --total_epoch 2",
        ),
        ("--eval_only", "--eval_only needs --checkpoint"),
        ("--checkpoint x.ckpt", "--checkpoint needs --eval_only"),
        ("--eval_only --checkpoint x.ckpt --resume", "--resume does not go with --eval_only"),
        ("--eval_only --checkpoint x.ckpt --lr 1", "--lr does not go with --eval_only"),
        ("--eval_only --checkpoint x.ckpt", "checkpoint x.ckpt does not exist"),
        ("--method erm --rho 0.1", "--rho does not apply to --method erm"),
        ("--method erm --is_adaptive", "--is_adaptive does not apply to --method erm"),
        ("-m resnet18 --depth 10", "--depth applies to -m wideresnet only"),
        ("-m resnet50 --widen_factor 2", "--widen_factor applies to -m wideresnet only"),
        ("-n 501", "-n 501 is too large: class 0 has 500 images"),
        ("-n 20 -b 300", "-b 300 is more than the 180 training images"),
        ("--frost_dir x", "--frost_dir does not apply to -c gaussian_noise: leave it out"),
        ("-c frost --frost_dir x", "x/frost1.png is missing: --frost_dir needs frost1.png"),
    ],
)
def test_what_does_not_go_together(capsys, tmp_path, flags, text):
    own = ["--log_dir", str(tmp_path / "logs"), "--data_dir", str(tmp_path / "data")]
    assert_refused(capsys, [*own, *flags.split()], text)
    assert not (tmp_path / "logs").exists()


def test_bad_states(capsys, run, tmp_path):
    (tmp_path / "file").write_text("")
    data = ["--data_dir", str(run.data_dir)]
    assert_refused(capsys, [*TINY, *data, "--log_dir", str(tmp_path / "file")], "file")
    logs = ["--log_dir", str(tmp_path / "logs")]
    assert_refused(capsys, [*TINY, *logs, "--data_dir", str(tmp_path / "file")], "file")
    broken = tmp_path / "data"
    broken.mkdir()
    (broken / "cifar-10-python.tar.gz").write_bytes(b"no archive")
    assert_refused(capsys, [*TINY, *logs, "--data_dir", str(broken)], "not the official archive")
    assert not (tmp_path / "logs").exists()
    if os.geteuid() == 0:
        return  # no folder is read-only to root
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert_refused(capsys, [*TINY, *data, "--log_dir", str(locked)], "Permission denied")


def test_help_in_a_narrow_encoding():
    command = [sys.executable, str(ROOT / "main.py"), "--help"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, env=environment, capture_output=True)
    assert done.returncode == 0 and b"--num_severity" in done.stdout
