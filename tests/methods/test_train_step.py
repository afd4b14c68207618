"""The compiled training steps against independent versions."""

import re
import warnings

import mindspore as ms
import numpy as np
import oracle
import pytest
from mindspore import Tensor, nn, ops
from small_network import ORACLE_NAMES, SmallNetwork, load, make_batches, random_parameters, run

from models import create_model
from sharpdro.methods.create import create_train_step
from sharpdro.methods.group_weights import ascend
from sharpdro.methods.irm_vrex import irm_penalty
from sharpdro.methods.specs import ABSENT_GROUPS, METHODS, OOD_SCORES
from sharpdro.training.optimizer import create_sgd

NUM_GROUPS, LR, MOMENTUM, WEIGHT_DECAY = 4, 0.2, 0.9, 0.02


def make_pair(rng, method, **settings):
    parameters = random_parameters(rng)
    network = SmallNetwork()
    load(network, parameters)
    optimizer = create_sgd(network.trainable_params(), LR, MOMENTUM, WEIGHT_DECAY)
    step = create_train_step(method, network, optimizer, NUM_GROUPS, **settings)
    expected = oracle.Oracle(parameters, NUM_GROUPS, LR, MOMENTUM, WEIGHT_DECAY)
    expected.clip_grad = settings.get("clip_grad", np.inf)
    if "group_sizes" in settings:  # an empty group has no weight
        expected.q = np.array([1, 1, 1, 0]) / 3
    return network, step, expected


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
    np.testing.assert_allclose(step.group_weights.asnumpy(), expected.q, rtol=1e-5, atol=1e-20)


PERTURBATION = {"rho": 0.4, "is_adaptive": False}
SIZES = (60, 30, 9, 0)
ADJUSTED = {"step_size": 0.5, "group_adjustment": 2.0, "group_sizes": SIZES}


def slow(*case):
    """A case much like others: every one compiles a step."""
    return pytest.param(*case, marks=pytest.mark.slow)


CASES = [
    ("erm", {}),
    slow("jtt", {}),
    slow("sam", PERTURBATION),
    ("sam", {**PERTURBATION, "is_adaptive": True}),
    ("sharpdro", {**PERTURBATION, "step_size": 0.5, "clip_grad": 0.9}),
    slow("sharpdro", {**PERTURBATION, "is_adaptive": True, "step_size": 0.5}),
    *(slow("sharpdro", {**PERTURBATION, **ADJUSTED, "absent_groups": a}) for a in ABSENT_GROUPS),
    *(slow("groupdro", {**ADJUSTED, "absent_groups": a}) for a in ("zero", "ema")),
    ("groupdro", {**ADJUSTED, "absent_groups": "keep"}),
    slow("groupdro", {"step_size": 0.5}),
    slow("eiil", {"step_size": 0.5, "absent_groups": "keep"}),
    ("sharpdro_agnostic", {**PERTURBATION, "ood_score": OOD_SCORES[0]}),
    *(slow("sharpdro_agnostic", {**PERTURBATION, "ood_score": s}) for s in OOD_SCORES[1:]),
    slow("sharpdro_agnostic", {"rho": 0.4, "is_adaptive": True, "ood_score": "confidence_drop"}),
    ("irm", {"irm_lambda": 20.0, "irm_warmup": 1}),
    slow("irm", {"irm_lambda": 0.5, "irm_warmup": 0}),
    ("vrex", {"vrex_beta": 20.0, "vrex_warmup": 2}),
    slow("vrex", {"vrex_beta": 0.5, "vrex_warmup": 0}),
]
# The oracle's step of a method that has none of its own, and its words for the settings.
ORACLE_STEP = {"jtt": "erm", "eiil": "groupdro"}
ORACLE_SETTING = {"is_adaptive": "adaptive", "group_adjustment": "adjustment"}


