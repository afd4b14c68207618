"""Paired differences to one of a table's rows, over seeds, with their confidence intervals."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from corruptions.command_line import invalid_choice
from sharpdro.errors import RunError
from sharpdro.report.runs import TEST_IMAGES
from sharpdro.report.tables import Row, Table

CONFIDENCE = 0.95
_REMARK = (
    f"points of test accuracy, mean over the seeds that both have, with the {CONFIDENCE:.0%} "
    f"interval of a paired t-test over these seeds; worst: each seed's worst severity"
)


@dataclass(frozen=True)
class Differences:
    """Those of one table: `lines` of cells under its `heads`."""

    title: str
    shared: str
    heads: list[str]
    lines: list[list[str]]
    remark: str


def make_differences(tables: list[Table], label: str, epoch: str) -> list[Differences]:
    """Each finished row minus the one of this label; no lines for tables that do not have it.

    A seed is a pair: where nothing differs but the method, both runs share split, images and random
    numbers. Severities are measured on the same networks, so they are averaged within a seed
    (column `mean`) before the test. Rows measured on other test images have no difference.

    Args:
        tables: of `tables.make_tables`.
        label: of the row to compare with.
        epoch: best or last.

    Raises:
        RunError: no table has a finished row of that label.
    """
    finished = [{row.label: row for row in table.rows if not row.state} for table in tables]
    if not any(label in rows for rows in finished):
        if not any(finished):
            raise RunError(f"--compare_to {label}: no run is finished: leave it out")
        raise RunError(f"--compare_to: {invalid_choice(label, sorted(set().union(*finished)))}")
    made = []
    for table, rows in zip(tables, finished):
        lines, remark = [], f"none: of its rows, finished are {', '.join(rows) or 'none'}"
        if label in rows:
            others, remark = [row for row in rows.values() if row.label != label], _REMARK
            lines = [[row.label, *_cells(row, rows[label], table.columns, epoch)] for row in others]
        title = f"{table.title}: difference to {label}"
        made.append(Differences(title, table.shared, table.heads, lines, remark))
    return made


def _cells(row: Row, baseline: Row, columns: list[str], epoch: str) -> list[str]:
    """The seeds that both have, then a difference per column."""
    if len({each.experiment.settings[TEST_IMAGES] for each in (row, baseline)}) > 1:
        return ["other test images", *("–" for _ in columns)]
    first, second = (
        {run.seed: run.accuracies(epoch) for run in each.experiment.runs}
        for each in (row, baseline)
    )
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        return ["none", *("–" for _ in columns)]
    differences = {
        column: np.array([100 * (first[seed][column] - second[seed][column]) for seed in seeds])
        for column in columns
    }
    return [" ".join(map(str, seeds)), *(with_interval(differences[c]) for c in columns)]


def with_interval(differences: np.ndarray) -> str:
    """Mean and confidence interval of differences (N,) as "+1.2 [-0.3, 2.7]"; N = 1 has none."""
    mean = differences.mean()
    if len(differences) == 1:
        return f"{mean:+.1f}"
    error = differences.std(ddof=1) / np.sqrt(len(differences))
    half = stats.t.ppf((1 + CONFIDENCE) / 2, len(differences) - 1) * error
    return f"{mean:+.1f} [{mean - half:.1f}, {mean + half:.1f}]"
