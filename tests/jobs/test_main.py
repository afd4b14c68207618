"""main.py as its users call it, on a tiny folder in CIFAR-10's format."""

import json
import shutil
import zlib
from pathlib import Path

import fake_cifar
import numpy as np
import oracle
import pytest
from mindspore import Tensor
from PIL import Image
from running import (
    ERM,
    NAME,
    TINY,
    evaluated_rows,
    rows,
    same_weights,
    weights,
)

import main
from corruptions.frost_photographs import PUBLISHED
from dataset.prepare_dataset import prepare_test_sets, read_clean
from dataset.specs import CIFAR10, SYNTHETIC
from sharpdro.command_line.flags import create_parser
from sharpdro.command_line.settings import about_frost
from sharpdro.errors import RunError
from sharpdro.evaluation import evaluator
from sharpdro.methods.specs import METHOD_SETTINGS, METHODS
from sharpdro.networks.build import load_trained
from sharpdro.run_folder import checkpoint


def test_run_directory(run):
    folder = run()
    assert folder.name == NAME.format(method="sharpdro")
    files = "best.ckpt last.ckpt previous.ckpt log.txt settings.json summary.json"
    tables = {"test.csv", "train.csv", "val.csv"}
    assert {p.name for p in folder.iterdir()} == {*files.split(), *tables}  # no logits

    settings = json.loads((folder / "settings.json").read_text())
    assert settings["settings"]["lr"] == 0.05 and settings["settings"]["rho"] == 0.05
    assert settings["environment"]["device"] == "CPU" and settings["environment"]["mindspore"]
    missing = {a.dest for a in create_parser()._actions} - settings["settings"].keys()
    others = METHOD_SETTINGS - METHODS["sharpdro"].settings.keys()
    assert missing == others | {"help", "config"}

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


def test_what_is_recorded_of_the_effort(run):
    folder = run()
    settings = json.loads((folder / "settings.json").read_text())
    summary = json.loads((folder / "summary.json").read_text())
    training = rows(folder / "train.csv")
    assert settings["data"]["training_images"] == summary["training_images"] == [50, 50, 20]
    assert summary["cpus"] == [settings["environment"]["cpu"]]
    seconds = sum(float(row["seconds"]) for row in training)
    assert summary["training_seconds"] == pytest.approx(seconds, abs=0.06) and seconds > 0
    # Epochs of three steps, a line each.
    assert [row["global_step"] for row in training] == ["3", "6"]


