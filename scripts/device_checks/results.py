"""What a check comes to: a row of the table, with the difference that was found and its limit."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

PASS, FAIL, SKIPPED, MEASURED = "pass", "FAIL", "skipped", "–"


@dataclass(frozen=True)
class Options:
    """What is checked.

    Args:
        device: CPU, GPU or Ascend.
        methods: keys into METHODS.
        oracle: the file with the formulas in NumPy.
        folder: where the processes put arrays for one another.
    """

    device: str
    methods: tuple[str, ...]
    oracle: Path
    folder: Path


@dataclass(frozen=True)
class Check:
    """A row of the table.

    Args:
        name: what was checked.
        state: one of PASS, FAIL, SKIPPED, MEASURED.
        largest: the largest difference; None: nothing was compared.
        tolerance: how large it may be.
        note: why it failed or was skipped, or what was measured.
    """

    name: str
    state: str
    largest: float | None = None
    tolerance: float | None = None
    note: str = ""


def distance(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> float:
    """The largest of all arrays' ‖found − expected‖ / ‖expected‖; inf where one is not finite."""
    if found.keys() != expected.keys() or not expected:
        return np.inf
    return max(_distance(found[name], expected[name]) for name in expected)


def _distance(found, expected) -> float:
    a, b = (np.asarray(array, np.float64) for array in (found, expected))
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return np.inf
    difference, size = np.linalg.norm(a - b), np.linalg.norm(b)
    return float(difference / size if size else difference)


def judged(name: str, largest: float, tolerance: float) -> Check:
    """A check that has passed if the difference is within the tolerance; a NaN is not."""
    state = PASS if largest <= tolerance else FAIL
    return Check(name, state, float(largest), tolerance)


def same_bits(
    name: str, found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]
) -> Check:
    """A check that has passed if all arrays are equal, to the last bit."""
    is_same = found.keys() == expected.keys() and all(
        np.asarray(found[key]).tobytes() == np.asarray(expected[key]).tobytes() for key in expected
    )
    state = PASS if is_same and expected else FAIL
    return Check(name, state, distance(found, expected), 0.0)


def failed(name: str, reason: Exception | str) -> Check:
    """A check that could not be made to its end."""
    lines = str(reason).strip().splitlines() or [type(reason).__name__]
    return Check(name, FAIL, note=lines[0])


def save(options: Options, role: str, method: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Put what a process has computed of a method where other processes find it."""
    np.savez(_file(options, role, method), **arrays)


def load(options: Options, role: str, method: str) -> dict[str, np.ndarray]:
    """What a process has put there."""
    with np.load(_file(options, role, method)) as file:
        return dict(file)


def _file(options, role, method):
    return options.folder / f"{role}-{method}.npz"


def cells(check: Check) -> list[str]:
    """The row's texts."""
    return [check.name, check.state, _number(check.largest), _number(check.tolerance), check.note]


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.1e}" if value else "0"
