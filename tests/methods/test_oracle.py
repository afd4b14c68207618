"""The oracle itself: its gradients against central differences, its numbers against paper."""

import numpy as np
import oracle
import pytest
from small_network import random_parameters

NUM_GROUPS = 5
GROUPS = np.array([0, 2, 1, 0, 3, 1, 0, 2, 0, 1, 3, 0])  # group 4 is absent
PRESENT = [np.flatnonzero(s == GROUPS) for s in range(4)]
SIZES = (50, 40, 30, 0, 10)


def make(seed):
    """An oracle without weight decay (so that `velocity` is the gradient descended) and a batch."""
    rng = np.random.default_rng(seed)
    o = oracle.Oracle(random_parameters(rng), NUM_GROUPS, lr=0.1, momentum=0.9, weight_decay=0)
    o.q = rng.dirichlet(np.ones(NUM_GROUPS))
    images = rng.normal(0, 1, (len(GROUPS), 3, 6, 5))
    return rng, o, images, rng.integers(0, 3, len(GROUPS))


def assert_slope(rng, gradients, *totals_at):
    """`gradients` is the sum of the slopes of the (total, parameters) pairs."""
    for name in oracle.NAMES:
        direction = rng.normal(0, 1, gradients[name].shape)
        step = 1e-6 * direction
        slope = sum(
            (total({**p, name: p[name] + step}) - total({**p, name: p[name] - step})) / 2e-6
            for total, p in totals_at
        )
        assert slope == pytest.approx((gradients[name] * direction).sum(), rel=1e-4), name


def sample_losses(p, images, labels):
    return oracle.losses(oracle.forward(p, images)[0], labels)


def group_means(values):
    return np.array([values[s].mean() for s in PRESENT])


def displaced(p, images, labels, rho, adaptive):
    """θ + ε by the formula, with all the parameters laid end to end."""
    g = oracle.gradient(p, images, labels, np.full(len(labels), 1 / len(labels)))
    flat = np.concatenate([g[k].ravel() for k in oracle.NAMES])
    theta = np.concatenate([p[k].ravel() for k in oracle.NAMES])
    scale = np.abs(theta) if adaptive else np.ones_like(theta)
    moved = theta + rho * scale**2 * flat / (np.linalg.norm(scale * flat) + 1e-12)
    ends = np.cumsum([p[k].size for k in oracle.NAMES])[:-1]
    return {k: v.reshape(p[k].shape) for k, v in zip(oracle.NAMES, np.split(moved, ends))}


def test_oracle_gradient_is_the_slope_of_its_loss():
    rng, o, images, labels = make(5)
    weights = rng.random(len(labels))
    g = oracle.gradient(o.p, images, labels, weights)
    assert_slope(rng, g, (lambda p: weights @ sample_losses(p, images, labels), o.p))


def test_backward_takes_any_error_signal():
    rng, o, images, _ = make(6)
    error = rng.normal(0, 1, (len(images), 3))
    g = oracle.backward(o.p, images, error)
    assert_slope(rng, g, (lambda p: (error * oracle.forward(p, images)[0]).sum(), o.p))


def test_erm_descends_the_mean_loss():
    rng, o, images, labels = make(7)
    start = dict(o.p)
    found, length = o.erm_step(images, labels, GROUPS)
    assert_slope(rng, o.velocity, (lambda p: sample_losses(p, images, labels).mean(), start))
    np.testing.assert_allclose(found, sample_losses(start, images, labels))
    assert length == pytest.approx(oracle.norm(o.velocity))
    np.testing.assert_allclose(o.p["conv"], start["conv"] - 0.1 * o.velocity["conv"])