@pytest.mark.parametrize(("method", "settings"), CASES, ids=str)
def test_step_follows_oracle(method, settings):
    """Weights, running statistics, group weights, what is returned, after each of three steps."""
    rng = np.random.default_rng(1)
    network, step, expected = make_pair(rng, method, **settings)
    oracle_step = getattr(expected, f"{ORACLE_STEP.get(method, method)}_step")
    oracle_settings = {ORACLE_SETTING.get(k, k): v for k, v in settings.items()}
    clip_grad = oracle_settings.pop("clip_grad", None)
    for images, labels, groups in make_batches(rng, 3):
        logits = oracle.forward(expected.p, images)[0]
        found = run(step, images, labels, groups)
        expected_losses, expected_norm, *expected_scores = oracle_step(
            images, labels, groups, **oracle_settings
        )
        np.testing.assert_allclose(found.per_sample_loss, expected_losses, rtol=2e-4, atol=1e-6)
        np.testing.assert_array_equal(found.is_correct, logits.argmax(1) == labels)
        assert found.gradient_norm == pytest.approx(expected_norm, rel=2e-4)
        assert (found.ood_scores is not None) == bool(expected_scores)
        if expected_scores:
            np.testing.assert_allclose(found.ood_scores, expected_scores[0], rtol=1e-3, atol=1e-5)
        assert (found.group_weights is not None) == METHODS[method].weights_groups
        if found.group_weights is not None:
            np.testing.assert_array_equal(found.group_weights, step.group_weights.asnumpy())
        assert_same(network, step, expected)
    moved = np.abs(step.group_weights.asnumpy()[:2] - step.group_weights.asnumpy()[0]).max() > 1e-3
    assert moved == METHODS[method].weights_groups
    if clip_grad is not None:  # there were longer gradients, and shorter ones
        assert min(expected.lengths) < clip_grad < max(expected.lengths), expected.lengths


def test_irm_penalty_is_unbiased():
    """Means over many batches are the squared slopes of the whole groups.

    The square of a batch's mean slope, as in IRMv1's formula, is not: it is too large by the
    slopes' variance over the number of samples.
    """
    rng, sizes = np.random.default_rng(0), (2, 3, 8)
    whole = [rng.normal(mean, 1.0, 50) for mean in (0.0, 0.3, -0.5)]
    membership = np.repeat(np.eye(3), sizes, axis=0)[rng.permutation(sum(sizes))]
    estimate = ms.jit(irm_penalty)
    found, plain = [], []
    for _ in range(800):
        slopes = sum(membership[:, s] * rng.choice(whole[s], len(membership)) for s in range(3))
        found.append(estimate(*(Tensor(a, ms.float32) for a in (slopes, membership))).asnumpy())
        plain.append((slopes @ membership / sizes) ** 2)
    true = np.array([slopes.mean() ** 2 for slopes in whole])
    for estimates, is_biased in ((found, False), (plain, True)):
        errors = np.mean(estimates, 0) - true
        standard_errors = np.std(estimates, 0) / np.sqrt(len(estimates))
        assert ((np.abs(errors) > 4 * standard_errors) == is_biased).all(), errors


def test_group_weights_by_hand():
    """Zero logits: every loss is ln 3, so a present group's factor is 3^η and an absent one's 1."""
    network = SmallNetwork()
    load(network, {"weight": np.zeros((3, 4)), "bias": np.zeros(3)})
    step = create_train_step("sharpdro", network, _sgd(network, lr=0.0), 3, step_size=2.0)
    run(step, np.ones((4, 3, 5, 5)), np.zeros(4), np.array([0, 0, 0, 2]))
    # 9, 1, 9 over their sum
    np.testing.assert_allclose(step.group_weights.asnumpy(), [9 / 19, 1 / 19, 9 / 19], rtol=1e-5)


@pytest.mark.parametrize(
    ("weights", "exponents", "takes_part", "expected"),
    [
        ([0, 1], [200, 0], [1, 1], [1, 0]),  # e²⁰⁰ beats a weight that float32 has lost
        ([0, 0, 1], [0.1, 0.2, 0], [1, 1, 0], [0, 0, 1]),
        ([0.5, 0.5], [1000, 999], [1, 1], [0.7310586, 0.2689414]),  # e and 1 over their sum
        ([0.2, 0.2, 0.6], [0, np.log(3), 5], [1, 1, 0], [0.1, 0.3, 0.6]),
    ],
)
def test_ascent_stays_finite(weights, exponents, takes_part, expected):
    arguments = (np.array(weights, np.float32), np.array(exponents, np.float32))
    found = ascend(*map(Tensor, arguments), Tensor(np.array(takes_part, bool))).asnumpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-20)


