"""The table of the common corruptions as robustness papers print it.

Of the errors E(s, c) in percent at severity s = 1 … 5 of fifteen corruptions c, without a baseline:
the error of a corruption is its mean over s, and mCE the mean of the fifteen, as CIFAR-10-C is
reported. With a baseline's errors B(s, c), as defined by Hendrycks & Dietterich (ICLR 2019):

    CE(c) = 100 · Σ_s E(s, c) / Σ_s B(s, c)
    relative CE(c) = 100 · Σ_s (E(s, c) − E(clean)) / Σ_s (B(s, c) − B(clean))

and mCE, relative mCE are their means. Where a denominator is not positive they are undefined: nan.

Behind them stand, with and without a baseline, plain means over the fifteen at s = 1 … 5: negative
log-likelihood in nats, expected calibration error and error of the worst class in percent, see
`sharpdro.evaluation.scores`; nan where an earlier version has not measured them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from corruptions import MAX_SEVERITY
from corruptions.command_line import one_line
from sharpdro.errors import RunError
from sharpdro.run_folder.csv_table import csv_text
from sharpdro.text_tables import aligned, markdown_lines

GROUPS = {
    "Noise": {"gaussian_noise": "Gauss.", "shot_noise": "Shot", "impulse_noise": "Impulse"},
    "Blur": {
        "defocus_blur": "Defocus",
        "glass_blur": "Glass",
        "motion_blur": "Motion",
        "zoom_blur": "Zoom",
    },
    "Weather": {"snow": "Snow", "frost": "Frost", "fog": "Fog", "brightness": "Bright"},
    "Digital": {
        "contrast": "Contrast",
        "elastic_transform": "Elastic",
        "pixelate": "Pixel",
        "jpeg_compression": "JPEG",
    },
}
COLUMNS = {name: title for group in GROUPS.values() for name, title in group.items()}
CLEAN, MCE, RELATIVE = "clean", "mCE", "rel. mCE"
NLL, ECE, WORST_CLASS = "NLL", "ECE", "worst class"
UNDEFINED = "–"
_DECIMALS = {NLL: 2}  # of others 1

Row = dict[str, float]


@dataclass(frozen=True)
class Errors:
    """Errors in percent on the clean images, and by corruption at severities 1 … 5.

    `means` are those of NLL, ECE and WORST_CLASS, if they are asked for.
    """

    clean: float
    corrupted: dict[str, list[float]]
    means: Row = field(default_factory=dict)


def errors_of(measured: dict[str, dict[str, dict]]) -> Errors:
    """The errors in a table of evaluations.

    Args:
        measured: of the fifteen, see `sharpdro.evaluation.measurements.read_measurements`.

    Raises:
        RunError: a corruption or severity is missing.
    """

    def error(name, severity):
        return 100 * (1 - measured[name][str(severity)]["accuracy"])

    severities = range(1, MAX_SEVERITY + 1)
    try:
        corrupted = {name: [error(name, s) for s in severities] for name in COLUMNS}
    except KeyError as missing:
        raise RunError(
            f"the test.csv of an evaluation lacks {missing}: give another --desc"
        ) from None
    scores = [measured[name][str(s)] for name in COLUMNS for s in severities]
    means = {
        NLL: _mean([score.get("loss", math.nan) for score in scores]),
        ECE: _mean([100 * score.get("ece", math.nan) for score in scores]),
        WORST_CLASS: _mean(
            [100 * (1 - score.get("worst_class_accuracy", math.nan)) for score in scores]
        ),
    }
    return Errors(error(next(iter(COLUMNS)), 0), corrupted, means)


def table_row(errors: Errors, baseline: Errors | None = None) -> Row:
    """One line of the table: clean error, mCE, with a baseline relative mCE, corruptions, means.

    Args:
        errors: of a network.
        baseline: of the network that it is compared with; None: plain errors.

    Returns:
        By column, in the table's order: CLEAN, MCE, perhaps RELATIVE, the keys of COLUMNS, and of
        `errors.means`.
    """
    if baseline is None:
        by_name = {name: _mean(errors.corrupted[name]) for name in COLUMNS}
        return {CLEAN: errors.clean, MCE: _mean(by_name.values()), **by_name, **errors.means}
    by_name, relative = {}, []
    for name in COLUMNS:
        total, other = sum(errors.corrupted[name]), sum(baseline.corrupted[name])
        by_name[name] = _percent(total, other)
        relative.append(
            _percent(total - MAX_SEVERITY * errors.clean, other - MAX_SEVERITY * baseline.clean)
        )
    above = {CLEAN: errors.clean, MCE: _mean(by_name.values()), RELATIVE: _mean(relative)}
    return {**above, **by_name, **errors.means}


def is_flat(errors: Errors, name: str) -> bool:
    """Whether a corruption leaves the clean error as it is or lowers it."""
    return math.isnan(_percent(0, sum(errors.corrupted[name]) - MAX_SEVERITY * errors.clean))


def _mean(values) -> float:
    return sum(values) / len(values)


def _percent(value: float, other: float) -> float:
    # Errors that differ by rounding alone do not make a denominator.
    return 100 * value / other if other > 1e-9 else math.nan


def text_table(rows: dict[str, Row]) -> str:
    """The table for a terminal; the best of several in a column are marked with a star.

    Args:
        rows: by their titles.
    """
    cells = _cells(rows, lambda text: f"{text}*", lambda text: f"{text} ")
    titles = [f"{COLUMNS.get(column, column)} " for column in next(iter(rows.values()))]
    lines = [["", *titles], *([one_line(title), *texts] for title, texts in cells.items())]
    head, *body = aligned(lines, 1)
    groups = ""
    for group, members in GROUPS.items():
        groups = groups.ljust(head.index(next(iter(members.values())))) + group
    return "\n".join([groups, head, *body])


def markdown_table(rows: dict[str, Row]) -> str:
    """The table in Markdown; the best of several in a column are bold."""
    cells = _cells(rows, lambda text: f"**{text}**", str)
    columns = list(next(iter(rows.values())))
    groups = [group if i == 0 else "" for group, names in GROUPS.items() for i in range(len(names))]
    before = columns.index(next(iter(COLUMNS)))
    above = ["", *[""] * before, *groups, *[""] * (len(columns) - before - len(groups))]
    titles = ["", *(COLUMNS.get(column, column) for column in columns)]
    lines = markdown_lines(above, [titles, *([title, *texts] for title, texts in cells.items())], 1)
    return "\n".join([*lines, ""])


def csv_table(rows: dict[str, Row], further: dict[str, list[str]]) -> str:
    """The table as CSV, with corruptions by their own names and six significant digits.

    Args:
        rows: by their titles.
        further: columns after the title, by their names.
    """
    columns = list(next(iter(rows.values())))
    lines = []
    for number, (title, row) in enumerate(rows.items()):
        beside = [values[number] for values in further.values()]
        lines.append([title, *beside, *("" if math.isnan(row[c]) else row[c] for c in columns)])
    return csv_text(["name", *further, *columns], lines)


def _cells(
    rows: dict[str, Row], best: Callable[[str], str], other: Callable[[str], str]
) -> dict[str, list[str]]:
    """Numbers with few digits; the lowest as shown, of several rows, are the best ones."""
    shown = {
        title: {
            c: UNDEFINED if math.isnan(v) else f"{v:.{_DECIMALS.get(c, 1)}f}"
            for c, v in row.items()
        }
        for title, row in rows.items()
    }

    def is_best(column, text):
        numbers = [float(row[column]) for row in shown.values() if row[column] != UNDEFINED]
        return len(rows) > 1 and text != UNDEFINED and float(text) == min(numbers)

    return {
        title: [best(text) if is_best(c, text) else other(text) for c, text in row.items()]
        for title, row in shown.items()
    }
