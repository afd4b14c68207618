"""Pictures of what runs left."""

import math
import textwrap
from collections.abc import Callable

import numpy as np

from sharpdro.drawing import MARKERS, add_legend, new_figure, severity_colours, style
from sharpdro.report.curves import mean_curves
from sharpdro.report.tables import Row, Table

_WIDTH, _HEIGHT = 3.4, 2.3  # inches, of a panel without its title
_PER_ROW = 3
_LABEL = 34  # characters


def pictures_of(table: Table, epoch: str) -> dict[str, Callable]:
    """What draws the pictures of a table, by name; only those for which runs have numbers.

    Args:
        table: of `tables.make_tables`.
        epoch: best or last, as the table.
    """
    curves = _rows_with_curves(table, lambda run: run.validation)
    weights = _rows_with_curves(table, lambda run: run.weights)
    pictures = {"accuracy": lambda: draw_accuracy(table, epoch)}
    if curves:
        pictures["curves"] = lambda: draw_curves(curves)
    if weights:
        pictures["weights"] = lambda: draw_weights(weights)
    return pictures


def _rows_with_curves(table, curves_of_run) -> list[tuple[Row, dict]]:
    """Rows that have such curves, of more than a point, and their means over the runs."""
    pairs = [
        (row, mean_curves([curves_of_run(run) for run in row.experiment.runs]))
        for row in table.rows
    ]
    return [(r, curves) for r, curves in pairs if any(len(x) > 1 for x, _ in curves.values())]


def _wrapped(row: Row) -> str:
    """Its label in lines that leave room for what is drawn."""
    return "\n".join(textwrap.wrap(row.first_cells[0], _LABEL))


def _height(text: str) -> float:
    return 0.17 * (1 + text.count("\n"))  # inches, of small print


def _figure(num_panels: int, height: float, **shared):
    """A figure with that many panels of such a height, not known to pyplot."""
    across = min(num_panels, _PER_ROW)
    down = math.ceil(num_panels / _PER_ROW)
    figure = new_figure(_WIDTH * across, height * down)
    panels = list(figure.subplots(down, across, squeeze=False, **shared).flat)
    for panel in panels[num_panels:]:
        panel.remove()
    return figure, panels[:num_panels]


def _severities(table_columns) -> list[str]:
    return [column for column in table_columns if column.isdigit()]


def draw_accuracy(table: Table, epoch: str):
    """Test accuracy over severity, a line per row, bars of one standard deviation."""
    labels = [_wrapped(row) for row in table.rows]
    figure = new_figure(8, max(4, 0.5 + sum(map(_height, labels))))
    panel = figure.subplots()
    severities = _severities(table.columns)
    lines = [
        panel.errorbar(
            np.arange(len(severities)) + 0.03 * (number - (len(table.rows) - 1) / 2),
            [row.means[s] for s in severities],
            [row.stds[s] for s in severities] if row.stds else None,
            **_look(row, number),
            capsize=3,
            markersize=5,
        )
        for number, row in enumerate(table.rows)
    ]
    panel.set(xlabel="severity", ylabel=f"test accuracy in %, {epoch} epoch")
    panel.set_xticks(range(len(severities)), severities)
    panel.grid(alpha=0.3)
    add_legend(figure, lines, labels, loc="outside right upper", fontsize="small")
    return figure


def _look(row: Row, number: int) -> dict:
    """How the line of a row is drawn, dotted where it is not finished."""
    return {**style(number), "linestyle": ":"} if row.state else style(number)


def _panels(rows: list[tuple[Row, dict]], ylabel: str, legend_title: str):
    """A panel per row: a line for each key of its curves, {key: (x, y)}."""
    titles = [_wrapped(row) for row, _ in rows]
    height = _HEIGHT + max(map(_height, titles))
    figure, panels = _figure(len(rows), height, sharex=True, sharey=True)
    keys = max((list(curves) for _, curves in rows), key=len)
    colours = dict(zip(keys, severity_colours(len(keys))))
    for panel, title, (_, curves) in zip(panels, titles, rows):
        for number, (key, (x, y)) in enumerate(curves.items()):
            marker = MARKERS[number % len(MARKERS)] if len(x) < 30 else None
            panel.plot(x, y, color=colours.get(key), label=key, marker=marker, markersize=3)
        panel.set_title(title, fontsize="small", parse_math=False)
        panel.grid(alpha=0.3)
    for panel in panels[-_PER_ROW:]:  # also where there is none below
        panel.tick_params(labelbottom=True)
    panels[0].xaxis.get_major_locator().set_params(integer=True)
    figure.supxlabel("epoch", fontsize="medium")
    figure.supylabel(ylabel, fontsize="medium")
    lines = {}
    for panel in panels:
        for line, label in zip(*panel.get_legend_handles_labels()):
            lines.setdefault(label, line)
    look = {"title": legend_title, "loc": "outside right center", "fontsize": "small"}
    add_legend(figure, [*lines.values()], [*lines], **look)
    return figure


def draw_curves(rows: list[tuple[Row, dict]]):
    """Validation accuracy over epochs, a panel per row, a line per severity."""
    return _panels(rows, "validation accuracy in %", "severity")


def draw_weights(rows: list[tuple[Row, dict]]):
    """Group weights over epochs, a panel per row that has them, a line per group."""
    return _panels(rows, "group weight", "group")