@pytest.mark.parametrize("adaptive", [False, True])
def test_sam_descends_the_mean_loss_at_the_displaced_point(adaptive):
    rng, o, images, labels = make(8)
    start, there = dict(o.p), displaced(o.p, images, labels, 0.5, adaptive)
    mean, variance = oracle.forward(start, images)[1][-2:]
    found, _ = o.sam_step(images, labels, GROUPS, rho=0.5, adaptive=adaptive)
    assert_slope(rng, o.velocity, (lambda p: sample_losses(p, images, labels).mean(), there))
    np.testing.assert_allclose(found, sample_losses(start, images, labels))
    np.testing.assert_allclose(o.running_mean, 0.1 * mean)
    np.testing.assert_allclose(o.running_var, 0.9 + 0.1 * variance)


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("absent_groups", ["zero", "keep", "ema"])
def test_sharpdro_descends_both_terms(adaptive, absent_groups):
    rng, o, images, labels = make(9)
    start, there = dict(o.p), displaced(o.p, images, labels, 0.5, adaptive)
    o.sharpdro_step(
        images, labels, GROUPS, 0.5, 0.3, adaptive, absent_groups=absent_groups, adjustment=2,
        group_sizes=SIZES,
    )  # fmt: skip
    worst = (lambda p: o.q[:4] @ group_means(sample_losses(p, images, labels)), there)
    mean = (lambda p: sample_losses(p, images, labels).mean(), start)
    assert_slope(rng, o.velocity, mean, worst)
    assert o.q.sum() == pytest.approx(1) and (o.q > 0).all()


@pytest.mark.parametrize(
    "score", ["confidence_drop", "softmax", "energy", "entropy", "loss", "kurtosis"]
)
def test_agnostic_descends_both_terms(score):
    rng, o, images, labels = make(10)
    start, there, q = dict(o.p), displaced(o.p, images, labels, 0.5, False), o.q.copy()
    none = np.full(len(labels), -1)
    found, length, scores = o.sharpdro_agnostic_step(images, labels, none, 0.5, False, score)
    weights = (scores - min(scores)) / (max(scores) - min(scores))
    second = (lambda p: (weights * sample_losses(p, images, labels)).mean(), there)
    mean = (lambda p: sample_losses(p, images, labels).mean(), start)
    assert_slope(rng, o.velocity, mean, second)
    np.testing.assert_array_equal(o.q, q)
    if score == "confidence_drop":
        here, moved = (oracle.softmax(oracle.forward(p, images)[0]) for p in (start, there))
        np.testing.assert_allclose(scores, here.max(1) - moved.max(1))


def test_equal_scores_weigh_one():
    np.testing.assert_array_equal(oracle.min_max(np.full(3, 0.7)), [1, 1, 1])
    np.testing.assert_array_equal(oracle.min_max(np.array([1.0, 5, 2])), [0, 1, 0.25])


def test_groupdro_descends_the_weighted_group_losses():
    rng, o, images, labels = make(11)
    start, q = dict(o.p), o.q.copy()
    found, length = o.groupdro_step(images, labels, GROUPS, 0.3)
    assert_slope(
        rng, o.velocity, (lambda p: o.q[:4] @ group_means(sample_losses(p, images, labels)), start)
    )
    assert length == pytest.approx(oracle.norm(o.velocity))
    raised = q * np.exp(0.3 * np.append(group_means(found), 0))
    np.testing.assert_allclose(o.q, raised / raised.sum())


# Every other sample of each group in GROUPS, and the remaining ones, counted by hand.
HALVES = [([0, 6, 11], [3, 8]), ([2, 9], [5]), ([1], [7]), ([4], [10])]


def irm_by_differences(p, images, labels, strength):
    """The total, with d(mean loss of a · logits)/da of half a group itself a central difference."""
    logits, h = oracle.forward(p, images)[0], 1e-4
    up, down = (oracle.losses(a * logits, labels) for a in (1 + h, 1 - h))
    slopes = (up - down) / (2 * h)
    products = [slopes[a].mean() * slopes[b].mean() for a, b in HALVES]
    plain = group_means(oracle.losses(logits, labels))
    return plain.sum() / 4 + strength * sum(products) / 4


