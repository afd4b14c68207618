"""-m my_module:MyNet: a network of the user's own, with a file of his in the current folder."""

import importlib.util
import json
import shutil

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn, ops
from running import ROOT, assert_refused, rows, same_weights, weights

import main
from sharpdro import create_sgd, create_train_step

MODULE = """
import mindspore as ms
from mindspore import Tensor, nn

class MyNet(nn.Cell):
    def __init__(self, num_classes):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=4, pad_mode="same", weight_init="normal")
        self.head = nn.Dense(4, num_classes, weight_init="normal")

    def construct(self, images):
        return self.head(nn.ReLU()(self.conv(images)).mean((2, 3)))

def make(num_classes, **further):
    return MyNet(num_classes)

class Wide(MyNet):
    def __init__(self, num_classes):
        super().__init__(num_classes + 1)

class Pair(MyNet):
    def construct(self, images):
        return super().construct(images), images

class Twice(MyNet):
    def construct(self, images):
        return super().construct(images).astype("float16")

class Empty(nn.Cell):
    def __init__(self, num_classes):
        super().__init__()

def fails(num_classes):
    raise KeyError(f"no {num_classes} classes\\nat all")

def no_cell(num_classes):
    return "a network"
"""
FLAGS = (
    *("-d", "synthetic", "-n", "20", "--num_severity", "2", "-b", "40", "--total_epoch", "2"),
    *("--num_val", "6", "--num_test", "5", "--eval_every", "2"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The current folder: modules, data and one finished run."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_networks.py").write_text(MODULE)
    (folder / "own_broken.py").write_text("import not_there_either\n")
    (folder / "own_invalid.py").write_text("def f(:\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main.main([*FLAGS, "-m", "own_networks:make", "--save_step", "1"]) == 0
    return folder


@pytest.fixture(autouse=True)
def current_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)


@pytest.fixture
def run_directory(folder):
    return folder / "logs" / "run_dsetsynthetic_corrgaussian_noise_sharpdro_seed0"


def script(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_run_records_and_resumes(run_directory, tmp_path):
    settings = json.loads((run_directory / "settings.json").read_text())["settings"]
    assert (settings["model"], settings["depth"]) == ("own_networks:make", None)
    assert {"conv.weight", "head.weight", "head.bias"} <= weights(run_directory).keys()
    begun = tmp_path / run_directory.name
    shutil.copytree(run_directory, begun)
    shutil.copy(begun / "epoch_1.ckpt", begun / "last.ckpt")
    (begun / "summary.json").unlink()
    code = main.main([*FLAGS, "-m", "own_networks:make", "--resume", "--log_dir", str(tmp_path)])
    assert code == 0
    assert same_weights(weights(begun), weights(run_directory))


def test_checkpoint_is_measured_and_exported(run_directory, tmp_path, capsys):
    checkpoint = str(run_directory / "best.ckpt")
    flags = ["--eval_only", "--checkpoint", checkpoint, "--log_dir", str(tmp_path)]
    assert main.main(flags) == 0
    (measured,) = tmp_path.iterdir()
    expected = [row["loss"] for row in rows(run_directory / "test.csv")]
    assert [row["loss"] for row in rows(measured / "test.csv")] == expected
    assert script("export").main([checkpoint, "-o", str(tmp_path / "network.mindir")]) == 0
    assert "own_networks:make of" in capsys.readouterr().out
    flags = ["--num_images", "5", "--no-eigenvalue", "--no-surface", "-o", str(tmp_path / "flat")]
    assert script("flatness").main([checkpoint, *flags]) == 0
    assert len(rows(tmp_path / "flat" / "flatness.csv")) == 3


def test_pretrained_of_another_number_of_classes_is_refused_without_a_named_classifier(
    run_directory, capsys
):
    flags = ["-m", "own_networks:make", "--desc", "p", "--pretrained", run_directory / "best.ckpt"]
    assert_refused(
        capsys, [*FLAGS, *flags, "-d", "cifar100"], "of another network", "head.weight has shape"
    )


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("own_missing:Net", "there is no module own_missing in "),
        ("own_networks.part:Net", "there is no module own_networks.part in "),
        ("own_broken:Net", "own_broken cannot be imported: No module named 'not_there_either'"),
        ("own_invalid:Net", "own_invalid cannot be imported: SyntaxError: invalid syntax"),
        ("own_networks:Other", "own_networks.py) has no Other"),
        ("own_networks:MODULES", "has no MODULES"),
        ("own_networks:ms", "ms(num_classes=…) raises TypeError: 'module' object is not callable"),
        ("own_networks:fails", "fails(num_classes=…) raises KeyError: 'no 10 classes\\nat all'"),
        ("own_networks:no_cell", "returns a str: name a mindspore.nn.Cell"),
        ("own_networks:Empty", "returns a cell without a parameter to train"),
        ("own_networks:Wide", "returns float32 of shape (2, 11)"),
        ("own_networks:Pair", "returns a tuple, but logits are float32 of shape (2, 10)"),
        ("own_networks:Twice", "returns float16 of shape (2, 10)"),
        ("own_networks", "invalid choice: 'own_networks' (choose from wideresnet, resnet18"),
        ("own networks:Net", "invalid choice: 'own networks:Net'"),
    ],
)
def test_what_is_no_network_is_refused(folder, place, text, capsys):
    assert_refused(capsys, [*FLAGS, "-m", place, "--desc", "bad"], text)
    assert not [*(folder / "logs").glob("bad*")]


