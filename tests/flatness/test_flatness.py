"""Flatness: on functions whose answer is known, and of a network against NumPy in float64."""

import numpy as np
import pytest
from mindspore import Tensor
from oracle import NAMES, SLOPE, losses, windows
from small_network import ORACLE_NAMES, SmallNetwork, load, random_parameters

from dataset.sets import EvaluationSet
from models.layers import Normalize
from sharpdro.flatness.geometry import (
    filter_normalized,
    flat,
    hessian_product,
    offsets,
    power_iteration,
    slope,
    surface_row,
    top_eigenvalue,
)
from sharpdro.flatness.measurement import Measurement, Plan
from sharpdro.flatness.network_loss import NetworkLoss
from sharpdro.flatness.record import Record

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)


def symmetric(spectrum, seed=0):
    """A matrix with these eigenvalues."""
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.normal(size=(len(spectrum), len(spectrum))))
    return (basis * np.array(spectrum)) @ basis.T


def top_of(matrix, max_iterations=300, tolerance=1e-6):
    """Of the quadratic ½θᵀHθ + bᵀθ, by its gradient."""
    rng = np.random.default_rng(1)
    theta, b = rng.normal(size=(2, len(matrix)))
    product = hessian_product(lambda t: matrix @ t + b, theta)
    return top_eigenvalue(product, rng.normal(size=len(matrix)), max_iterations, tolerance)


def test_hessian_product_of_a_quadratic_is_exact():
    matrix, rng = symmetric([3.0, -2.0, 1.0, 0.5]), np.random.default_rng(0)
    v = rng.normal(size=4)
    for theta in (rng.normal(size=4), np.zeros(4)):
        product = hessian_product(lambda t: matrix @ t, theta)
        assert product(v) == pytest.approx(matrix @ v, rel=1e-8)


def test_hessian_product_errs_by_the_square_of_the_step():
    # L = x⁴ at x = 2: (4(2+h)³ − 4(2−h)³) / 2h = 48 + 4h², with h the step times ‖θ‖.
    product = hessian_product(lambda t: 4 * t**3, np.array([2.0]), step=0.25)
    assert product(np.ones(1)) == pytest.approx([48 + 4 * 0.5**2])


@pytest.mark.parametrize(
    ("spectrum", "shift"),
    [
        ([7.0, 3.0, 1.0, -2.0, 0.0], 0),
        ([4.0, 3.0, 1.0, -9.0, 0.0], 9),  # the largest magnitude is a negative one's
        ([-1.0, -5.0, -8.0], 8),
        ([6.0, -5.97, 1.0, 0.0], None),  # neither sign prevails within the limit
    ],
)
def test_top_eigenvalue_is_the_largest_not_the_one_of_largest_magnitude(spectrum, shift):
    top = top_of(symmetric(spectrum), max_iterations=100)
    assert top.is_converged and top.value == pytest.approx(max(spectrum), rel=1e-4)
    used = sorted({step.shift for step in top.steps})
    assert used[0] == 0 and top.steps[0].shift == 0
    if shift is None:
        assert len(used) == 2 and used[1] > 5
    elif shift:
        assert used[1:] == pytest.approx([shift], rel=1e-2)
    else:
        assert used == [0]


def test_what_is_reported_holds_for_the_vector():
    matrix = symmetric([5.0, 4.0, 1.0, -3.0])
    top = top_of(matrix, max_iterations=7, tolerance=1e-9)
    v = top.vector
    assert np.linalg.norm(v) == pytest.approx(1) and len(top.steps) == 7
    assert top.value == pytest.approx(v @ matrix @ v, rel=1e-8)
    residual = np.linalg.norm(matrix @ v - top.value * v) / abs(top.value)
    assert top.residual == pytest.approx(residual, rel=1e-5)
    assert not top.is_converged and top.steps[-1].value == top.value
    values = [step.value for step in top.steps]
    assert top.steps[0].change is None
    assert [step.change for step in top.steps[1:]] == pytest.approx(
        [abs(b - a) / abs(b) for a, b in zip(values, values[1:])]
    )


def test_nearly_equal_eigenvalues_are_told_apart_no_better_than_the_residual_says():
    spectrum = [5.0, 4.99, 1.0, -2.0]
    matrix = symmetric(spectrum)
    top = top_of(matrix, tolerance=1e-3)
    assert top.is_converged and len(top.steps) < 20
    assert min(abs(top.value - np.array(spectrum))) <= top.residual * top.value + 1e-9
    assert 4.99 - 1e-6 <= top.value <= 5.0
    # Where λ rests although v is far from an eigenvector, it is not called converged.
    stuck = power_iteration(lambda v: symmetric([6.0, -6.0]) @ v, np.array([0.3, 1]), 50, 1e-3)
    assert stuck.steps[-1].change < 1e-3 and stuck.residual > 0.05 and not stuck.is_converged


