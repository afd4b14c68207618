"""Steps that are taken back, the loss scale, float16."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor
from small_network import SmallNetwork, load, make_batches, random_parameters, run

from models import create_model
from sharpdro.methods.create import create_train_step
from sharpdro.training import nan_guard
from sharpdro.training.nan_guard import NanGuard, create_loss_scaler
from sharpdro.training.optimizer import create_sgd

METHODS = {
    "sharpdro": {"absent_groups": "ema"},
    "sharpdro_agnostic": {},
    "groupdro": {},
    "irm": {"irm_warmup": 1, "clip_grad": 0.55},  # its gradients: 0.63, 0.50, 0.58
}


def make_step(method, loss_scaler=None, **settings):
    network = SmallNetwork()
    load(network, random_parameters(np.random.default_rng(3)))
    optimizer = create_sgd(network.trainable_params(), 0.2, 0.9, 0.02)
    return create_train_step(method, network, optimizer, 4, loss_scaler=loss_scaler, **settings)


def bits(cell):
    return {p.name: p.asnumpy().tobytes() for p in cell.get_parameters()}


@pytest.mark.parametrize(
    ("method", "is_scaled"),
    [
        ("sharpdro", False),
        *(pytest.param(m, True, marks=pytest.mark.slow) for m in METHODS),
    ],
)
def test_guarded_step_is_the_step_or_nothing(method, is_scaled):
    """A power of two changes no bit, were it not taken out again before the perturbation."""
    plain = make_step(method, **METHODS[method])
    scaler = create_loss_scaler() if is_scaled else None
    guarded = NanGuard(make_step(method, scaler, **METHODS[method]))
    for i, batch in enumerate(make_batches(np.random.default_rng(0), 3)):
        expected, found = run(plain, *batch), run(guarded, *batch)
        assert found.was_applied and (found.loss_scale == 2.0**16 if is_scaled else True)
        for name, value in found._replace(was_applied=None, loss_scale=None)._asdict().items():
            np.testing.assert_array_equal(value, getattr(expected, name), err_msg=name)
        if i < 2:
            continue
        before = bits(guarded)
        images = batch[0].copy()
        images[3, 0, 0, 0] = np.nan
        assert not run(guarded, images, *batch[1:]).was_applied
        changed = {name for name, value in bits(guarded).items() if value != before[name]}
        assert changed == ({"scale_value", "counter"} if is_scaled else set())
    finished = bits(plain)
    assert finished.items() <= before.items() and len(finished) > 10


def test_loss_scale_is_halved_until_gradients_fit_and_then_doubled(monkeypatch):
    monkeypatch.setattr(nan_guard, "_FIRST_SCALE", 2.0**127)
    monkeypatch.setattr(nan_guard, "_STEPS_PER_DOUBLING", 2)
    guarded = NanGuard(make_step("sharpdro", create_loss_scaler()))
    ((images, labels, groups),) = make_batches(np.random.default_rng(0), 1)
    batch = images * 10, labels, groups
    begun = bits(guarded.step)
    applied, scales = [], []
    for _ in range(12):
        found = run(guarded, *batch)
        values = [value for value in found if value is not None]
        assert all(np.isfinite(value).all() for value in values) or not found.was_applied
        applied.append(bool(found.was_applied))
        scales.append(float(found.loss_scale))
        assert scales[-1] == float(guarded.loss_scale.asnumpy())
        if not found.was_applied:
            assert bits(guarded.step) == begun
            assert scales[-1] == 2.0 ** (127 - len(scales))
        elif applied.count(True) == 2:
            assert scales[-1] == 2 * scales[-2] == 2 * scales[-3]
            break
    assert applied == [False] * (len(applied) - 2) + [True, True] and len(applied) > 2


def test_loss_scale_stays_above_1(monkeypatch):
    monkeypatch.setattr(nan_guard, "_FIRST_SCALE", 2.0)
    guarded = NanGuard(make_step("erm", create_loss_scaler()))
    ((images, labels, groups),) = make_batches(np.random.default_rng(0), 1)
    for _ in range(2):
        assert run(guarded, images + np.inf, labels, groups).loss_scale == 1


@pytest.mark.parametrize(
    "level", ["O2", *(pytest.param(level, marks=pytest.mark.slow) for level in ("auto", "O3"))]
)
def test_networks_in_float16_keep_their_parameters(level):
    images = Tensor(np.random.default_rng(5).normal(0, 1, (8, 3, 32, 32)), ms.float32)
    exact, rough = (create_model("wideresnet", 4, depth=10, widen_factor=1) for _ in range(2))
    ms.load_param_into_net(rough, exact.parameters_dict())
    names = [p.name for p in exact.get_parameters()]
    network = ms.amp.auto_mixed_precision(rough, level).set_train(False)
    expected = exact.set_train(False)(images).asnumpy()
    assert [p.name for p in network.get_parameters()] == names
    assert {p.dtype for p in network.get_parameters()} == {ms.float32}
    found = network(images).asnumpy()
    assert found.dtype == np.float32 and (found != expected).any()
    np.testing.assert_allclose(found, expected, atol=0.01 * np.abs(expected).max())


@pytest.mark.slow
@pytest.mark.parametrize("level", ["O2", "auto", "O3"])
def test_steps_in_float16_come_to_about_the_same(level):
    exact = make_step("sharpdro")
    network = SmallNetwork()
    load(network, random_parameters(np.random.default_rng(3)))
    begun = {p.name: p.asnumpy().copy() for p in network.get_parameters()}
    network = ms.amp.auto_mixed_precision(network, level)
    optimizer = create_sgd(network.trainable_params(), 0.2, 0.9, 0.02)
    scaler = create_loss_scaler()
    rough = NanGuard(create_train_step("sharpdro", network, optimizer, 4, loss_scaler=scaler))
    for batch in make_batches(np.random.default_rng(0), 2):
        run(exact, *batch)
        assert run(rough, *batch).was_applied
    expected = {p.name: p.asnumpy() for p in exact.network.get_parameters()}
    differ = 0
    for parameter in network.get_parameters():
        update, wanted = (
            v - begun[parameter.name] for v in (parameter.asnumpy(), expected[parameter.name])
        )
        assert np.linalg.norm(update - wanted) < 0.03 * np.linalg.norm(wanted), parameter.name
        differ += (update != wanted).any()
    assert differ == len(begun)