def vrex_by_definition(p, images, labels, strength):
    means = group_means(sample_losses(p, images, labels))
    return means.sum() / 4 + strength * ((means - means.sum() / 4) ** 2).sum() / 4


@pytest.mark.parametrize("strength", [0.3, 20.0])
@pytest.mark.parametrize(
    "step, total", [("irm_step", irm_by_differences), ("vrex_step", vrex_by_definition)]
)
def test_irm_and_vrex_descend_their_totals(step, total, strength):
    """The first step is warm-up, at strength 1; the second has the strength asked for."""
    rng, o, images, labels = make(12)
    o.momentum = 0
    for used in (1.0, strength):
        start = dict(o.p)
        found, length = getattr(o, step)(images, labels, GROUPS, strength, 1)
        assert_slope(rng, o.velocity, (lambda p, used=used: total(p, images, labels, used), start))
        assert length == pytest.approx(oracle.norm(o.velocity))
        np.testing.assert_allclose(found, sample_losses(start, images, labels))
    assert np.ptp(o.running_mean) > 0


@pytest.mark.parametrize("strength", [0.3, 20.0])
def test_irm_and_vrex_totals_and_their_slopes_by_logits(strength):
    rng, o, images, labels = make(13)
    logits = oracle.forward(o.p, images)[0]
    direction = rng.normal(0, 1, logits.shape)
    by_hand = {
        oracle.irm_total: irm_by_differences(o.p, images, labels, strength),
        oracle.vrex_total: vrex_by_definition(o.p, images, labels, strength),
    }
    for total, value in by_hand.items():
        found, error = total(logits, labels, GROUPS, strength)
        assert found == pytest.approx(value, rel=1e-6)
        up, down = (
            total(logits + h * direction, labels, GROUPS, strength)[0] for h in (1e-5, -1e-5)
        )
        assert (up - down) / 2e-5 == pytest.approx((error * direction).sum(), rel=1e-6)


def test_irm_and_vrex_by_hand():
    """Two classes, logits (log 3, 0): softmax (3/4, 1/4), loss log 4/3 or log 4, slope ∓.

    Label 0 has slope (3/4 − 1) · log 3 = −.274653, label 1 has 3/4 · log 3 = .823959.
    Group 0: labels 0, 1, 0 → halves (0, 2), (1): −.274653 · .823959 = −.226303; its loss is
    (2 · .287682 + 1.386294)/3 = .653886. Group 1: one sample of label 1, loss 1.386294, no penalty.
    irm: (.653886 + 1.386294)/2 + 10 · (−.226303)/2 = 1.020090 − 1.131515 = −.111425.
    vrex: half the difference of the losses is .366204, so 1.020090 + 10 · .134105 = 2.361143.
    """
    logits = np.tile([np.log(3), 0], (4, 1))
    labels, groups = np.array([0, 1, 1, 0]), np.array([0, 0, 1, 0])
    assert oracle.irm_total(logits, labels, groups, 10)[0] == pytest.approx(-0.111425, abs=5e-6)
    assert oracle.vrex_total(logits, labels, groups, 10)[0] == pytest.approx(2.361143, abs=5e-6)


@pytest.mark.parametrize("step", ["irm_step", "vrex_step"])
def test_momentum_starts_anew_after_the_warm_up(step):
    """Warm-up of two steps: the third one's velocity is its gradient alone."""
    _, o, images, labels = make(17)
    is_gradient = []
    for _ in range(4):
        _, length = getattr(o, step)(images, labels, GROUPS, 2.0, 2)
        is_gradient.append(oracle.norm(o.velocity) == pytest.approx(length, rel=1e-12))
    assert is_gradient == [True, False, True, False]


