"""Weights that were trained elsewhere, and ResNets against a NumPy forward pass."""

import mindspore as ms
import numpy as np
import pytest
import resnet_reference
from mindspore import Tensor
from resnet_reference import torch_file
from safetensors.numpy import save_file

from models import create_model
from sharpdro.errors import RunError
from sharpdro.networks.pretrained import load_pretrained
from sharpdro.run_folder import checkpoint

WRN = {"depth": 10, "widen_factor": 1}


def values(network):
    return {p.name: p.asnumpy().copy() for p in network.get_parameters()}


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "side", "training"),
    [
        ("resnet18", 33, True),
        ("resnet50", 33, False),
        *(pytest.param("resnet18", side, False, marks=SLOW) for side in (33, 64)),
        *(pytest.param(name, 64, True, marks=SLOW) for name in ("resnet18", "resnet50")),
    ],
)
def test_resnets_equal_a_numpy_forward_pass(tmp_path, name, side, training):
    """The reference knows torchvision's names alone, so this checks the mapping, too."""
    path = tmp_path / "model.safetensors"
    state = torch_file(path, name)
    learnable = resnet_reference.learnable_count(resnet_reference.state_shapes(name, 1000))
    assert learnable == {"resnet18": 11_689_512, "resnet50": 25_557_032}[name]
    network = create_model(name, 5)
    said = load_pretrained(network, path)
    number = len([key for key in state if "num_batches" not in key])
    assert said == f"pretrained: {number} of the network's {number} arrays are from {path}"
    images = np.random.default_rng(1).normal(0, 1, (4, 3, side, side)).astype(np.float32)
    logits = network.set_train(training)(Tensor(images)).asnumpy()
    expected = resnet_reference.forward(state, images, training)
    assert expected.std() > 0.1
    np.testing.assert_allclose(logits, expected, atol=2e-3 * expected.std())


@pytest.fixture(scope="module")
def resnet():
    """One for all the files that must not change it."""
    return create_model("resnet18", 5)


@pytest.mark.parametrize("num_classes", [5, 3])
def test_the_classifier_starts_anew_for_other_classes(tmp_path, num_classes):
    path = tmp_path / "model.safetensors"
    state = torch_file(path, num_classes=num_classes)
    network = create_model("resnet18", 5)
    before = values(network)
    said = load_pretrained(network, path)
    after = values(network)
    assert np.array_equal(after["layer1.0.conv1.weight"], state["layer1.0.conv1.weight"])
    assert np.array_equal(after["bn1.moving_variance"], state["bn1.running_var"])
    assert np.array_equal(
        after["layer2.0.downsample.1.gamma"], state["layer2.0.downsample.1.weight"]
    )
    fits = num_classes == 5
    for name in ("fc.weight", "fc.bias"):
        assert np.array_equal(after[name], state[name] if fits else before[name])
    assert ("fc starts anew" in said) is not fits
    if not fits:
        assert (
            "fc.bias has shape (3,), not (5,); fc.weight has shape (3, 512), not (5, 512)" in said
        )


def test_checkpoints_of_runs(tmp_path):
    """Optimizer states and the like in the file do not matter."""
    # 1 stem, 3 · (2 · (4 + 1)) in the blocks, 2 projections, 4 + 2 at the end.
    trained = create_model("wideresnet", 10, **WRN)
    for p in trained.get_parameters():
        p.set_data(Tensor(np.random.default_rng(3).random(p.shape).astype(np.float32)))
    path = tmp_path / "best.ckpt"
    checkpoint.save(
        path, ms.nn.TrainOneStepCell(trained, ms.nn.SGD(trained.trainable_params())), 3, {}
    )
    network = create_model("wideresnet", 10, **WRN)
    assert (
        load_pretrained(network, path)
        == f"pretrained: 39 of the network's 39 arrays are from {path}"
    )
    expected = values(trained)
    assert all(np.array_equal(v, expected[k]) for k, v in values(network).items())
    checkpoint.save(path, trained, 3, {}, {"step": 1})
    assert load_pretrained(network, path).endswith(
        "best.ckpt, saved inside an epoch, when its run was stopped"
    )
    other = create_model("wideresnet", 4, **WRN)
    assert "classifier starts anew" in load_pretrained(other, path)
    assert np.array_equal(values(other)["stem.weight"], expected["stem.weight"])


def test_half_precision_is_taken(tmp_path):
    weight = np.full((64, 3, 7, 7), 0.333, np.float16)
    torch_file(tmp_path / "m.safetensors", **{"conv1.weight": weight})
    network = create_model("resnet18", 5)
    load_pretrained(network, tmp_path / "m.safetensors")
    found = values(network)["conv1.weight"]
    assert found.dtype == np.float32 and np.array_equal(found, weight.astype(np.float32))


def _deeper(path):
    extra = np.zeros((64, 64, 3, 3), np.float32)
    torch_file(path, **{"layer1.2.conv1.weight": extra})


def _incomplete(path):
    state = torch_file(path)
    del state["layer3.0.bn1.running_mean"], state["layer3.0.bn1.bias"]
    save_file(state, path)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (
            lambda p: torch_file(p, "resnet50"),
            "layer1.0.conv1.weight has shape (64, 64, 1, 1), not",
        ),
        (_deeper, "and its flags say: layer1.2.conv1.weight is too much"),
        (_incomplete, "layer3.0.bn1.bias is missing; layer3.0.bn1.running_mean is missing"),
        (
            lambda p: torch_file(p, **{"bn1.bias": np.full(64, np.nan, np.float32)}),
            "bn1.bias holds values that are not finite",
        ),
        (
            lambda p: torch_file(p, **{"bn1.bias": np.zeros(64, np.int32)}),
            "bn1.bias holds int32, not floats",
        ),
        (lambda p: p.write_bytes(b"\xff" * 100), "cannot be read: "),
        (lambda p: None, "is not a file: name a .ckpt or .safetensors file"),
    ],
)
def test_files_that_will_not_do(resnet, tmp_path, write, message):
    path = tmp_path / "model.safetensors"
    write(path)
    network = resnet
    before = values(network)
    with pytest.raises(RunError) as refused:
        load_pretrained(network, path)
    assert str(refused.value).startswith(f"--pretrained {path}") and message in str(refused.value)
    assert "\n" not in str(refused.value)
    assert all(np.array_equal(v, before[k]) for k, v in values(network).items())


def test_a_file_that_is_no_checkpoint(tmp_path):
    (tmp_path / "x.ckpt").write_bytes(b"\x07garbage" * 10)
    with pytest.raises(RunError, match="is no MindSpore checkpoint, nor named .safetensors"):
        load_pretrained(create_model("wideresnet", 10, **WRN), tmp_path / "x.ckpt")
