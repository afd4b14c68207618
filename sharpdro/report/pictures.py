"""Pictures of what runs left."""

import csv
import math
from pathlib import Path

import numpy as np

from sharpdro.drawing import MARKERS, new_figure, style
from sharpdro.report.runs import Experiment
from sharpdro.report.tables import Row, Table

_PANEL = (3.4, 2.5)  # inches
_PER_ROW = 3


def draw_pictures(table: Table, epoch: str) -> dict:
    """All pictures of a table, by name; only those for which the runs have numbers.

    Args:
        table: of `tables.make_tables`.
        epoch: best or last, as the table.
    """
    curves = [(row, learning_curves(row.experiment)) for row in table.rows]
    weights = [(row, weight_curves(row.experiment)) for row in table.rows]
    weights = [(row, found) for row, found in weights if found]
    pictures = {"accuracy": draw_accuracy(table, epoch), "curves": draw_curves(curves)}
    if weights:
        pictures["weights"] = draw_weights(weights)
    return pictures


def _figure(num_panels: int, **shared):
    """A figure with that many panels, not known to pyplot."""
    across = min(num_panels, _PER_ROW)
    down = math.ceil(num_panels / _PER_ROW)
    figure = new_figure(_PANEL[0] * across, _PANEL[1] * down)
    panels = list(figure.subplots(down, across, squeeze=False, **shared).flat)
    for panel in panels[num_panels:]:
        panel.remove()
    return figure, panels[:num_panels]


def _severities(table_columns) -> list[str]:
    return [column for column in table_columns if column.isdigit()]


def draw_accuracy(table: Table, epoch: str):
    """Test accuracy over severity, a line per row, bars of one standard deviation."""
    figure = new_figure(8, 4)
    panel = figure.subplots()
    severities = _severities(table.columns)
    for number, row in enumerate(table.rows):
        panel.errorbar(
            np.arange(len(severities)) + 0.03 * (number - (len(table.rows) - 1) / 2),
            [row.means[s] for s in severities],
            [row.stds[s] for s in severities] if row.stds else None,
            **{**style(number), **({"linestyle": ":"} if row.state else {})},
            capsize=3,
            markersize=5,
            label=row.first_cells[0],
        )
    panel.set(xlabel="severity", ylabel=f"test accuracy in %, {epoch} epoch")
    panel.set_xticks(range(len(severities)), severities)
    panel.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize="small")
    return figure


def _severity_colours(count: int):
    from matplotlib import colormaps

    return [colormaps["cividis"](x) for x in np.linspace(0, 0.95, count)]


def _panels(found: list[tuple[Row, dict]], ylabel: str, what: str):
    """A panel per row: a line for each key of the curves, {key: (x, y)}."""
    figure, panels = _figure(len(found), sharex=True, sharey=True)
    keys = max((list(curves) for _, curves in found), key=len)
    colours = dict(zip(keys, _severity_colours(len(keys))))
    for panel, (row, curves) in zip(panels, found):
        for number, (key, (x, y)) in enumerate(curves.items()):
            marker = MARKERS[number % len(MARKERS)] if len(x) < 30 else None
            panel.plot(x, y, color=colours.get(key), label=key, marker=marker, markersize=3)
        panel.set_title("\n".join(row.first_cells[0].split()), fontsize="small")
        panel.grid(alpha=0.3)
    for panel in panels[-_PER_ROW:]:  # also where there is none below
        panel.tick_params(labelbottom=True)
    panels[0].xaxis.get_major_locator().set_params(integer=True)
    figure.supxlabel("epoch", fontsize="medium")
    figure.supylabel(ylabel, fontsize="medium")
    lines, labels = max((p.get_legend_handles_labels() for p in panels), key=lambda x: len(x[1]))
    figure.legend(lines, labels, title=what, loc="outside right center", fontsize="small")
    return figure


def draw_curves(found):
    """Validation accuracy over epochs, a panel per row, a line per severity."""
    return _panels(found, "validation accuracy in %", "severity")


def draw_weights(found):
    """Group weights over epochs, a panel per row that has them, a line per group."""
    return _panels(found, "group weight", "group")


def learning_curves(experiment: Experiment) -> dict[str, tuple[list[float], list[float]]]:
    """Validation accuracy in percent by severity: epochs and means over the runs."""
    tables = [_read(run.folder / "val.csv") for run in experiment.runs]
    curves = {}
    for rows in tables:
        for row in rows:
            if row["severity"].isdigit():
                points = curves.setdefault(row["severity"], {})
                points.setdefault(int(row["epoch"]), []).append(100 * float(row["accuracy"]))
    return {key: _mean_curve(points) for key, points in curves.items()}


def weight_curves(experiment: Experiment) -> dict[str, tuple[list[float], list[float]]]:
    """Group weights by group: time in epochs and means over the runs; empty without weights."""
    curves = {}
    for run in experiment.runs:
        rows = _read(run.folder / "train.csv")
        steps = max((int(row["step"]) for row in rows), default=1)
        for row in rows:
            time = int(row["epoch"]) - 1 + int(row["step"]) / steps
            for column, value in row.items():
                if column.startswith(("weight_", "inferred_weight_")) and value:
                    key = column.replace("weight_", "").replace("inferred_", "inferred ")
                    curves.setdefault(key, {}).setdefault(time, []).append(float(value))
    return {key: _mean_curve(points) for key, points in curves.items()}


def _mean_curve(points: dict[float, list[float]]) -> tuple[list[float], list[float]]:
    times = sorted(points)
    return times, [float(np.mean(points[time])) for time in times]


def _read(path: Path) -> list[dict[str, str]]:
    """The whole lines of a run's table; none where it is missing."""
    if not path.exists():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(line for line in file if line.endswith("\n")))
