"""The paper's table: methods by severities, mean ± standard deviation over seeds."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from sharpdro.report.experiments import Experiment, labels_of, method_order, shared_line, tables_of
from sharpdro.report.runs import TEST_IMAGES

# What the column of this name is, for under the tables.
WORST = "worst: the mean over seeds of each seed's worst severity"


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Args:
        experiment: whose numbers these are.
        label: what is run, see `experiments.labels_of`.
        state: "" once all runs are finished, or else how far it is.
        values: test accuracy in percent by column, of each run of the experiment.
        best: columns in which it is the best, see `mark_best`.
    """

    experiment: Experiment
    label: str
    state: str
    values: dict[str, list[float]]
    best: set[str] = field(default_factory=set)

    @cached_property
    def means(self) -> dict[str, float]:
        """By column, over runs."""
        return over_runs(self.values)[0]

    @cached_property
    def stds(self) -> dict[str, float]:
        """Standard deviations (n − 1 in the denominator); nothing for a single run."""
        return over_runs(self.values)[1]

    @property
    def first_cells(self) -> list[str]:
        """What is run, and the seeds."""
        label = f"{self.label} ({self.state})" if self.state else self.label
        seeds = self.experiment.seeds
        return [label, " ".join(map(str, seeds)) if len(seeds) <= 5 else f"{len(seeds)} seeds"]

    def cell(self, column: str, plus_minus: str = "±") -> str:
        """Mean and deviation as they are printed."""
        text = self.as_shown(column, self.means[column])
        if column not in self.stds:
            return text
        return f"{text} {plus_minus} {self.as_shown(column, self.stds[column])}"

    def as_shown(self, column: str, value: float) -> str:
        """A number of a column as it is printed, with one decimal."""
        return f"{value:.1f}"


@dataclass(frozen=True)
class Table:
    """A table: its `key` has the values of TABLE_SETTINGS, `shared` what its rows share."""

    key: tuple
    columns: list[str]
    rows: list[Row]
    shared: str

    @property
    def title(self) -> str:
        dataset, corruption, severities = self.key
        return f"{dataset}, {corruption}, severities 0 to {severities}"

    @property
    def heads(self) -> list[str]:
        return ["method", "seeds", *self.columns]

    @property
    def remarks(self) -> list[str]:
        """What a reader of the numbers should know."""
        about = [WORST, *self._references(), *self._commits(), *self._unrecorded()]
        return [*about, *self._marks()]

    def _references(self) -> list[str]:
        labels = [row.label for row in self.rows if row.experiment.is_reference]
        if not labels:
            return []
        return [
            f"for reference, not for comparison: {', '.join(labels)} trained on the same images "
            f"with other severities than Poisson's"
        ]

    def _commits(self) -> list[str]:
        labels = {}
        for row in self.rows:
            for commit in (c for run in row.experiment.runs for c in run.short_commits):
                labels.setdefault(commit, {})[row.label] = None
        parts = (f"{commit} ({', '.join(rows)})" for commit, rows in sorted(labels.items()))
        if len(labels) > 1:
            return [f"runs of different commits: {', '.join(parts)}"]
        if any(commit.endswith("-dirty") for commit in labels):
            return [f"runs of a program with changes that no commit has: {', '.join(parts)}"]
        return []

    def _unrecorded(self) -> list[str]:
        """Which runs stand beside others that have recorded their test images."""
        lacking = {
            row.label: [r.seed for r in row.experiment.runs if not r.settings.get(TEST_IMAGES)]
            for row in self.rows
        }
        total = sum(len(row.experiment.runs) for row in self.rows)
        if sum(map(len, lacking.values())) in (0, total):
            return []
        parts = (f"{n} (seed {' '.join(map(str, s))})" for n, s in lacking.items() if s)
        return [f"test images not recorded, so not compared: {', '.join(parts)}"]

    def _marks(self) -> list[str]:
        """Among which rows the best are marked, where that does not go without saying."""
        compared, marked = _that_compare(self.rows), _with_most_seeds(self.rows)
        if len(marked) == len(compared):
            return []
        if len(marked) < 2:
            return ["no best is marked: rows differ in their seeds or their test images"]
        seeds = " ".join(map(str, marked[0].experiment.seeds))
        return [f"best of each column: among the rows with seed{'s' * (' ' in seeds)} {seeds}"]


def make_tables(experiments: list[Experiment], epoch: str) -> list[Table]:
    """All tables.

    Args:
        experiments: of `experiments.experiments_of`.
        epoch: whose numbers are shown: best (by validation) or last.
    """
    return [_make_table(key, members, epoch) for key, members in tables_of(experiments).items()]


def _make_table(key, experiments, epoch) -> Table:
    labels = labels_of(experiments)
    rows = [_make_row(experiment, label, epoch) for experiment, label in zip(experiments, labels)]
    rows.sort(key=row_order)
    columns = list(rows[0].means)
    for column in columns:
        mark_best(rows, column)
    return Table(key, columns, rows, shared_line(experiments))


def row_order(row: Row) -> tuple:
    """By method, references last."""
    experiment = row.experiment
    return experiment.is_reference, method_order(experiment.method), *row.first_cells


def mark_best(rows: list[Row], column: str, best: Callable = max) -> None:
    """Mark the best of several finished rows that compare, of those that have the most seeds.

    Numbers that look alike are marked alike, and none where all do, or where these rows differ in
    their seeds or their test images.

    Args:
        rows: of a table.
        column: which.
        best: max or min.
    """
    rows = _with_most_seeds(rows)
    numbers = [float(row.as_shown(column, row.means[column])) for row in rows]
    if len(set(numbers)) > 1:
        for row, number in zip(rows, numbers):
            if number == best(numbers):
                row.best.add(column)


def _that_compare(rows: list[Row]) -> list[Row]:
    return [row for row in rows if not (row.state or row.experiment.is_reference)]


def _with_most_seeds(rows: list[Row]) -> list[Row]:
    """Of the rows that compare those with the most seeds; none if seeds or test images differ."""
    compared = _that_compare(rows)
    most = max((len(row.experiment.seeds) for row in compared), default=0)
    rows = [row for row in compared if len(row.experiment.seeds) == most]
    kinds = {(*row.experiment.seeds, row.experiment.settings[TEST_IMAGES]) for row in rows}
    return rows if len(kinds) == 1 else []


def _make_row(experiment, label, epoch) -> Row:
    state = ""
    if not experiment.is_finished:
        (run,) = experiment.runs
        state = f"unfinished, {run.epoch}/{run.summary['total_epoch']}"
    numbers = [run.accuracies(epoch) for run in experiment.runs]
    values = {column: [100 * n[column] for n in numbers] for column in numbers[0]}
    return Row(experiment, label, state, values)


def over_runs(values: dict[str, list[float]]) -> tuple[dict[str, float], dict[str, float]]:
    """Means and standard deviations (n − 1 in the denominator) over runs.

    Args:
        values: of each column, one a run, at least one.

    Returns:
        By column, both; a single run has no deviation.
    """
    means = {column: float(np.mean(v)) for column, v in values.items()}
    stds = {column: float(np.std(v, ddof=1)) for column, v in values.items() if len(v) > 1}
    return means, stds
