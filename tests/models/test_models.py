"""Networks: known sizes, initial weights, and the architecture against a NumPy forward pass."""

import numpy as np
import pytest
from mindspore import Tensor

from models import MODELS, create_model
from models.layers import Normalize


@pytest.mark.parametrize(
    ("name", "classes", "parameters"),
    [
        ("wideresnet", 10, 1_467_610),
        ("wideresnet", 100, 1_479_220),
        ("resnet18", 1000, 11_689_512),
        ("resnet50", 1000, 25_557_032),
    ],
)
def test_parameter_counts(name, classes, parameters):
    # 90 more classes of 128 weights and a bias each: 1,467,610 + 90 · 129 = 1,479,220.
    network = create_model(name, classes)
    assert sum(p.size for p in network.trainable_params()) == parameters


@pytest.mark.parametrize("name", MODELS)
def test_logits(name):
    settings = {"depth": 10, "widen_factor": 1} if name == "wideresnet" else {}
    network = create_model(name, 7, **settings).set_train(False)
    logits = network(Tensor(np.zeros((2, 3, 32, 32), np.float32)))
    assert logits.shape == (2, 7) and np.isfinite(logits.asnumpy()).all()


def test_initial_weights():
    for parameter in create_model("wideresnet", 10).get_parameters():
        values = parameter.asnumpy()
        if parameter.ndim == 4:
            fan_out = values.shape[0] * values.shape[2] * values.shape[3]
            assert values.std() == pytest.approx(np.sqrt(2 / fan_out), rel=0.1)
            assert abs(values.mean()) < 5 * values.std() / np.sqrt(values.size)
        elif parameter.name == "classifier.weight":
            assert values.std() == pytest.approx(np.sqrt(2 / (128 + 10)), rel=0.1)
        else:
            ones = parameter.name.endswith(("gamma", "moving_variance"))
            assert (values == (1 if ones else 0)).all()


def test_initial_weights_of_resnets():
    """As torchvision: the classifier uniform in ±1/√fan-in, convolutions He-normal by fan-out."""
    weights = {p.name: p.asnumpy() for p in create_model("resnet18", 1000).get_parameters()}
    for name in ("fc.weight", "fc.bias"):
        bound = 1 / np.sqrt(512)
        assert np.abs(weights[name]).max() <= bound * (1 + 1e-6)
        assert np.abs(weights[name]).max() > 0.99 * bound
        # A uniform variable's standard deviation is its half width over √3.
        assert weights[name].std() == pytest.approx(bound / np.sqrt(3), rel=0.05)
    assert weights["conv1.weight"].std() == pytest.approx(np.sqrt(2 / (64 * 49)), rel=0.05)


@pytest.mark.parametrize("settings", [{"depth": 12}, {"depth": 4}, {"widen_factor": 0}])
def test_wide_resnet_refuses_impossible_shapes(settings):
    with pytest.raises(ValueError, match="must be"):
        create_model("wideresnet", 10, **settings)


def test_unknown_name():
    with pytest.raises(ValueError, match="unknown model 'vgg'; choose one of wideresnet"):
        create_model("vgg", 10)


def _conv(x, weight, stride=1):
    pad = weight.shape[2] // 2
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    n, _, height, width = x.shape
    size = weight.shape[2]
    rows, columns = range(0, height - size + 1, stride), range(0, width - size + 1, stride)
    out = np.zeros((n, weight.shape[0], len(rows), len(columns)))
    for i, r in enumerate(rows):
        for j, c in enumerate(columns):
            out[:, :, i, j] = np.tensordot(
                x[:, :, r : r + size, c : c + size], weight, ((1, 2, 3), (1, 2, 3))
            )
    return out


def test_wide_resnet_equals_a_numpy_forward_pass():
    """Depth 10, widen factor 1, random running statistics, after METHOD's description."""
    rng = np.random.default_rng(0)
    network = create_model("wideresnet", 5, depth=10, widen_factor=1).set_train(False)
    p = {}
    for parameter in network.get_parameters():
        if parameter.ndim == 1:
            parameter.set_data(Tensor(rng.uniform(0.5, 1.5, parameter.shape).astype(np.float32)))
        p[parameter.name] = parameter.asnumpy().astype(np.float64)

    def norm_relu(x, name):
        mean, var, gamma, beta = (
            p[f"{name}.{part}"][:, None, None]
            for part in ("moving_mean", "moving_variance", "gamma", "beta")
        )
        x = (x - mean) / np.sqrt(var + 1e-5) * gamma + beta
        return np.where(x > 0, x, 0.1 * x)

    images = rng.normal(0, 1, (2, 3, 12, 12))
    x = _conv(images, p["stem.weight"])
    for block, stride in enumerate((1, 2, 2)):
        name = f"blocks.{block}"
        active = norm_relu(x, f"{name}.norm1")
        branch = _conv(active, p[f"{name}.conv1.weight"], stride)
        branch = _conv(norm_relu(branch, f"{name}.norm2"), p[f"{name}.conv2.weight"])
        shortcut = active if block == 0 else _conv(x, p[f"{name}.shortcut.weight"], stride)
        x = shortcut + branch
    expected = norm_relu(x, "norm").mean((2, 3)) @ p["classifier.weight"].T + p["classifier.bias"]
    logits = network(Tensor(images.astype(np.float32))).asnumpy()
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


def test_normalize():
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3), dtype=np.uint8)
    mean, std = np.array([0.4, 0.5, 0.6]), np.array([0.2, 0.25, 0.3])
    expected = ((images / 255 - mean) / std).transpose(0, 3, 1, 2)
    found = Normalize(mean.tolist(), std.tolist())(Tensor(images)).asnumpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
