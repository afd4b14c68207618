"""How flat a loss is around its parameters: sharpness, top Hessian eigenvalue, loss surface.

Everything here is NumPy on vectors of parameters and on two functions of them, the loss and its
gradient, which may be a network's (`network_loss`) or anybody's.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

Loss = Callable[[np.ndarray], float]
Gradient = Callable[[np.ndarray], np.ndarray]

# Of a WideResNet-16-1 on 100 images, ‖error of Hv‖ / ‖Hv‖ against exact products in float64, v the
# top eigenvector, and the error of its eigenvalue:
#   step     1e-6   1e-5   3e-5   1e-4   3e-4   5e-4   1e-3   3e-3
#   of Hv    134 %  41 %   23 %   15 %   9.2 %  8.1 %  6.9 %  26 %
#   of λ     29 %   -5 %   1.8 %  2.2 %  1.2 %  0.6 %  -2.7 % -18 %
# Differences in float64 err by the same from 3e-5 on, so it is not rounding: short steps see kinks
# of the LeakyReLUs one by one, which exact second derivatives never see, and long ones leave the
# region where the loss is a quadratic.
DIFFERENCE_STEP = 5e-4
# The residual up to which a vector is taken for an eigenvector.
MAX_RESIDUAL = 0.05
# Above it |λ| is less than 97 % of ‖Hv‖: eigenvalues of both signs may be about as large.
MIXED_RESIDUAL = 0.25


@dataclass(frozen=True)
class Slope:
    """The loss (nats), how much higher it is at distance ρ along the gradient, and ‖∇L‖."""

    loss: float
    sharpness: float
    gradient_norm: float


@dataclass(frozen=True)
class Iteration:
    """One step of power iteration on H + shift·I, at a unit vector v.

    Args:
        shift: what was added to the diagonal.
        value: the Rayleigh quotient λ = vᵀHv, without the shift.
        change: of λ since the step before, over |λ|; None in a first step.
        residual: ‖Hv − λv‖ / |λ|. Some eigenvalue lies within that much, relative, of λ.
    """

    shift: float
    value: float
    change: float | None
    residual: float


@dataclass(frozen=True)
class Eigenvalue:
    """The outcome of power iteration, and every step to it."""

    value: float
    residual: float
    is_converged: bool
    vector: np.ndarray = field(repr=False)
    steps: list[Iteration] = field(repr=False)


def slope(loss: Loss, gradient: Gradient, theta: np.ndarray, rho: float) -> Slope:
    """Sharpness L(θ + ρ∇L/‖∇L‖) − L(θ) and gradient norm (Huang et al., CVPR 2023, section 3).

    Args:
        loss, gradient: L and ∇L.
        theta: θ, float64 (P,).
        rho: radius ρ.
    """
    here, uphill = loss(theta), gradient(theta)
    norm = float(np.linalg.norm(uphill))
    there = loss(theta + rho / (norm + 1e-12) * uphill)
    return Slope(here, there - here, norm)


def hessian_product(
    gradient: Gradient, theta: np.ndarray, step: float = DIFFERENCE_STEP
) -> Callable[[np.ndarray], np.ndarray]:
    """v ↦ Hv by central differences: (∇L(θ + hv) − ∇L(θ − hv)) / 2h, for unit vectors v.

    Args:
        gradient: ∇L.
        theta: θ, float64 (P,).
        step: h over ‖θ‖ (over 1 if θ is 0).
    """
    h = step * (float(np.linalg.norm(theta)) or 1.0)

    def product(v: np.ndarray) -> np.ndarray:
        return (gradient(theta + h * v) - gradient(theta - h * v)) / (2 * h)

    return product


def power_iteration(
    product: Callable[[np.ndarray], np.ndarray],
    start: np.ndarray,
    max_iterations: int,
    tolerance: float,
    shift: float = 0.0,
) -> Eigenvalue:
    """The eigenvalue of H whose sum with the shift is of largest magnitude.

    It has converged once λ changed by at most `tolerance`, relative, in a step, and v is an
    eigenvector, as far as a residual of MAX_RESIDUAL tells.

    Args:
        product: v ↦ Hv for unit vectors v.
        start: a vector to begin with. Drawn at random it is orthogonal to no eigenvector; the
            gradient would save steps, but where it lies along another eigenvector than the top
            one, the iteration comes to rest there and takes it for the top one.
        max_iterations: products at most, at least 1.
        tolerance: see above.
        shift: added to every eigenvalue.
    """
    v, tested, steps = start / np.linalg.norm(start), start, []
    while len(steps) < max_iterations and not (steps and has_converged(steps[-1], tolerance)):
        image = product(v)
        value = float(v @ image)
        change = relative(abs(value - steps[-1].value), value) if steps else None
        residual = relative(float(np.linalg.norm(image - value * v)), value)
        steps.append(Iteration(shift, value, change, residual))
        following = image + shift * v
        tested, v = v, following / (np.linalg.norm(following) or 1.0)
    last = steps[-1]
    return Eigenvalue(last.value, last.residual, has_converged(last, tolerance), tested, steps)


def has_converged(step: Iteration, tolerance: float) -> bool:
    """Whether λ has come to rest, and v is an eigenvector."""
    is_still = step.residual == 0 or (step.change is not None and step.change <= tolerance)
    return is_still and step.residual <= MAX_RESIDUAL


def relative(size: float, value: float) -> float:
    """A size ≥ 0 over |value|; 0 over 0 is 0."""
    if size == 0:
        return 0.0
    return size / abs(value) if value else float("inf")


def top_eigenvalue(
    product: Callable[[np.ndarray], np.ndarray],
    start: np.ndarray,
    max_iterations: int,
    tolerance: float,
) -> Eigenvalue:
    """The largest eigenvalue of H, in the order of numbers: not the one of largest magnitude.

    Where power iteration finds a negative one, or nothing like an eigenvector (as where
    eigenvalues of both signs are about as large), it is run again on H + cI, with c the magnitude
    found, so that none is negative. As no Rayleigh quotient is above the top eigenvalue, the
    higher outcome counts.

    Args:
        product, start, max_iterations, tolerance: as for `power_iteration`; the limit holds for
            each of the two runs.
    """
    first = power_iteration(product, start, max_iterations, tolerance)
    if first.value >= 0 and first.residual <= MIXED_RESIDUAL:
        return first
    # ‖Hv‖, from its parts along v and across.
    magnitude = abs(first.value) * float(np.hypot(1, first.residual))
    second = power_iteration(product, start, max_iterations, tolerance, shift=magnitude)
    best = max(first, second, key=lambda outcome: outcome.value)
    return replace(best, steps=first.steps + second.steps)


def filter_normalized(parameters: list[np.ndarray], rng: np.random.Generator) -> list[np.ndarray]:
    """A random direction, every filter of which is as long as the parameters' (Li et al.,
    *Visualizing the Loss Landscape of Neural Nets*, NeurIPS 2018, section 4).

    A filter is all that makes one output channel of a convolution or one output of a fully
    connected layer. Biases and the scales and shifts of batch norm, which are vectors, stay fixed.
    One state of the random generator gives one direction before normalisation for all networks of
    the same shapes.

    Args:
        parameters: of any shapes.
        rng: source of randomness.

    Returns:
        A direction per parameter, in its shape.
    """
    directions = []
    for parameter in parameters:
        drawn = rng.standard_normal(parameter.shape)
        if parameter.ndim < 2:
            directions.append(np.zeros_like(drawn))
            continue
        axes = tuple(range(1, parameter.ndim))
        wanted = np.sqrt((parameter**2).sum(axes, keepdims=True))
        directions.append(drawn * (wanted / np.sqrt((drawn**2).sum(axes, keepdims=True))))
    return directions


def flat(tensors: list[np.ndarray]) -> np.ndarray:
    """All of them as one float64 vector."""
    return np.concatenate([tensor.ravel() for tensor in tensors]).astype(np.float64)


def offsets(span: float, grid: int) -> np.ndarray:
    """Where the loss surface is measured, along each direction: from −span to span."""
    return np.linspace(-span, span, grid)


def surface_row(
    loss: Loss,
    theta: np.ndarray,
    directions: tuple[np.ndarray, np.ndarray],
    first: float,
    seconds: np.ndarray,
) -> list[float]:
    """One row of the loss surface: L(θ + αd₁ + βd₂) for one α and every β.

    Args:
        loss: L.
        theta: θ, float64 (P,).
        directions: d₁ and d₂, float64 (P,).
        first: α.
        seconds: every β.
    """
    moved = theta + first * directions[0]
    return [loss(moved + second * directions[1]) for second in seconds]
