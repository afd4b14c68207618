"""Flags, logs, resuming and evaluation are the same on every dataset."""

import json
import pickle
import shutil

import numpy as np
import pytest
from fake_imagenet30 import write_imagenet30
from resnet_reference import torch_file
from running import assert_refused, evaluated_rows, rows, same_weights, weights

import main
from dataset.specs import DATASETS
from sharpdro.command_line import settings

SMALL = ("-m", "wideresnet", "--depth", "10", "--widen_factor", "1", "-b", "50", "--lr", "0.05")
FAST = ("--num_severity", "2", "--num_val", "40", "--num_test", "60", "--method", "erm")
# Per class: floor(8 · e⁻¹) = 2, 2 and floor(8 · e⁻¹ / 2) = 1 images at severities 0, 1 and 2.
N = ("-n", "8")


def write_cifar100(data_dir, per_class=9):
    rng = np.random.default_rng(0)
    folder = data_dir / "cifar-100-python"
    folder.mkdir()
    for split, count in (("train", per_class), ("test", 2)):
        labels = rng.permutation(np.repeat(np.arange(100), count))
        pixels = 2 * labels[:, None] + rng.integers(0, 50, (len(labels), 3072))
        content = {b"data": pixels.astype(np.uint8), b"fine_labels": labels.tolist()}
        content[b"coarse_labels"] = (labels // 5).tolist()
        (folder / split).write_bytes(pickle.dumps(content, protocol=4))


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_cifar100(folder)
    write_imagenet30(folder, train=9)
    return folder


@pytest.fixture(
    scope="module", params=[pytest.param("cifar100", marks=pytest.mark.slow), "imagenet30"]
)
def trained(request, data_dir, tmp_path_factory):
    """The dataset's name and a run of two epochs on it."""
    logs = tmp_path_factory.mktemp("logs")
    assert train(request.param, data_dir, logs) == 0
    (folder,) = logs.iterdir()
    return request.param, folder


@pytest.fixture(scope="module", autouse=True)
def no_lists(tmp_path_factory):
    """What somebody has put into the project's own folder does not matter here."""
    folder = tmp_path_factory.mktemp("project") / "imagenet30_filelist"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "FILELIST_DIR", folder)
        yield


def train(name, data_dir, logs, *flags):
    own = ("-d", name, "--data_dir", str(data_dir), "--log_dir", str(logs), "--total_epoch", "2")
    return main.main([*own, *N, *SMALL, *FAST, *flags])


def test_run(trained):
    name, folder = trained
    spec = DATASETS[name]
    assert folder.name == f"run_dset{name}_corrgaussian_noise_erm_seed0"
    assert f"severity 0…2: {' '.join(str(k * spec.num_classes) for k in (2, 2, 1))}" in (
        (folder / "log.txt").read_text()
    )
    steps = spec.num_classes * 5 // 50
    assert [row["step"] for row in rows(folder / "train.csv")] == [str(steps)] * 2
    assert weights(folder)["classifier.bias"].shape == (spec.num_classes,)
    table = rows(folder / "test.csv")
    assert [row["count"] for row in table] == ["60", "60", "60", "180", "60"] * 2
    assert {p.name for p in folder.iterdir()} - {"imagenet30_filelist"} == {
        *("settings.json", "log.txt", "train.csv", "val.csv", "test.csv", "summary.json"),
        *("last.ckpt", "previous.ckpt", "best.ckpt"),
    }


@pytest.mark.slow
def test_resuming(trained, data_dir, tmp_path):
    """A run that is taken up after its first epoch ends as one that was not."""
    name, folder = trained
    logs = tmp_path / "logs"
    assert train(name, data_dir, logs, "--save_step", "1") == 0
    (copy,) = logs.iterdir()
    (copy / "epoch_1.ckpt").replace(copy / "last.ckpt")
    (copy / "summary.json").unlink()
    assert train(name, data_dir, logs, "--save_step", "1", "--resume") == 0
    assert "going on after epoch 1" in (copy / "log.txt").read_text()
    assert same_weights(weights(copy), weights(folder))
    assert (copy / "test.csv").read_bytes() == (folder / "test.csv").read_bytes()


def test_eval_only(trained, data_dir, tmp_path):
    name, folder = trained
    own = ["--eval_only", "--checkpoint", str(folder / "last.ckpt"), "--data_dir", str(data_dir)]
    assert main.main([*own, "--log_dir", str(tmp_path)]) == 0
    (copy,) = tmp_path.iterdir()
    last = rows(folder / "test.csv")[-5:]
    assert evaluated_rows(copy) == last


