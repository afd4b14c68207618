"""Measures one network's flatness at each severity, except what was measured before."""

from dataclasses import asdict, dataclass

import numpy as np
from tqdm import tqdm

from corruptions.command_line import one_line
from sharpdro.finiteness import check_loss
from sharpdro.flatness import geometry
from sharpdro.flatness.network_loss import NetworkLoss
from sharpdro.flatness.record import Record


@dataclass(frozen=True)
class Plan:
    """What to measure, and how exactly.

    Args:
        rho: radius of the sharpness.
        has_eigenvalue: whether to find the top Hessian eigenvalue.
        iterations, tolerance: of `top_eigenvalue`.
        surface_severities: those that get a loss surface.
        grid, span: points of it along each direction, and its reach in lengths of the filters.
        seed: of the random directions and of power iteration's start.
    """

    rho: float
    has_eigenvalue: bool
    iterations: int
    tolerance: float
    surface_severities: frozenset[int]
    grid: int
    span: float
    seed: int


class Measurement:
    """One network on its images.

    Args:
        name: the network's, in the record.
        title: what progress calls it.
        function: its loss and gradient.
        record: what was measured before, and where the rest goes.
        plan: what to measure.
    """

    def __init__(self, name: str, title: str, function: NetworkLoss, record: Record, plan: Plan):
        self._name, self._title, self._record, self._plan = name, title, record, plan
        self._function = function
        parameters = function.parameters()
        self._theta = geometry.flat(parameters)
        rng = np.random.default_rng([plan.seed, 0])
        self._directions = tuple(
            geometry.flat(geometry.filter_normalized(parameters, rng)) for _ in range(2)
        )

    def at(self, severity: int) -> None:
        """Measure one severity.

        Raises:
            RunError: the loss there is not finite.
        """
        self._function.severity = severity
        if self._record.get(self._name, severity, "slope") is None:
            self._slope(severity)
        if self._plan.has_eigenvalue and not self._record.get(self._name, severity, "eigenvalue"):
            self._eigenvalue(severity)
        if severity in self._plan.surface_severities:
            self._surface(severity)

    def _bar(self, severity, quantity, passes):
        """A progress bar that every batch moves on."""
        title = f"{self._title} severity {severity} {quantity}"
        total = passes * self._function.num_steps
        bar = tqdm(desc=title, total=total, unit="batch", leave=False, disable=None)
        self._function.on_step = bar.update
        return bar

    def _say(self, severity, text):
        tqdm.write(one_line(f"{self._title} severity {severity}: {text}"))

    def _slope(self, severity):
        function = self._function
        with self._bar(severity, "slope", 3):
            slope = geometry.slope(function.loss, function.gradient, self._theta, self._plan.rho)
        check_loss(f"{self._name} at severity {severity}", slope.loss)
        kept = {"num_images": function.num_images, **asdict(slope)}
        self._record.put(self._name, severity, "slope", kept)
        self._say(
            severity,
            f"loss {slope.loss:.4f}, sharpness {slope.sharpness:.4f}, "
            f"gradient norm {slope.gradient_norm:.4f}",
        )

    def _eigenvalue(self, severity):
        gradient, plan = self._function.gradient, self._plan
        with self._bar(severity, "eigenvalue", 2 * plan.iterations):
            rng = np.random.default_rng([plan.seed, 1])
            start = rng.standard_normal(self._theta.shape)
            product = geometry.hessian_product(gradient, self._theta)
            top = geometry.top_eigenvalue(product, start, plan.iterations, plan.tolerance)
        kept = {"value": top.value, "residual": top.residual, "converged": top.is_converged}
        kept["steps"] = [asdict(step) for step in top.steps]
        self._record.put(self._name, severity, "eigenvalue", kept)
        state = "" if top.is_converged else "not converged, "
        self._say(
            severity,
            f"top eigenvalue {top.value:.5g}, {state}residual {top.residual:.1e}, "
            f"{len(top.steps)} iterations",
        )

    def _surface(self, severity):
        """Row by row, each of which is kept."""
        rows = list(self._record.get(self._name, severity, "surface") or [])
        along = geometry.offsets(self._plan.span, self._plan.grid)
        remaining = along[len(rows) :]
        with self._bar(severity, "surface", len(remaining) * len(along)):
            for first in remaining:
                loss = self._function.loss
                row = geometry.surface_row(loss, self._theta, self._directions, first, along)
                rows.append(row)
                self._record.put(self._name, severity, "surface", rows)
        if len(remaining):
            self._say(severity, f"surface, losses {np.min(rows):.3g} to {np.max(rows):.3g}")