def test_flags_of_other_networks_are_refused(run_directory, capsys):
    own = [*FLAGS, "-m", "own_networks:make", "--desc", "bad"]
    assert_refused(capsys, [*own, "--depth", "10"], "--depth applies to -m wideresnet only")
    text = "--cpu_kernels onednn does not apply to -m own_networks:make: leave it out"
    assert_refused(capsys, [*own, "--cpu_kernels", "onednn"], text)
    flags = ["--eval_only", "--checkpoint", run_directory / "best.ckpt", "--cpu_kernels", "onednn"]
    assert_refused(capsys, flags, text)


def test_checkpoint_needs_its_module(run_directory, tmp_path, monkeypatch, capsys):
    settings = json.loads((run_directory / "settings.json").read_text())["settings"]
    from sharpdro.networks.own import create_own_network
    from sharpdro.run_folder import checkpoint

    network = create_own_network("own_networks:make", 10)
    path = tmp_path / "best.ckpt"
    checkpoint.save(path, network, 1, {**settings, "model": "own_elsewhere:Net"})
    text = "-m own_elsewhere:Net: there is no module own_elsewhere in"
    assert_refused(capsys, ["--eval_only", "--checkpoint", path], text)


class Linear(nn.Cell):
    """Softmax regression: no batch norm; it counts how often it was called."""

    def __init__(self, num_pixels, num_classes):
        super().__init__()
        self.dense = nn.Dense(num_pixels, num_classes, weight_init="normal", has_bias=False)
        self.calls = Parameter(Tensor(0.0, ms.float32), name="calls", requires_grad=False)

    def construct(self, images):
        called = ops.assign_add(self.calls, Tensor(1.0, ms.float32))
        return self.dense(ops.depend(images, called).reshape((images.shape[0], -1)))


def gradient(weight, pixels, labels, sample_weights):
    """∇ Σ_i w_i ℓ_i of softmax regression, and ℓ, in float64."""
    logits = pixels @ weight.T
    logits -= logits.max(1, keepdims=True)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    chosen = np.eye(len(weight))[labels]
    losses = -np.log((probabilities * chosen).sum(1))
    return ((probabilities - chosen) * sample_weights[:, None]).T @ pixels, losses


def sharpdro_update(weight, pixels, labels, groups, rho, step_size):
    """The change of θ at lr 1 without momentum, of SharpDRO with three groups."""
    equal = np.full(len(labels), 1 / len(labels))
    first, losses = gradient(weight, pixels, labels, equal)
    means = np.array([losses[groups == s].mean() for s in range(3)])
    q = np.exp(step_size * means) / np.exp(step_size * means).sum()
    shares = q[groups] / np.bincount(groups)[groups]
    perturbed = weight + rho * first / np.linalg.norm(first)
    return first + gradient(perturbed, pixels, labels, shares)[0]


def test_step_takes_networks_without_batch_norm_and_with_statistics_of_any_name():
    """Pass 2 is undone for whatever is not trained: the network was called once, it says."""
    rng, network = np.random.default_rng(0), Linear(12, 3)
    network.dense.weight.set_data(Tensor(rng.normal(size=(3, 12)), ms.float32))
    before = network.dense.weight.asnumpy().astype(float)
    optimizer = create_sgd(network.trainable_params(), 1.0, momentum=0.0, weight_decay=0.0)
    settings = {"rho": 0.5, "step_size": 2.0, "group_sizes": (2, 2, 2)}
    step = create_train_step("sharpdro", network, optimizer, 3, **settings)
    images = rng.normal(size=(6, 3, 2, 2))
    labels, groups = np.array([0, 1, 2, 2, 1, 0]), np.array([0, 0, 1, 1, 2, 2])
    step(Tensor(images, ms.float32), Tensor(labels, ms.int32), Tensor(groups, ms.int32))
    pixels = images.reshape(6, 12)
    expected = before - sharpdro_update(before, pixels, labels, groups, 0.5, 2.0)
    np.testing.assert_allclose(network.dense.weight.asnumpy(), expected, rtol=1e-4, atol=1e-5)
    assert network.calls.asnumpy() == 1


@pytest.mark.parametrize("method", ["sam", "sharpdro_agnostic"])
def test_step_takes_networks_without_anything_untrained(method):
    network = nn.SequentialCell(nn.Flatten(), nn.Dense(12, 3, weight_init="normal"))
    optimizer = create_sgd(network.trainable_params(), 0.5, momentum=0.0, weight_decay=0.0)
    step = create_train_step(method, network, optimizer, 3)
    rng = np.random.default_rng(0)
    images, labels = Tensor(rng.normal(size=(6, 3, 2, 2)), ms.float32), Tensor([0, 1, 2] * 2)
    losses = [float(step(images, labels.astype(ms.int32), labels)[0].mean()) for _ in range(9)]
    assert losses[-1] < losses[0] / 2