def test_flat_function_has_eigenvalue_zero():
    top = top_of(np.zeros((3, 3)))
    assert (top.value, top.residual, top.is_converged, len(top.steps)) == (0, 0, True, 1)


class Quadratic:
    """½ θᵀDθ with diagonal D, at a θ where the gradient lies along the second eigenvector."""

    num_images = num_steps = 1

    def __init__(self, spectrum):
        self.spectrum = spectrum

    def parameters(self):
        return [np.eye(1, len(self.spectrum), 1)[0]]

    def loss(self, theta):
        return float(theta @ (self.spectrum * theta)) / 2

    def gradient(self, theta):
        return self.spectrum * theta


def test_finds_the_top_eigenvalue_where_the_gradient_lies_along_another(tmp_path):
    """Power iteration that begins with the gradient comes to rest at the other one."""
    spectrum = np.random.default_rng(3).normal(0, 0.005, 20_000)
    spectrum[:2] = 1, 0.7
    function = Quadratic(spectrum)
    (theta,) = function.parameters()
    start = function.gradient(theta) + 1e-5  # a little of everything
    lost = power_iteration(hessian_product(function.gradient, theta), start, 50, 1e-3)
    assert lost.is_converged and lost.value == pytest.approx(0.7, rel=1e-3)
    plan = Plan(0.05, True, 50, 1e-3, frozenset(), 3, 1.0, 0)
    record = Record(tmp_path)
    record.start({"grid": 3, "span": 1.0}, {"quadratic": {}})
    Measurement("quadratic", "quadratic", function, record, plan).at(0)
    found = record.get("quadratic", 0, "eigenvalue")
    assert found["converged"] and found["value"] == pytest.approx(1, rel=1e-2)


def test_slope_by_hand():
    # L = 3x² + 4y at (0.5, 1): ∇L = (3, 4), of length 5; a step of 1 leads to (1.1, 1.8).
    found = slope(
        lambda t: 3 * t[0] ** 2 + 4 * t[1],
        lambda t: np.array([6 * t[0], 4.0]),
        np.array([0.5, 1.0]),
        rho=1.0,
    )
    assert found.loss == pytest.approx(4.75) and found.gradient_norm == pytest.approx(5)
    assert found.sharpness == pytest.approx(3 * 1.21 + 7.2 - 4.75)
    level = slope(lambda t: 2.0, lambda t: np.zeros(2), np.zeros(2), rho=1.0)
    assert (level.sharpness, level.gradient_norm) == (0, 0)


def test_surface_by_hand():
    along = offsets(2.0, 3)
    assert along.tolist() == [-2, 0, 2]
    theta, directions = np.array([1.0, 10.0]), (np.array([1.0, 0.0]), np.array([0.0, 5.0]))
    rows = [surface_row(lambda t: t[0] * t[1], theta, directions, a, along) for a in along]
    # x = −1, 1, 3 down, y = 0, 10, 20 across.
    assert rows == [[0, -10, -20], [0, 10, 20], [0, 30, 60]]


def test_filters_of_a_direction_are_as_long_as_the_networks():
    rng = np.random.default_rng(2)
    shapes = [(4, 3, 3, 3), (4,), (5, 4), (5,)]
    parameters = [rng.normal(size=shape) for shape in shapes]
    found = filter_normalized(parameters, np.random.default_rng(7))
    again = np.random.default_rng(7)
    for parameter, direction in zip(parameters, found):
        assert direction.shape == parameter.shape
        drawn = again.standard_normal(parameter.shape)
        for i in range(len(parameter)):
            if parameter.ndim == 1:
                assert direction[i] == 0
                continue
            length = sum(w * w for w in parameter[i].flat) ** 0.5
            raw = sum(d * d for d in drawn[i].flat) ** 0.5
            assert direction[i] == pytest.approx(drawn[i] * length / raw)
    # The same for another network, except for its filters' lengths.
    other = filter_normalized([3 * p for p in parameters], np.random.default_rng(7))
    assert flat(other) == pytest.approx(3 * flat(found))