# What changes the weights, beside the flags that come before it. Every one is a run of its own:
# all of them take minutes.
CHANGES_WEIGHTS = [
    pytest.param((), "--method erm", marks=pytest.mark.slow),
    *(
        pytest.param(ERM, flags, marks=pytest.mark.slow)
        for flags in (
            *("--seed 1", "--lr 0.1", "--momentum 0.5", "--weight_decay 0.1", "--no-scheduler"),
            *("--augment_data", "-n 18", "-b 30", "--total_epoch 1"),
            *("--sampler shuffle", "--sampler balanced"),
            *("--depth 16", "--widen_factor 2", "-m resnet18"),
            *("-c jpeg_compression", "--num_severity 1"),
        )
    ),
    pytest.param((), "--rho 0.5", marks=pytest.mark.slow),
    pytest.param((), "--distribution_agnostic", marks=pytest.mark.slow),
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
def test_flag_reaches_the_step(run, tmp_path, asked_steps, method, flags, settings):
    assert run.code(*flags.split(), "--log_dir", str(tmp_path)) == 2
    (asked,) = asked_steps
    found = asked.settings
    if "group_sizes" in found:
        found["group_sizes"] = found["group_sizes"].tolist()
    assert settings.items() <= found.items() and asked.num_groups == 3
    assert asked.method == method and ("group_sizes" in found) == ("step_size" in found)
    (folder,) = tmp_path.iterdir()
    assert folder.name == NAME.format(method=method)


def test_flags_reach_the_optimizer(run, tmp_path, asked_steps):
    """The learning rate changes by epoch: it is a column of train.csv."""
    flags = (*ERM, "--momentum", "0.5", "--weight_decay", "0.25", "--log_dir", str(tmp_path))
    assert run.code(*flags) == 2
    (asked,) = asked_steps
    weight = asked.network.trainable_params()[0]
    before = weight.asnumpy().copy()
    asked.optimizer.learning_rate.set_data(Tensor(np.float32(0.5)))
    zeros = tuple(Tensor(np.zeros(p.shape, np.float32)) for p in asked.network.trainable_params())
    for _ in range(2):
        asked.optimizer(zeros)
    # Without gradients v = θ / 4 and θ' = 7 θ / 8; then v' = v / 2 + θ' / 4 = 11 θ / 32.
    np.testing.assert_allclose(weight.asnumpy(), before * (7 / 8 - 11 / 64), rtol=1e-5)


@pytest.mark.slow
def test_flags_of_looking_and_keeping(run, monkeypatch):
    """Flags that leave the weights alone, each with what it does change."""
    shapes = []
    batches = evaluator.evaluation_batches

    def recording(*arguments):
        for batch in batches(*arguments):
            shapes.append(len(batch[0]))
            yield batch

    monkeypatch.setattr(evaluator, "evaluation_batches", recording)
    flags = (
        *ERM,
        *("--desc", "other", "--num_val", "7", "--num_test", "9", "--eval_batch_size", "4"),
        *("--eval_every", "1", "--log_train", "2", "--save_step", "1", "--no-save_last"),
        *("--no-save_best", "--best_metric", "clean", "--save_logits"),
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
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["best_metric"] == "clean"
    check_logits(folder, summary["best"]["test"])
    assert same_weights(weights(folder, "epoch_2.ckpt"), weights(run(*ERM)))


def check_logits(folder, expected):
    """The files are what the numbers of the best epoch were computed from."""
    names = ("clean", "gaussian_noise_1", "gaussian_noise_2")
    arrays = {path.stem: np.load(path) for path in (folder / "logits").iterdir()}
    assert arrays.keys() == {*names, "labels", "indices"}
    for severity, name in enumerate(names):
        logits, labels = arrays[name].astype(np.float64), arrays["labels"]
        assert arrays[name].dtype == np.float32 and logits.shape == (len(labels), 10)
        found = {
            "loss": oracle.losses(logits, labels).mean(),
            "accuracy": (logits.argmax(1) == labels).mean(),
            "ece": oracle.calibration_error(logits, labels),
            "worst_class_accuracy": oracle.worst_class_accuracy(logits, labels),
        }
        for column, value in found.items():
            assert expected[str(severity)][column] == pytest.approx(value, rel=1e-4, abs=1e-6)


def test_num_workers_and_show_progress(run, tmp_path, monkeypatch):
    from corruptions.storage import making
    from sharpdro.training import trainer

    fake_cifar.write_cifar10(tmp_path / "data")
    asked, bars = [], []
    pool = making.worker_pool

    def show(*_, disable, **__):
        bars.append(disable)
        raise RunError("it is not trained")

    monkeypatch.setattr(making, "_WORTH_WORKERS_BYTES", 1)
    monkeypatch.setattr(making, "worker_pool", lambda n: asked.append(n) or pool(0))
    monkeypatch.setattr(trainer, "tqdm", show)
    own = (*ERM, "--data_dir", str(tmp_path / "data"), "--num_workers", "3")
    assert run.code(*own, "--log_dir", str(tmp_path / "a"), "--no-show_progress") == 2
    assert asked == [3] and bars == [True]
    assert run.code(*own, "--log_dir", str(tmp_path / "b"), "--show_progress") == 2
    assert asked == [3] and bars == [True, None]  # None: where stderr is a terminal


def test_frost_dir(run, tmp_path, asked_steps):
    """Photographs of one colour make frost of that colour."""
    fake_cifar.write_cifar10(tmp_path / "data")
    for name in PUBLISHED:
        Image.new("RGB", (300, 250), (200, 0, 0)).save(tmp_path / name)
    own = (*ERM, "-c", "frost", "--data_dir", str(tmp_path / "data"))
    assert run.code(*own, "--frost_dir", str(tmp_path), "--log_dir", str(tmp_path / "logs")) == 2
    frosted = np.load(tmp_path / "data" / "CIFAR-10-C" / "test" / "2" / "frost.npy")
    clean = read_clean(CIFAR10, tmp_path / "data")["test"][0]
    # Severity 2 adds 0.3 of the photograph, to the red channel alone.
    red = np.clip(clean[..., 0] + 0.3 * 200, 0, 255)
    assert np.abs(frosted[..., 0] - red).max() <= 2
    assert np.abs(frosted[..., 2].astype(int) - clean[..., 2]).max() <= 2


def test_frost_that_a_network_was_not_trained_on_is_told():
    photographs = {"frost_dir": "/photographs"}
    assert "trained on the frost of /photographs" in about_frost(
        photographs, ["fog", "frost"], None
    )
    assert about_frost(photographs, ["fog"], None) is None
    assert about_frost(photographs, ["frost"], Path("/photographs")) is None
    assert about_frost({"frost_dir": None}, ["frost"], None) is None


def test_eval_only_repeats_the_last_evaluation(run, tmp_path, capsys):
    """Settings come from the checkpoint; --num_test and the like can be given anew."""
    trained = run()
    own = ["--eval_only", "--checkpoint", str(trained / "last.ckpt"), "--log_dir", str(tmp_path)]
    own += ["--data_dir", str(run.data_dir)]
    assert main.main([*own, "--desc", "all"]) == 0
    (folder,) = tmp_path.iterdir()
    assert folder.name == "all_dsetcifar10_corrgaussian_noise_eval_seed0"
    assert {row["corruption"] for row in rows(folder / "test.csv")} == {"gaussian_noise"}
    assert evaluated_rows(folder) == [
        row for row in rows(trained / "test.csv") if row["epoch"] == "2"
    ]
    assert "test accuracy in percent per severity" in capsys.readouterr().out

    assert main.main([*own, "--num_test", "11", "-c", "jpeg_compression"]) == 0
    assert "--num_test" not in capsys.readouterr().out
    name = "run_gaussian_noise_sharpdro_last_dsetcifar10_corrjpeg_compression_eval_seed0"
    other = tmp_path / name
    settings = json.loads((other / "settings.json").read_text())["settings"]
    assert settings["num_test"] == 11 and settings["trained_with"]["num_test"] == 5
    assert "lr" not in settings and settings["trained_with"]["lr"] == 0.05
    assert [row["count"] for row in rows(other / "test.csv")] == ["11"] * 3 + ["33", "11"]
    assert main.main([*own, "--desc", "more", "--num_test", "41"]) == 0
    assert "--num_test 41: there are 40 images, and all are taken" in capsys.readouterr().out
    assert main.main([*own, "--desc", "all"]) == 2
    assert "exists already: add --resume to continue it, or choose" in capsys.readouterr().err


def test_eval_only_reads_its_checkpoint_once(run, tmp_path, monkeypatch):
    path, read = run() / "best.ckpt", []
    load, read_bytes = checkpoint.ms.load_checkpoint, Path.read_bytes
    monkeypatch.setattr(checkpoint.ms, "load_checkpoint", lambda p: read.append(p) or load(p))
    monkeypatch.setattr(Path, "read_bytes", lambda p: read.append(f"{p}") or read_bytes(p))
    own = ["--eval_only", "--checkpoint", str(path), "--data_dir", str(run.data_dir)]
    assert main.main([*own, "--log_dir", str(tmp_path)]) == 0
    assert [name for name in read if name == str(path)] == [str(path)] * 2  # checked, and parsed
    (folder,) = tmp_path.iterdir()
    settings = json.loads((folder / "settings.json").read_text())["settings"]
    assert settings["checkpoint_crc32"] == f"{zlib.crc32(read_bytes(path)):08x}"


def test_eval_only_on_several_corruptions(run, tmp_path, capsys, monkeypatch):
    """Killed in the middle of the second and taken up, nothing is measured twice."""
    own = ["--eval_only", "--checkpoint", str(run() / "best.ckpt"), "--log_dir", str(tmp_path)]
    own += ["--data_dir", str(run.data_dir), "-c", "fog", "gaussian_noise", "--resume"]
    measure, calls = evaluator.Evaluator.__call__, []

    def counting(self, batches, *rest, **more):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return measure(self, batches, *rest, **more)

    monkeypatch.setattr(evaluator.Evaluator, "__call__", counting)
    assert main.main(own) == 130
    (folder,) = tmp_path.iterdir()
    name = "run_gaussian_noise_sharpdro_best_dsetcifar10_corrgaussian_noise+fog_eval_seed0"
    assert folder.name == name
    names = [row["corruption"] for row in rows(folder / "test.csv")]
    assert names == ["gaussian_noise"] * 5
    with open(folder / "test.csv", "a") as file:
        file.write("2,fog,0,1,1,5,0,1,0\n2,fog,1,")  # what a kill in the middle of writing leaves
    assert main.main(own) == 0 and len(calls) == 5 + 3
    measured = {(row["corruption"], row["severity"]): row for row in rows(folder / "test.csv")}
    assert len(measured) == 10 and len(rows(folder / "test.csv")) == 10
    assert measured["fog", "0"]["loss"] == measured["gaussian_noise", "0"]["loss"]
    assert measured["fog", "2"]["loss"] != measured["gaussian_noise", "2"]["loss"]
    for row in rows(run() / "test.csv"):
        if row["epoch"] == measured["fog", "0"]["epoch"]:
            assert row.items() <= measured["gaussian_noise", row["severity"]].items()
    assert "fog" in capsys.readouterr().out
    assert main.main([*own, "--num_test", "3"]) == 2
    assert "--num_test is 3, but" in capsys.readouterr().err


def test_eval_only_is_not_resumed_with_another_network_or_other_images(run, tmp_path, capsys):
    path, data = tmp_path / "best.ckpt", tmp_path / "data"
    shutil.copy(run() / "best.ckpt", path)
    shutil.copytree(run.data_dir, data)
    own = ["--eval_only", "--checkpoint", str(path), "--log_dir", str(tmp_path / "logs")]
    own += ["--data_dir", str(data), "--resume"]
    assert main.main(own) == 0
    (folder,) = (tmp_path / "logs").iterdir()
    before = (folder / "test.csv").read_bytes()
    assert main.main(own) == 0 and (folder / "test.csv").read_bytes() == before
    capsys.readouterr()

    images = data / "CIFAR-10-C" / "test" / "1" / "gaussian_noise.npy"
    np.save(images, 255 - np.load(images))
    assert main.main(own) == 2
    assert "was measured on other images of gaussian_noise" in capsys.readouterr().err
    trained = load_trained(path)
    weight = trained.network.classifier.weight
    weight.set_data(weight * 0)  # trained anew, say: everything else is the same
    checkpoint.save(path, trained.network, trained.epoch, trained.settings)
    assert main.main(own) == 2
    assert f"was measured with another file {path}" in capsys.readouterr().err
    assert (folder / "test.csv").read_bytes() == before


def test_evaluation_that_another_one_has_overtaken_is_refused(run, tmp_path, capsys, monkeypatch):
    """Of another checkpoint with a directory of the same name, while the images are made."""
    first, second = tmp_path / "a" / "best.ckpt", tmp_path / "b" / "best.ckpt"
    for path in (first, second):
        path.parent.mkdir()
        shutil.copy(run() / "best.ckpt", path)
    trained = load_trained(second)
    weight = trained.network.classifier.weight
    weight.set_data(weight * 0)
    checkpoint.save(second, trained.network, trained.epoch, trained.settings)
    own = ["--eval_only", "--data_dir", str(run.data_dir), "--log_dir", str(tmp_path / "logs")]
    own += ["--resume", "--checkpoint"]

    def overtaken(*args, **settings):
        monkeypatch.undo()
        assert main.main([*own, str(second)]) == 0
        capsys.readouterr()
        return prepare_test_sets(*args, **settings)

    monkeypatch.setattr("sharpdro.jobs.evaluate.prepare_test_sets", overtaken)
    assert main.main([*own, str(first)]) == 2
    said = capsys.readouterr()
    assert f"--checkpoint is {first}, but" in said.err and said.err.count("\n") == 1
    assert "test accuracy" not in said.out


@pytest.mark.slow
def test_eval_only_on_another_dataset(run, tmp_path, capsys):
    """The normalisation stays that of training; other classes are refused."""
    own = ["--eval_only", "--checkpoint", str(run() / "best.ckpt"), "--log_dir", str(tmp_path)]
    own += ["--data_dir", str(tmp_path / "data"), "--num_severity", "1", "--num_test", "20"]
    assert main.main([*own, "-d", "synthetic"]) == 0
    (folder,) = (path for path in tmp_path.iterdir() if "dsetsynthetic" in path.name)
    images, labels = read_clean(SYNTHETIC, None)["test"]
    chosen = np.sort(np.random.default_rng(0).permutation(len(labels))[:20])
    pixels = images[chosen].astype(np.float32) / 255
    normal = ((pixels - CIFAR10.mean) / CIFAR10.std).transpose(0, 3, 1, 2).astype(np.float32)
    logits = load_trained(run() / "best.ckpt").network(Tensor(normal)).asnumpy()
    accuracy = (logits.argmax(1) == labels[chosen]).mean()
    assert float(rows(folder / "test.csv")[0]["accuracy"]) == pytest.approx(accuracy)
    assert "was trained on cifar10: measured on synthetic" in capsys.readouterr().out
    assert main.main([*own, "-d", "cifar100"]) == 2
    assert "-d cifar100 has 100 classes, but" in capsys.readouterr().err


def test_synthetic_is_the_default(run, tmp_path, asked_steps):
    own = ["--data_dir", str(tmp_path / "data"), "--log_dir", str(tmp_path / "logs"), *ERM]
    sizes = ["-n", "20", "--num_val", "5", "--num_test", "5", "--total_epoch", "1"]
    assert main.main([*own, *sizes, "--num_severity", "1"]) == 2 and asked_steps
    (folder,) = (tmp_path / "logs").iterdir()
    assert folder.name == "run_dsetsynthetic_corrgaussian_noise_erm_seed0"


@pytest.mark.slow
def test_scores_are_logged_by_severity(run):
    """A score that is the loss has the loss's mean per severity."""
    for row in rows(run("--distribution_agnostic", "--ood_score", "loss") / "train.csv"):
        for s in range(3):
            assert float(row[f"score_{s}"]) == pytest.approx(float(row[f"loss_{s}"]), rel=1e-4)
        assert -1 <= float(row["score_spearman"]) <= 1
        assert row["weight_0"] == ""