LOG2, LOG4 = np.log(2), np.log(4)
FIRST = np.array([LOG2 / 2, LOG2 * 1.5, LOG4]), np.array([0, 0, 1])  # L_0 = log 2, L_1 = log 4
SECOND = np.array([LOG4]), np.array([0])  # L_0 = log 4
# Three groups, q = (1/2, 1/4, 1/4), η = 1; group 2 is never there, group 1 not in SECOND.
# zero, FIRST:  (1/2·2, 1/4·4, 1/4·1) = (1, 1, 1/4), over 9/4: (4/9, 4/9, 1/9).
# zero, SECOND: (4/9·4, 4/9, 1/9) = (16, 4, 1)/9, over 21/9: (16/21, 4/21, 1/21).
# keep, FIRST:  groups 0 and 1 share 3/4: (1, 1)·(3/4)/2 = (3/8, 3/8, 1/4).
# keep, SECOND: group 0 alone is rescaled to its own 3/8: nothing changes.
# ema,  FIRST:  running losses log 2, log 4 as they come: (3/8, 3/8, 1/4), as keep.
# ema,  SECOND: running loss of 0: 0.9 log 2 + 0.1 log 4 = 1.1 log 2; of 1: still 2 log 2.
#               2^1.1 = 2.143547: 3/8·(2.143547, 4) = (0.803830, 1.5), sum 2.303830, to share 3/4:
#               times 0.325545: (0.261683, 0.488317, 1/4).
BY_HAND = {
    "zero": ([4 / 9, 4 / 9, 1 / 9], [16 / 21, 4 / 21, 1 / 21]),
    "keep": ([3 / 8, 3 / 8, 1 / 4], [3 / 8, 3 / 8, 1 / 4]),
    "ema": ([3 / 8, 3 / 8, 1 / 4], [0.261683, 0.488317, 1 / 4]),
}


@pytest.mark.parametrize("absent_groups", BY_HAND)
def test_group_weights_by_hand(absent_groups):
    o = oracle.Oracle(random_parameters(np.random.default_rng(0)), 3, 0.1, 0.9, 0)
    o.q = np.array([1 / 2, 1 / 4, 1 / 4])
    for batch, q in zip((FIRST, SECOND), BY_HAND[absent_groups]):
        o.raise_weights(*batch, 1.0, absent_groups)
        np.testing.assert_allclose(o.q, q, rtol=2e-6)
    if absent_groups == "ema":
        np.testing.assert_allclose(o.ema, [1.1 * LOG2, LOG4, np.nan])


# C = log 2, sizes (1, 1/4, 0): C/√n = (log 2, 2 log 2, none), so the factors of FIRST become
# (2·2, 4·4, 1), times q: (2, 4, 1/4). zero: over 25/4: (8, 16, 1)/25. keep: to share 3/4:
# (1/4, 1/2).
# With sizes (1, 1/4, 1/4) the absent group 2 gets factor 4 under zero: (2, 4, 1)/7.
@pytest.mark.parametrize(
    "absent_groups, sizes, q",
    [
        ("zero", (1, 0.25, 0), [8 / 25, 16 / 25, 1 / 25]),
        ("zero", (1, 0.25, 0.25), [2 / 7, 4 / 7, 1 / 7]),
        ("keep", (1, 0.25, 0.25), [1 / 4, 1 / 2, 1 / 4]),
        ("ema", (1, 0.25, 0.25), [1 / 4, 1 / 2, 1 / 4]),
    ],
)
def test_group_adjustment_by_hand(absent_groups, sizes, q):
    o = oracle.Oracle(random_parameters(np.random.default_rng(0)), 3, 0.1, 0.9, 0)
    o.q = np.array([1 / 2, 1 / 4, 1 / 4])
    o.raise_weights(*FIRST, 1.0, absent_groups, adjustment=LOG2, group_sizes=sizes)
    np.testing.assert_allclose(o.q, q)