class Expected:
    """The mean loss with running statistics, in float64, of one parameter vector."""

    def __init__(self, network, images, labels):
        self.p = {q.name: q.asnumpy().astype(np.float64) for q in network.get_parameters()}
        self.names = [ORACLE_NAMES[name] for name in NAMES]
        self.x = ((images / 255 - MEAN) / STD).transpose(0, 3, 1, 2)
        self.labels = labels

    def theta(self):
        return flat([self.p[name] for name in self.names])

    def loss(self, theta):
        p, start = dict(self.p), 0
        for name in self.names:
            size = p[name].size
            p[name] = theta[start : start + size].reshape(p[name].shape)
            start += size
        x = np.einsum("bchwij,ocij->bohw", windows(self.x), p["conv.weight"])
        mean, variance, gamma, beta = (
            p[f"norm.{name}"][:, None, None]
            for name in ("moving_mean", "moving_variance", "gamma", "beta")
        )
        x = (x - mean) / np.sqrt(variance + 1e-5) * gamma + beta
        x = np.where(x > 0, x, SLOPE * x).mean((2, 3))
        logits = x @ p["classifier.weight"].T + p["classifier.bias"]
        return losses(logits, self.labels).mean()

    def gradient(self, theta, h=1e-6):
        units = np.eye(len(theta)) * h
        return np.array([(self.loss(theta + u) - self.loss(theta - u)) / (2 * h) for u in units])


@pytest.fixture(scope="module")
def small():
    """A network on 7 images at two severities, in batches of 4, and what NumPy says of it."""
    rng = np.random.default_rng(3)
    network = SmallNetwork()
    load(network, random_parameters(rng))
    network.norm.moving_mean.set_data(Tensor(rng.normal(0, 1, 4).astype(np.float32)))
    network.norm.moving_variance.set_data(Tensor(rng.uniform(1, 2, 4).astype(np.float32)))
    arrays = [rng.integers(0, 256, (9, 5, 6, 3), dtype=np.uint8) for _ in range(2)]
    indices = np.array([8, 1, 2, 4, 5, 0, 7])
    labels = rng.integers(0, 3, 7).astype(np.int32)
    images = EvaluationSet(arrays, indices, labels)
    function = NetworkLoss(network, Normalize(MEAN, STD), images, batch_size=4)
    expected = [Expected(network, array[indices], labels) for array in arrays]
    return network, function, expected


def test_vector_of_parameters_is_the_networks(small):
    _, function, (expected, _) = small
    assert np.array_equal(flat(function.parameters()), expected.theta())


@pytest.mark.parametrize("severity", [0, 1])
def test_loss_and_gradient_of_all_images(small, severity):
    _, function, expected = small
    function.severity = severity
    theta = expected[severity].theta()
    for at in (theta, theta + np.random.default_rng(4).normal(0, 0.1, len(theta))):
        assert function.loss(at) == pytest.approx(expected[severity].loss(at), rel=1e-5)
        gradient = expected[severity].gradient(at)
        error = np.linalg.norm(function.gradient(at) - gradient) / np.linalg.norm(gradient)
        assert error < 1e-5


def test_sharpness_of_a_network(small):
    _, function, (expected, _) = small
    function.severity, theta, rho = 0, expected.theta(), 0.3
    found = slope(function.loss, function.gradient, theta, rho)
    gradient = expected.gradient(theta)
    there = expected.loss(theta + rho * gradient / np.linalg.norm(gradient))
    assert found.sharpness == pytest.approx(there - expected.loss(theta), rel=1e-4)
    assert found.gradient_norm == pytest.approx(np.linalg.norm(gradient), rel=1e-5)


@pytest.mark.slow
def test_top_eigenvalue_of_a_network(small):
    _, function, (expected, _) = small
    function.severity, theta = 0, expected.theta()
    start = np.random.default_rng(5).normal(size=len(theta))
    product = hessian_product(function.gradient, theta)
    top = top_eigenvalue(product, start, 60, 1e-4)
    assert top.is_converged
    # The largest of the Hessian in float64, by power iteration on differences of differences.
    exact = hessian_product(expected.gradient, theta)
    v = np.random.default_rng(6).normal(size=len(theta))
    for _ in range(40):
        v = v / np.linalg.norm(v)
        v, before = exact(v), v
    assert top.value == pytest.approx(before @ v, rel=1e-2) and top.value > 0


class StopError(Exception):
    pass


@pytest.mark.parametrize("is_training", [True, False])
def test_network_is_left_as_it_was(small, is_training):
    network, function, (expected, _) = small
    network.set_train(is_training)
    before = {p.name: p.asnumpy().copy() for p in network.get_parameters()}

    def stop():
        raise StopError

    elsewhere = expected.theta() + 1
    for measure in (function.loss, function.gradient):
        measure(elsewhere)
        function.on_step = stop
        with pytest.raises(StopError):
            measure(elsewhere)
        function.on_step = lambda: None
    for p in network.get_parameters():
        assert np.array_equal(p.asnumpy(), before[p.name]), p.name
    assert network.training == network.norm.training == is_training


def test_every_batch_is_a_step(small):
    _, function, (expected, _) = small
    steps = []
    function.on_step = lambda: steps.append(1)
    function.loss(expected.theta())
    function.gradient(expected.theta())
    function.on_step = lambda: None
    assert len(steps) == 4 == 2 * function.num_steps and function.num_images == 7
