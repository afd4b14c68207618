"""Pictures of checkpoints' flatness, with matplotlib where it is installed."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sharpdro.drawing import add_legend, new_figure, save_png, style
from sharpdro.errors import RunError

QUANTITIES = {
    "sharpness": "sharpness (nats)",
    "gradient_norm": "gradient norm",
    "eigenvalue": "top Hessian eigenvalue",
}
LEVELS = 13


def draw_curves(
    path: Path,
    curves: dict[str, dict[str, dict[int, float]]],
    rho: float,
    doubtful: dict[str, set[int]] | None = None,
) -> None:
    """One panel per quantity over severity, one line per checkpoint.

    Args:
        path: the .png file.
        curves: {quantity of QUANTITIES: {checkpoint: {severity: value}}}.
        rho: radius of the sharpness, for its title.
        doubtful: severities of each checkpoint whose eigenvalue has not converged: hollow marks.
    """
    doubtful = doubtful or {}
    figure = new_figure(4.2 * len(curves), 3.6)
    panels = figure.subplots(1, len(curves), squeeze=False)[0]
    names = list(dict.fromkeys(name for lines in curves.values() for name in lines))
    drawn = {}
    for panel, (quantity, lines) in zip(panels, curves.items()):
        for name, values in lines.items():
            look = style(names.index(name))
            (drawn[name],) = panel.plot(list(values), list(values.values()), **look)
            if quantity == "eigenvalue":
                open_ones = sorted(doubtful.get(name, set()) & values.keys())
                hollow = {**look, "linestyle": "", "markerfacecolor": "white"}
                panel.plot(open_ones, [values[s] for s in open_ones], **hollow)
        title = QUANTITIES[quantity] + (f", ρ = {rho:g}" if quantity == "sharpness" else "")
        if quantity == "eigenvalue" and any(doubtful.values()):
            title += "\n(hollow: not converged)"
        severities = sorted({s for values in lines.values() for s in values})
        panel.set(title=title, xlabel="severity", xticks=severities)
        low, high = panel.get_ylim()
        panel.set_ylim(min(0, low), high + 0.02 * (high - min(0, low)))
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    lines = [drawn[name] for name in names]
    columns = min(len(names), 4)
    add_legend(figure, lines, names, loc="outside lower center", ncols=columns, frameon=False)
    save_png(figure, path)


def contour_levels(surfaces: Sequence[np.ndarray]) -> np.ndarray:
    """Losses between which all surfaces change colour, equal steps of the logarithm.

    Args:
        surfaces: losses ≥ 0, of any shapes; those that are not finite are passed over.
    """
    losses = np.concatenate([np.ravel(surface) for surface in surfaces])
    losses = losses[np.isfinite(losses) & (losses > 0)]
    if not len(losses):
        raise RunError("surface.png: no finite loss on any surface: lower --span")
    low, high = losses.min(), losses.max()
    if high <= low * (1 + 1e-6):
        high = low * 1.1
    return np.geomspace(low, high, LEVELS)


def draw_surfaces(
    path: Path, surfaces: dict[str, dict[int, np.ndarray]], along: np.ndarray
) -> None:
    """Contours of the loss: rows checkpoints, columns severities, one scale for all.

    Args:
        path: the .png file.
        surfaces: {checkpoint: {severity: losses (grid, grid), first direction first}}.
        along: offsets (grid,) along both directions.
    """
    severities = sorted({s for row in surfaces.values() for s in row})
    levels = contour_levels([s for row in surfaces.values() for s in row.values()])
    side = 2.1 if len(severities) * len(surfaces) <= 12 else 1.6
    figure = new_figure(side * len(severities) + 1.8, side * len(surfaces) + 0.7)
    panels = figure.subplots(
        len(surfaces), len(severities), squeeze=False, sharex=True, sharey=True
    )
    filled = None
    for panel, severity in zip(panels[0], severities):
        panel.set_title(f"severity {severity}")
    for line, (name, row) in zip(panels, surfaces.items()):
        line[0].set_ylabel(name, fontsize="small", parse_math=False)
        for panel, severity in zip(line, severities):
            panel.set(box_aspect=1, xticks=along[[0, -1]], yticks=along[[0, -1]])
            if severity in row:
                filled = draw_contours(panel, along, row[severity], levels)
            else:
                panel.set_axis_off()
    figure.supxlabel("α across, β upwards")
    bar = figure.colorbar(filled, ax=panels, label="loss (nats)", ticks=levels[::2])
    bar.ax.set_yticklabels([two_digits(level) for level in levels[::2]])
    save_png(figure, path)


def draw_contours(panel, along, losses, levels):
    """One surface and a cross at the network itself; returns what the colour bar shows."""
    from matplotlib.colors import BoundaryNorm

    shown = np.ma.masked_invalid(losses).clip(levels[0], levels[-1]).T
    norm = BoundaryNorm(levels, 256)
    filled = panel.contourf(along, along, shown, levels, norm=norm, cmap="cividis")
    panel.contour(along, along, shown, levels, colors="black", linewidths=0.4, alpha=0.6)
    panel.plot(0, 0, "+", color="white", markersize=8, markeredgewidth=1.5)
    return filled


def two_digits(value: float) -> str:
    """A number with two significant digits, without an exponent up to a million."""
    digits = max(0, 1 - math.floor(math.log10(value)))
    return f"{value:.{digits}f}" if value < 1e6 else f"{value:.1e}"