@pytest.mark.parametrize("absent_groups", BY_HAND)
def test_group_weights_stay_on_the_simplex(absent_groups):
    rng, o, _, _ = make(14)
    for _ in range(200):
        groups, before = rng.choice(NUM_GROUPS, 3), o.q.copy()
        o.raise_weights(rng.exponential(2, 3), groups, 0.5, absent_groups, 1.0, SIZES)
        assert (o.q > 0).all() and o.q.sum() == pytest.approx(1, abs=1e-12)
        if absent_groups == "keep":
            absent = np.setdiff1d(range(NUM_GROUPS), groups)
            np.testing.assert_array_equal(o.q[absent], before[absent])


# One pixel of 1 in each channel of a 3×3 image.
DOT = np.zeros((1, 3, 3, 3))
DOT[:, :, 1, 1] = 1


def test_scores_by_hand():
    """Logits log (1, 2, 5): softmax (1, 2, 5)/8, log Σ exp = log 8.

    Entropy: log 8 − (2 log 2 + 5 log 5)/8 = 2.079442 − (1.386294 + 8.047190)/8 = 0.900256.
    DOT has the one second difference 4, so kurtosis 4⁴/(4²)² = 1, and variance 1/9 − 1/81 = 8/81:
    −(8/81)^⅛ = −0.748731.
    """
    logits, there = np.log([[1.0, 2, 5]]), np.log([[1.0, 1, 2]])
    expected = {
        "confidence_drop": 5 / 8 - 1 / 2,
        "softmax": -5 / 8,
        "energy": -2.079442,
        "entropy": 0.900256,
        "loss": LOG4,
        "kurtosis": -0.748731,
    }
    for kind, value in expected.items():
        assert oracle.ood_scores(kind, DOT, logits, there, [1]) == pytest.approx(value, rel=1e-6), (
            kind
        )


def test_jtt_by_hand():
    logits = np.array([[2.0, 1], [0, 1], [3, 4], [1, 0]])
    errors = oracle.jtt_error_set(logits, np.array([0, 0, 1, 1]))
    assert errors.tolist() == [False, True, False, True]
    assert oracle.jtt_pool(errors, 3) == [0, 1, 1, 1, 2, 3, 3, 3]


def soft_penalty(w, logits, labels):
    p, h = 1 / (1 + np.exp(-w)), 1e-4
    up, down = (oracle.losses(a * logits, labels) for a in (1 + h, 1 - h))
    slopes = [((weights * up).mean() - (weights * down).mean()) / (2 * h) for weights in (p, 1 - p)]
    return (slopes[0] ** 2 + slopes[1] ** 2) / 2


def test_eiil_penalty_and_its_slope():
    rng = np.random.default_rng(15)
    logits, labels = rng.normal(0, 2, (20, 3)), rng.integers(0, 3, 20)
    w, direction = rng.normal(size=(2, 20))
    value, gradient = oracle.eiil_penalty(w, oracle.scale_slopes(logits, labels)[0])
    assert value == pytest.approx(soft_penalty(w, logits, labels), rel=1e-6)
    up, down = (soft_penalty(w + h * direction, logits, labels) for h in (1e-4, -1e-4))
    assert (up - down) / 2e-4 == pytest.approx((gradient * direction).sum(), rel=1e-4)


def test_eiil_parts_what_the_model_gets_wrong_from_the_rest():
    """Confident rows, half of them wrong: these have the large slopes and go to one side."""
    labels = np.arange(40) % 2
    logits = 3.0 * np.eye(2)[np.where(np.arange(40) < 20, labels, 1 - labels)]
    start = 1 / (1 + np.exp(-np.random.default_rng(16).normal(size=40)))
    found = oracle.eiil_groups(logits, labels, 1, 0.01, np.random.default_rng(16))
    odds = np.log(found / (1 - found)) - np.log(start / (1 - start))
    np.testing.assert_allclose(np.abs(odds), 0.01, rtol=1e-3)  # the first step of Adam: ± its rate
    p = oracle.eiil_groups(logits, labels, 3000, 0.02, np.random.default_rng(16))
    assert np.ptp(p[20:]) < 0.1 and abs(p[20:].mean() - 0.5) > 0.4
