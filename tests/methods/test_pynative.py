"""--mode pynative: the same steps, operator by operator."""

import gc
import json

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, ops
from running import ERM, TINY, assert_refused, rows, weights
from small_network import SmallNetwork, make_batches, run
from test_train_step import ORACLE_SETTING, ORACLE_STEP, PERTURBATION, assert_same, make_pair

from sharpdro.methods.base import TrainStep, measured
from sharpdro.training.nan_guard import NanGuard, create_loss_scaler
from sharpdro.training.optimizer import create_sgd

WEIGHTED = {"step_size": 0.5, "group_adjustment": 2.0, "group_sizes": (60, 30, 9, 0)}
CASES = [
    ("sharpdro", {**PERTURBATION, **WEIGHTED, "absent_groups": "ema", "clip_grad": 0.9}),
    ("irm", {"irm_lambda": 20.0, "irm_warmup": 1}),
    *(
        pytest.param(method, settings, marks=pytest.mark.slow)
        for method, settings in (
            ("erm", {}),
            ("jtt", {}),
            ("sam", {**PERTURBATION, "is_adaptive": True}),
            ("sharpdro_agnostic", {**PERTURBATION, "ood_score": "kurtosis"}),
            ("groupdro", {**WEIGHTED, "absent_groups": "zero"}),
            ("eiil", {**WEIGHTED, "absent_groups": "keep"}),
            ("vrex", {"vrex_beta": 20.0, "vrex_warmup": 2}),
        )
    ),
]


@pytest.fixture
def pynative():
    """The mode, for one test."""
    ms.set_context(mode=ms.PYNATIVE_MODE)
    yield
    ms.set_context(mode=ms.GRAPH_MODE)
    gc.collect()


@pytest.mark.parametrize(("method", "settings"), CASES, ids=str)
def test_step_follows_oracle(pynative, method, settings):
    rng = np.random.default_rng(1)
    network, step, expected = make_pair(rng, method, **settings)
    oracle_step = getattr(expected, f"{ORACLE_STEP.get(method, method)}_step")
    oracle_settings = {ORACLE_SETTING.get(k, k): v for k, v in settings.items()}
    oracle_settings.pop("clip_grad", None)
    for batch in make_batches(rng, 3):
        found = run(step, *batch)
        losses, norm, *_ = oracle_step(*batch, **oracle_settings)
        np.testing.assert_allclose(found.per_sample_loss, losses, rtol=2e-4, atol=1e-6)
        assert found.gradient_norm == pytest.approx(norm, rel=2e-4)
        assert_same(network, step, expected)


def test_python_runs_inside_a_step(pynative):
    """So print and pdb do, on values that are there: in graph mode it is translated, once."""
    seen = []

    class Watched(TrainStep):
        def watched_loss(self, images, labels):
            logits, losses = self.forward(images, labels)
            seen.append(losses.asnumpy())
            return losses.mean(), logits, losses

        def construct(self, images, labels, groups):
            (_, logits, losses), gradients = self.gradients_of(self.watched_loss)(images, labels)
            seen.append(gradients[0].asnumpy())
            return measured(logits, losses, labels, gradients, after=self.descend(gradients))

    network = SmallNetwork()
    step = Watched(network, create_sgd(network.trainable_params(), 0.1, 0.9, 0.0), 4).set_train()
    for batch in make_batches(np.random.default_rng(0), 2):
        found = run(step, *batch)
        np.testing.assert_array_equal(seen[-2], found.per_sample_loss)
        assert seen[-1].shape == (4, 3, 3, 3) and seen[-1].any()
    assert len(seen) == 4


@pytest.mark.parametrize("is_scaled", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_step_that_is_not_finite_is_taken_back(pynative, is_scaled):
    scaler = create_loss_scaler() if is_scaled else None
    network, step, _ = make_pair(np.random.default_rng(1), "sharpdro", loss_scaler=scaler)
    guard = NanGuard(step)
    images, labels, groups = next(make_batches(np.random.default_rng(0), 1))
    assert run(guard, images, labels, groups).was_applied
    before = {p.name: p.asnumpy().copy() for p in network.get_parameters()}
    too_large = np.full_like(images, np.inf)
    assert not run(guard, too_large, labels, groups).was_applied
    for parameter in network.get_parameters():
        np.testing.assert_array_equal(parameter.asnumpy(), before[parameter.name])
    # The step after it is that of a network that was never given such images, whatever the scale.
    assert run(guard, images, labels, groups).was_applied
    other, plain, _ = make_pair(np.random.default_rng(1), "sharpdro")
    for _ in range(2):
        run(plain, images, labels, groups)
    for found, expected in zip(network.get_parameters(), other.get_parameters()):
        np.testing.assert_allclose(found.asnumpy(), expected.asnumpy(), rtol=1e-5, atol=1e-6)


def test_learning_rate_that_a_trainer_sets_is_the_one_used(pynative):
    """Gradients of 1: every step moves by its rate. (What set_data writes is not seen.)"""
    parameter = Parameter(Tensor(np.zeros(3), ms.float32), name="w")
    optimizer = create_sgd([parameter], 0.1, 0.0, 0.0)
    places = []
    for rate in (0.1, 0.01, 0.5):
        ops.Assign()(optimizer.learning_rate, Tensor(rate, ms.float32))  # as Trainer does
        optimizer((Tensor(np.ones(3), ms.float32),))
        places.append(float(parameter.asnumpy()[0]))
    np.testing.assert_allclose(places, [-0.1, -0.11, -0.61], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("flags", [ERM, ("--method", "sharpdro", "--on_nan", "skip")], ids=str)
def test_whole_run_comes_to_about_the_same(request, capsys, flags):
    start = request.getfixturevalue("run")
    compiled, plain = start(*flags), start(*flags, "--mode", "pynative")
    modes = [
        json.loads((folder / "settings.json").read_text())["settings"]["mode"]
        for folder in (compiled, plain)
    ]
    assert modes == ["graph", "pynative"]
    for expected, found in zip(rows(compiled / "train.csv"), rows(plain / "train.csv")):
        assert float(found["loss"]) == pytest.approx(float(expected["loss"]), rel=0.02)
    expected, found = weights(compiled), weights(plain)
    for name in [name for name in expected if name.endswith("weight")]:
        error = np.linalg.norm(found[name] - expected[name])
        assert error <= 0.02 * np.linalg.norm(expected[name]), name
    other = ["--log_dir", plain.parent, "--resume", "--data_dir", start.data_dir]
    text = f"--mode is graph, but {plain} was started with pynative: give the same, or choose"
    assert_refused(capsys, [*TINY, *flags, *other], text)