@pytest.mark.parametrize("trained", ["imagenet30"], indirect=True)
@pytest.mark.slow
def test_imagenet30_keeps_its_lists(trained, data_dir, tmp_path, capsys):
    """Every run has the lists of what it was trained on; others do not go with it."""
    own = ("--total_epoch", "2")
    first = shutil.copytree(trained[1], tmp_path / "a" / trained[1].name)
    kept = first / "imagenet30_filelist"
    assert len(list(kept.iterdir())) == 5
    # As a user does with published lists: put them somewhere, name the place, leave -n out.
    lists = shutil.copytree(kept, tmp_path / "lists")
    logs = tmp_path / "b"
    named = ("-d", "imagenet30", "--data_dir", str(data_dir), "--log_dir", str(logs), *SMALL, *FAST)
    named += (*own, "--filelist_dir", str(lists))
    assert main.main([*named]) == 0
    (second,) = logs.iterdir()
    assert same_weights(weights(first), weights(second))
    assert json.loads((second / "settings.json").read_text())["settings"]["num_per_class"] is None

    assert_refused(capsys, [*named, *N, "--desc", "x"], "-n does not go with the lists in")
    law = ["--severity_law", "worst", "--desc", "x"]
    assert_refused(capsys, [*named, *law], "--severity_law does not go with the lists in")
    # A run that is taken up goes by its own lists, whatever became of the others.
    before = rows(second / "test.csv")[-5:]
    (lists / "imagenet30_test.txt").write_text("tank/n00000027_1.JPEG 27\n")
    for folder, command in ((second, named), (first, (*named[:4], *N, *SMALL, *FAST, *own))):
        (folder / "summary.json").unlink()
        command = (*command, "--log_dir", str(folder.parent), "--resume")
        assert main.main([*command]) == 0
        assert json.loads((folder / "summary.json").read_text())["finished"]
    assert_refused(capsys, [*command, "-n", "7"], "--num_per_class is 7, but")
    # So does --eval_only, unless other lists are named.
    evaluate = ["--eval_only", "--checkpoint", str(second / "last.ckpt")]
    evaluate += ["--data_dir", str(data_dir), "--log_dir", str(tmp_path / "c")]
    assert main.main([*evaluate]) == 0
    (evaluated,) = (tmp_path / "c").iterdir()
    assert evaluated_rows(evaluated) == before
    assert main.main([*evaluate, "--filelist_dir", str(lists), "--desc", "other"]) == 0
    (evaluated,) = (tmp_path / "c").glob("other*")
    assert rows(evaluated / "test.csv")[0]["count"] == "1"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("-d", "cifar10", "--filelist_dir", "."), "--filelist_dir does not apply to -d cifar10"),
        (("-d", "imagenet30", "--filelist_dir", "nowhere"), "nowhere is not a folder"),
        (("-d", "imagenet30", "--filelist_dir", "tests"), "tests holds no lists, see --help"),
        (("-d", "imagenet30", "--data_dir", "nowhere"), "nowhere/ImageNet-30/train is missing"),
        (("--pretrained", "nowhere.ckpt"), "--pretrained nowhere.ckpt is not a file"),
    ],
)
def test_what_is_refused_at_once(capsys, tmp_path, flags, message):
    assert_refused(capsys, ["--log_dir", tmp_path / "logs", *flags], message)
    assert not (tmp_path / "logs").exists()


def test_too_few_photographs(data_dir, tmp_path, capsys):
    own = ("-d", "imagenet30", "--data_dir", str(data_dir), "--log_dir", str(tmp_path / "logs"))
    text = "-n 10 is too large: class acorn has 9 images"
    assert_refused(capsys, [*own, "-n", "10"], text)


def test_step_starts_from_the_weights_of_a_file(trained, data_dir, tmp_path, asked_steps):
    """With a classifier of its own, as the classes are others."""
    stored = weights(trained[1], "best.ckpt")
    flags = ("--pretrained", str(trained[1] / "best.ckpt"), "-d", "synthetic", "-n", "30")
    assert train(trained[0], data_dir, tmp_path, *flags) == 2
    (asked,) = asked_steps
    for parameter in asked.network.get_parameters():
        is_fresh = parameter.name.startswith("classifier")
        same = np.array_equal(parameter.asnumpy(), stored[parameter.name])
        assert same is not is_fresh, parameter.name


@pytest.mark.slow
def test_pretrained(data_dir, tmp_path, capsys):
    """A run starts from the file's weights, with a classifier of its own."""
    path = tmp_path / "resnet18.safetensors"
    state = torch_file(path, num_classes=1000)
    own = ("-d", "imagenet30", "--data_dir", str(data_dir), *N, *FAST, "-b", "50", "-m", "resnet18")
    # A learning rate at which nothing moves: what the run ends with is what it started from.
    own += ("--lr", "1e-12", "--total_epoch", "1", "--pretrained", str(path))
    own += ("--log_dir", str(tmp_path / "logs"))
    assert main.main([*own]) == 0
    assert "pretrained: 100 of 102 arrays from" in capsys.readouterr().out
    (folder,) = (tmp_path / "logs").iterdir()
    found = weights(folder)
    np.testing.assert_allclose(found["layer4.1.bn2.gamma"], state["layer4.1.bn2.weight"])
    np.testing.assert_allclose(found["conv1.weight"], state["conv1.weight"], atol=1e-9)
    assert found["fc.weight"].shape == (30, 512)
    # Once a run has got somewhere, it needs the file no more.
    path.unlink()
    (folder / "summary.json").unlink()
    assert main.main([*own, "--resume"]) == 0
    torch_file(path, name="resnet50")
    text = "is of another network than -m and its flags say: "
    assert_refused(capsys, [*own, "--desc", "other"], text)
    assert len(list((tmp_path / "logs").iterdir())) == 1
