"""From the record of flatness to what tables and pictures show."""

import os
from collections.abc import Iterable

import numpy as np

from sharpdro.flatness.record import Record
from sharpdro.text_tables import aligned

# Quantity as the record files it, its value there, title, format.
_CURVES = {
    "sharpness": ("slope", "sharpness", "sharpness (nats)", "{:.4f}"),
    "gradient_norm": ("slope", "gradient_norm", "gradient norm", "{:.3f}"),
    "eigenvalue": ("eigenvalue", "value", "top Hessian eigenvalue", "{:.1f}"),
}


def short_names(names: list[str]) -> dict[str, str]:
    """Names of checkpoints, `<run>/<file>`, without what they have in common.

    Args:
        names: all different.

    Returns:
        {name: short name}.
    """
    files = {name.rsplit("/", 1)[1] for name in names}
    if len(files) == 1:
        runs = {name: name.rsplit("/", 1)[0] for name in names}
    else:
        runs = {name: name for name in names}
    if len(names) == 1:
        return runs
    parts = {name: run.split("_") for name, run in runs.items()}
    shared = len(os.path.commonprefix(list(parts.values())))
    shared = min(shared, *(len(p) - 1 for p in parts.values()))
    return {name: "_".join(p[shared:]) for name, p in parts.items()}


def doubtful_of(
    record: Record, titles: dict[str, str], severities: dict[str, Iterable[int]]
) -> dict[str, set[int]]:
    """The severities whose eigenvalue has not converged, by title; arguments as `curves_of`."""
    doubtful = {}
    for name, title in titles.items():
        tops = {s: record.get(name, s, "eigenvalue") for s in severities[name]}
        doubtful[title] = {s for s, top in tops.items() if top and not top["converged"]}
    return doubtful


def curves_of(
    record: Record, titles: dict[str, str], severities: dict[str, Iterable[int]]
) -> dict[str, dict[str, dict[int, float]]]:
    """The numbers per severity: {quantity: {title: {severity: value}}}, none that is empty.

    Args:
        record: the measurements.
        titles: of the checkpoints, by name.
        severities: of each checkpoint, by name.
    """
    curves = {}
    for quantity, (filed, key, _, _) in _CURVES.items():
        lines = {}
        for name, title in titles.items():
            measured = {s: record.get(name, s, filed) for s in severities[name]}
            lines[title] = {s: value[key] for s, value in measured.items() if value is not None}
        lines = {title: values for title, values in lines.items() if values}
        if lines:
            curves[quantity] = lines
    return curves


def surfaces_of(
    record: Record, titles: dict[str, str], severities: dict[str, Iterable[int]], grid: int
) -> dict[str, dict[int, np.ndarray]]:
    """The complete loss surfaces: {title: {severity: losses (grid, grid)}}; arguments as above."""
    surfaces = {}
    for name, title in titles.items():
        begun = {s: record.get(name, s, "surface") or [] for s in severities[name]}
        whole = {s: np.array(rows) for s, rows in begun.items() if len(rows) == grid}
        if whole:
            surfaces[title] = whole
    return surfaces


def flatness_tables(
    record: Record, titles: dict[str, str], severities: dict[str, Iterable[int]]
) -> str:
    """A text table per quantity: a line per checkpoint, a column per severity; as above.

    Eigenvalues that have not converged are marked by a star.
    """
    columns = sorted({s for of_one in severities.values() for s in of_one})
    parts = []
    for quantity, values in curves_of(record, titles, severities).items():
        filed, _, title, form = _CURVES[quantity]
        lines = [["", *(f"{severity:>8}" for severity in columns)]]
        for name, line in titles.items():
            cells = []
            for severity in columns:
                value = values.get(line, {}).get(severity)
                is_open = (record.get(name, severity, filed) or {}).get("converged") is False
                cells.append("-" if value is None else form.format(value) + "*" * is_open)
            lines.append([line, *cells])
        parts += [f"{title} at severity", *aligned(lines, 1)]
    text = "\n".join(parts)
    return text + ("\n* not converged: see eigenvalues.csv" if "*" in text else "")