STATEFUL = [
    slow("irm", {"irm_lambda": 20.0, "irm_warmup": 2}),
    ("groupdro", {"step_size": 0.5, "absent_groups": "ema"}),
]


@pytest.mark.parametrize(("method", "settings"), STATEFUL, ids=["irm", "ema"])
def test_what_a_step_remembers_is_in_its_parameters(method, settings):
    """Two steps, their parameters into a new step, a third: as three steps of one."""
    batches = list(make_batches(np.random.default_rng(3), 3))
    _, whole, _ = make_pair(np.random.default_rng(4), method, **settings)
    _, second, _ = make_pair(np.random.default_rng(4), method, **settings)
    for number, batch in enumerate(batches):
        if number == 2:
            for a, b in zip(whole.get_parameters(), second.get_parameters()):
                b.set_data(Tensor(a.asnumpy().copy()))
            run(second, *batch)
        run(whole, *batch)
    for a, b in zip(whole.get_parameters(), second.get_parameters()):
        np.testing.assert_array_equal(a.asnumpy(), b.asnumpy(), err_msg=a.name)


def test_momentum_starts_anew_after_a_warmup():
    """The step after it is the first one of a new optimizer."""
    *before, batch = make_batches(np.random.default_rng(3), 4)
    networks, steps = [SmallNetwork(), SmallNetwork()], []
    for network, warmup in zip(networks, (3, 0)):
        load(network, random_parameters(np.random.default_rng(4)))
        optimizer = nn.Momentum(network.trainable_params(), 0.01, 0.9)
        settings = {"irm_lambda": 20.0, "irm_warmup": warmup}
        steps.append(create_train_step("irm", network, optimizer, NUM_GROUPS, **settings))
    for earlier in before:
        run(steps[0], *earlier)
    for parameter, other in zip(*(network.get_parameters() for network in networks)):
        other.set_data(Tensor(parameter.asnumpy().copy()))
    for step in steps:
        run(step, *batch)
    found, expected = (network.conv.weight.asnumpy() for network in networks)
    np.testing.assert_array_equal(found, expected)


def test_momentum_that_cannot_start_anew_is_refused():
    network = SmallNetwork()
    optimizer = nn.Adam(network.trainable_params(), 0.01)
    with pytest.raises(ValueError, match="momentum of Adam cannot .* use SGD or Momentum, or no"):
        create_train_step("irm", network, optimizer, NUM_GROUPS, irm_warmup=1)
    create_train_step("irm", network, optimizer, NUM_GROUPS)  # has no warm-up


def _sgd(network, lr):
    return create_sgd(network.trainable_params(), lr, 0.9, 0.0)


def test_pass_2_leaves_the_running_statistics():
    """A far perturbation changes nothing in the running statistics, and θ is put back exactly."""
    rng = np.random.default_rng(3)
    batch = next(make_batches(rng, 1))
    parameters = random_parameters(rng)
    results = []
    for rho in (0.0, 50.0):
        network = SmallNetwork()
        load(network, parameters)
        step = create_train_step("sharpdro", network, _sgd(network, lr=0.0), NUM_GROUPS, rho=rho)
        run(step, *batch)
        results.append({p.name: p.asnumpy().copy() for p in network.get_parameters()})
    for name in results[0]:
        np.testing.assert_array_equal(results[0][name], results[1][name], err_msg=name)


def test_weight_decay_reaches_every_parameter():
    """Without gradients SGD multiplies each parameter by 1 − lr · weight decay, scale included."""
    network = SmallNetwork()
    load(network, random_parameters(np.random.default_rng(0)))
    before = {p.name: p.asnumpy().copy() for p in network.trainable_params()}
    optimizer = create_sgd(network.trainable_params(), 0.5, 0.9, 0.2)
    optimizer(tuple(Tensor(np.zeros_like(value)) for value in before.values()))
    for parameter in network.trainable_params():
        np.testing.assert_allclose(parameter.asnumpy(), 0.9 * before[parameter.name], rtol=1e-6)


