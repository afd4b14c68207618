"""The compiled training steps against independent versions."""

import numpy as np
import oracle
import pytest
from mindspore import Tensor
from networks import ORACLE_NAMES, SmallNetwork, load, random_parameters

from sharpdro.optimizer import create_sgd
from sharpdro.train_step import create_train_step

NUM_GROUPS, LR, MOMENTUM, WEIGHT_DECAY = 4, 0.2, 0.9, 0.02


def make_batches(rng, count, size=12):
    """Batches in which group 2 is absent from the second and group 3 from all."""
    for i in range(count):
        groups = rng.integers(0, 3, size)
        groups[:3] = (0, 1, 2)
        if i == 1:
            groups[groups == 2] = 1
        yield rng.normal(0, 1, (size, 3, 6, 5)), rng.integers(0, 3, size), groups


def make_pair(rng, method, **settings):
    parameters = random_parameters(rng)
    network = SmallNetwork()
    load(network, parameters)
    optimizer = create_sgd(network.trainable_params(), LR, MOMENTUM, WEIGHT_DECAY)
    step = create_train_step(method, network, optimizer, NUM_GROUPS, **settings)
    return network, step, oracle.Oracle(parameters, NUM_GROUPS, LR, MOMENTUM, WEIGHT_DECAY)


def run(step, images, labels, groups):
    outputs = step(
        Tensor(images.astype("float32")),
        Tensor(labels.astype("int32")),
        Tensor(groups.astype("int32")),
    )
    return [output.asnumpy() for output in outputs]


def assert_same(network, step, expected):
    values = {p.name: p.asnumpy() for p in network.get_parameters()}
    for short, name in ORACLE_NAMES.items():
        np.testing.assert_allclose(
            values[name], expected.p[short], rtol=2e-4, atol=2e-6, err_msg=name
        )
    np.testing.assert_allclose(
        values["norm.moving_mean"], expected.running_mean, rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(values["norm.moving_variance"], expected.running_var, rtol=1e-4)
    np.testing.assert_allclose(step.group_weights.asnumpy(), expected.q, rtol=1e-5)


def test_oracle_gradient_is_the_slope_of_its_loss():
    rng = np.random.default_rng(5)
    p = random_parameters(rng)
    images, labels, _ = next(make_batches(rng, 1))
    weights = rng.random(len(labels))

    def loss(at):
        return weights @ oracle.losses(oracle.forward(at, images)[0], labels)

    g = oracle.gradient(p, images, labels, weights)
    for name in oracle.NAMES:
        direction = rng.normal(0, 1, p[name].shape)
        step = 1e-6 * direction
        slope = (loss({**p, name: p[name] + step}) - loss({**p, name: p[name] - step})) / 2e-6
        assert slope == pytest.approx((g[name] * direction).sum(), rel=1e-4)


def test_erm_follows_oracle():
    rng = np.random.default_rng(0)
    network, step, expected = make_pair(rng, "erm")
    for batch in make_batches(rng, 3):
        losses, correct, gradient_norm = run(step, *batch)
        expected_losses, expected_norm = expected.erm_step(*batch)
        np.testing.assert_allclose(losses, expected_losses, rtol=1e-4, atol=1e-6)
        assert gradient_norm == pytest.approx(expected_norm, rel=1e-4)
    assert_same(network, step, expected)


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("steps", [1, 3])
def test_sharpdro_follows_oracle(adaptive, steps):
    rng = np.random.default_rng(1)
    settings = {"rho": 0.4, "step_size": 0.5}
    network, step, expected = make_pair(rng, "sharpdro", is_adaptive=adaptive, **settings)
    for images, labels, groups in make_batches(rng, steps):
        logits = oracle.forward(expected.p, images)[0]
        losses, correct, gradient_norm = run(step, images, labels, groups)
        expected_losses, expected_norm = expected.sharpdro_step(
            images, labels, groups, adaptive=adaptive, **settings
        )
        np.testing.assert_allclose(losses, expected_losses, rtol=2e-4, atol=1e-6)
        np.testing.assert_array_equal(correct, logits.argmax(1) == labels)
        assert gradient_norm == pytest.approx(expected_norm, rel=2e-4)
    assert_same(network, step, expected)
