"""Curves over training, as they lie in a run's val.csv and train.csv."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from sharpdro.run_folder.reading import parse_rows

# Values by time in epochs.
Curve = dict[float, float]
T = TypeVar("T")


def _read_rows(path: Path, convert: Callable[[dict[str, str]], T]) -> list[T]:
    """As `parse_rows`, except that its errors name the file."""
    if not path.exists():
        raise ValueError(f"{path}: there is no such file")
    try:
        return parse_rows(path, convert)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read_validation(path: Path, num_severity: int) -> dict[str, Curve]:
    """Validation accuracy in percent by severity, of a val.csv that has been begun.

    Raises:
        ValueError, OSError: the file is missing, cannot be read, or is no such table.
    """
    curves = {str(severity): {} for severity in range(num_severity + 1)}
    others = {"mean", "worst"}

    def convert(row):
        if row["severity"] not in curves.keys() | others:
            raise ValueError(f"there is no severity {row['severity']!r}")
        return row["severity"], int(row["epoch"]), 100 * float(row["accuracy"])

    rows = _read_rows(path, convert)
    if not rows:
        raise ValueError(f"{path}: no epoch is in it")
    for severity, epoch, accuracy in rows:
        if severity not in others:
            curves[severity][epoch] = accuracy
    return curves


def read_training(path: Path) -> tuple[int, dict[str, Curve]]:
    """The last epoch of a train.csv, and group weights by group; none where a method has none.

    Raises:
        ValueError, OSError: the file is missing, cannot be read, or is no such table.
    """

    def convert(row):
        epoch, step = int(row["epoch"]), int(row["step"])
        if min(epoch, step) < 1:
            raise ValueError("epochs and steps count from 1")
        names = (name for name in row if name.startswith(("weight_", "inferred_weight_")))
        return epoch, step, {name: float(row[name]) for name in names if row[name]}

    rows = _read_rows(path, convert)
    steps = max((step for _, step, _ in rows), default=1)
    curves = {}
    for epoch, step, weights in rows:
        for name, weight in weights.items():
            group = name.replace("weight_", "").replace("inferred_", "inferred ")
            curves.setdefault(group, {})[epoch - 1 + step / steps] = weight
    return max((epoch for epoch, _, _ in rows), default=0), curves


def mean_curves(runs: list[dict[str, Curve]]) -> dict[str, tuple[list[float], list[float]]]:
    """Times and means over the runs that have a value there, by the runs' keys."""
    values = {}  # by key and time
    for curves in runs:
        for key, curve in curves.items():
            for time, value in curve.items():
                values.setdefault(key, {}).setdefault(time, []).append(value)
    return {
        key: (sorted(by_time), [float(np.mean(by_time[time])) for time in sorted(by_time)])
        for key, by_time in values.items()
    }