@pytest.mark.parametrize("method", ["sharpdro", slow("erm")])
def test_toy_problem_is_learnt_without_error(method):
    """Three patterns in noise, two groups: every image right within 60 steps."""
    rng = np.random.default_rng(0)
    patterns = rng.normal(0, 1, (3, 3, 6, 6))
    network = SmallNetwork(channels=8)
    rng_parameters = random_parameters(rng, channels=8)
    load(network, rng_parameters)
    step = create_train_step(method, network, _sgd(network, lr=0.1), 2)
    for _ in range(60):
        labels = rng.integers(0, 3, 30)
        groups = rng.integers(0, 2, 30)
        noise = rng.normal(0, 1, (30, 3, 6, 6)) * (0.1 + 0.3 * groups[:, None, None, None])
        found = run(step, patterns[labels] + noise, labels, groups)
    assert found.is_correct.all()


def test_unknown_method():
    with pytest.raises(ValueError, match="unknown method 'adam'; choose one of sharpdro, "):
        create_train_step("adam", None, None, 2)


class Gradients(nn.Cell):
    """Per-sample losses and the gradients of Σ w_i ℓ_i.

    A cell, because a compiled function would not see what set_data puts into its parameters.
    """

    def __init__(self, network):
        super().__init__()
        self.network = network
        weights = network.trainable_params()
        self.differentiate = ms.value_and_grad(self.loss, None, weights, has_aux=True)

    def loss(self, images, labels, weights):
        losses = ops.cross_entropy(self.network(images), labels, reduction="none")
        return (losses * weights).sum(), losses

    def construct(self, images, labels, weights):
        return self.differentiate(images, labels, weights)


def plain_step(network, batch, velocity, q, rho, step_size, lr):
    """The same step one thing after the other: gradients from MindSpore, all else on the host."""
    images, labels, groups = batch
    parameters = network.trainable_params()
    statistics = [p for p in network.get_parameters() if "moving" in p.name]
    differentiate = Gradients(network).set_train()
    x, y = Tensor(images.astype("float32")), Tensor(labels.astype("int32"))
    weights = np.full(len(labels), 1 / len(labels), np.float32)
    (_, losses), first = differentiate(x, y, Tensor(weights))
    losses, first = losses.asnumpy(), [g.asnumpy().astype(np.float64) for g in first]
    kept = {p.name: p.asnumpy().copy() for p in [*parameters, *statistics]}
    length = np.sqrt(sum((g**2).sum() for g in first))
    for parameter, gradient in zip(parameters, first):
        moved = kept[parameter.name] + rho * gradient / (length + 1e-12)
        parameter.set_data(Tensor(moved.astype(np.float32)))
    for s in range(len(q)):
        q[s] *= np.exp(step_size * losses[groups == s].mean()) if (groups == s).any() else 1
    q /= q.sum()
    counts = np.bincount(groups, minlength=len(q))
    _, second = differentiate(x, y, Tensor((q / np.maximum(counts, 1))[groups].astype(np.float32)))
    updates = {}
    for parameter, a, b in zip(parameters, first, second):
        theta = kept[parameter.name]
        decayed = a + b.asnumpy() + WEIGHT_DECAY * theta
        velocity[parameter.name] = MOMENTUM * velocity.get(parameter.name, 0) + decayed
        updates[parameter.name] = theta - lr * velocity[parameter.name]
    for parameter in parameters:
        parameter.set_data(Tensor(updates[parameter.name].astype(np.float32)))
    for parameter in statistics:
        parameter.set_data(Tensor(kept[parameter.name]))


@pytest.mark.parametrize("depth", [10, pytest.param(28, marks=pytest.mark.slow)])
def test_wide_resnet_follows_a_plain_version(depth):
    """Two steps on WideResNet-28-2, and on WideResNet-10-1, agree to the noise of float32."""
    rng = np.random.default_rng(0)
    batches = [
        (rng.normal(0, 1, (12, 3, 32, 32)), rng.integers(0, 10, 12), rng.integers(0, 3, 12))
        for _ in range(2)
    ]
    rho, step_size, lr = 0.05, 0.01, 0.1
    shape = {"depth": depth, "widen_factor": 1 if depth == 10 else 2}
    compiled, plain = (create_model("wideresnet", 10, **shape) for _ in range(2))
    plain.set_train()
    start = {}
    for a, b in zip(compiled.get_parameters(), plain.get_parameters()):
        b.set_data(Tensor(a.asnumpy().copy()))
        start[a.name] = a.asnumpy().copy()
    optimizer = create_sgd(compiled.trainable_params(), lr, MOMENTUM, WEIGHT_DECAY)
    step = create_train_step(
        "sharpdro", compiled, optimizer, NUM_GROUPS, rho=rho, step_size=step_size
    )
    velocity, q = {}, np.full(NUM_GROUPS, 1 / NUM_GROUPS)
    # The noise of float32 in the first update grows in the second step.
    for batch, limits in zip(batches, ((0.02, 1e-5, 1e-6), (0.1, 0.01, 2e-4))):
        run(step, *batch)
        plain_step(plain, batch, velocity, q, rho, step_size, lr)
        update_limit, statistics_limit, weight_limit = limits
        np.testing.assert_allclose(step.group_weights.asnumpy(), q, rtol=weight_limit)
        for a, b in zip(compiled.get_parameters(), plain.get_parameters()):
            moved, expected = a.asnumpy() - start[a.name], b.asnumpy() - start[a.name]
            limit = statistics_limit if "moving" in a.name else update_limit
            error = np.linalg.norm(moved - expected) / np.linalg.norm(expected)
            assert error <= limit, a.name


def test_groups_that_are_none_are_refused():
    """They would count for nothing in silence."""
    network = SmallNetwork()
    sizes = {"group_sizes": [4, 0, 2]}
    step = create_train_step("groupdro", network, _sgd(network, lr=0.1), 3, **sizes)
    assert step.group_weights.asnumpy().tolist() == [0.5, 0, 0.5]
    images, labels = np.zeros((2, 3, 8, 8), np.float32), np.zeros(2, np.int32)
    for groups in ([0, 3], [-1, 0]):
        with pytest.raises(ValueError, match="groups are 0 … 2, not "):
            step(Tensor(images), Tensor(labels), Tensor(np.array(groups, np.int32)))


def test_group_sizes_that_are_not_given_are_missed():
    """Without them a group that has no training image starts with a weight like any other."""
    network = SmallNetwork()
    with pytest.warns(UserWarning, match=r"no group_sizes: .* np\.bincount\(groups, minlength="):
        create_train_step("sharpdro", network, _sgd(network, lr=0.1), 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        create_train_step("erm", network, _sgd(network, lr=0.1), 3)
        create_train_step("sharpdro", network, _sgd(network, lr=0.1), 3, group_sizes=[1, 2, 0])


@pytest.mark.parametrize(
    ("method", "num_groups", "settings", "text"),
    [
        ("sharpdro", 3, {"rho": -1}, "rho: -1 is not a number >= 0"),
        ("sharpdro", 3, {"rho": "0.1"}, "rho: '0.1' is of the wrong type"),
        ("sharpdro", 3, {"rho": float("nan")}, "rho: nan is not a number"),
        ("sharpdro", 3, {"is_adaptive": 1}, "is_adaptive is 1: give True or False"),
        ("sharpdro", 3, {"absent_groups": "none"}, "absent_groups is 'none': choose one of"),
        ("irm", 3, {"irm_lambda": -1}, "irm_lambda: -1 is not a number"),
        ("vrex", 3, {"vrex_warmup": 1.5}, "vrex_warmup: '1.5' is not a whole number"),
        ("sam", 3, {"step_size": 1.0}, "sam has no setting 'step_size'; it has rho, is_adaptive"),
        ("erm", 3, {"foo": 1}, "erm has no setting 'foo'; it has none of its own"),
        ("erm", 0, {}, "num_groups is 0"),
        ("erm", 3, {"clip_grad": 0}, "clip_grad is 0: give a positive number"),
        ("groupdro", 3, {"group_sizes": [1, 2]}, "each of the 3 groups"),
        ("groupdro", 3, {"group_sizes": [1, -2, 3]}, "each of the 3 groups"),
        ("groupdro", 3, {"group_sizes": [0, 0, 0]}, "each of the 3 groups"),
    ],
)
def test_settings_are_checked_when_the_step_is_made(method, num_groups, settings, text):
    """As the command line checks them."""
    network = nn.Dense(4, 2)
    optimizer = create_sgd(network.trainable_params(), 0.1, 0.9, 0.0)
    with pytest.raises(ValueError, match=re.escape(text)):
        create_train_step(method, network, optimizer, num_groups, **settings)
