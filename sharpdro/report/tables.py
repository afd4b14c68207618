"""The paper's table: methods by severities, mean ± standard deviation over seeds."""

from dataclasses import dataclass, field

import numpy as np

from sharpdro.command_line import default_of
from sharpdro.report.runs import (
    METHOD_ORDER,
    Experiment,
    common_settings,
    tables_of,
    varying_settings,
)


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Args:
        experiment: whose numbers these are.
        label: its method, and the settings in which the table's experiments differ, as far as
            they are not the defaults.
        state: "" once all runs are finished, or else how far it is.
        means: test accuracy in percent by column, mean over runs.
        stds: standard deviations (n − 1 in the denominator); None for a single run.
        best: columns of which it has the highest mean, of several finished rows.
    """

    experiment: Experiment
    label: str
    state: str
    means: dict[str, float]
    stds: dict[str, float] | None
    best: set[str] = field(default_factory=set)

    @property
    def first_cells(self) -> list[str]:
        """What is run, and the seeds."""
        label = f"{self.label} ({self.state})" if self.state else self.label
        seeds = self.experiment.seeds
        return [label, " ".join(map(str, seeds)) if len(seeds) <= 5 else f"{len(seeds)} seeds"]

    def cell(self, column: str, plus_minus: str = "±") -> str:
        """A number as it is printed, with one decimal."""
        text = f"{self.means[column]:.1f}"
        return f"{text} {plus_minus} {self.stds[column]:.1f}" if self.stds else text


@dataclass(frozen=True)
class Table:
    """A table: its `key` tells the values of TABLE_SETTINGS, `settings` what its rows share."""

    key: tuple
    columns: list[str]
    rows: list[Row]
    settings: dict

    @property
    def shared(self) -> str:
        """What all rows have in common, in a line."""
        return " ".join(f"{name}={value}" for name, value in self.settings.items())

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
        labels = {}
        for row in self.rows:
            for run in row.experiment.runs:
                labels.setdefault(run.commit[:7] or "unknown", {})[row.label] = None
        if len(labels) < 2:
            return []
        parts = (f"{commit} ({', '.join(found)})" for commit, found in sorted(labels.items()))
        return [f"runs of different commits: {', '.join(parts)}"]


def make_tables(experiments: list[Experiment], epoch: str) -> list[Table]:
    """All tables.

    Args:
        experiments: of `runs.experiments_of`.
        epoch: whose numbers are shown: best (by validation) or last.
    """
    return [_make_table(key, members, epoch) for key, members in tables_of(experiments).items()]


def _make_table(key, experiments, epoch) -> Table:
    varying = varying_settings(experiments)
    rows = [_make_row(experiment, varying, epoch) for experiment in experiments]
    rows.sort(key=lambda row: (METHOD_ORDER.index(row.experiment.method), *row.first_cells))
    columns = list(rows[0].means)
    finished = [row for row in rows if not row.state]
    if len(finished) > 1:
        for column in columns:
            highest = max(row.means[column] for row in finished)
            for row in finished:
                if row.means[column] == highest:
                    row.best.add(column)
    return Table(key, columns, rows, common_settings(experiments))


def _make_row(experiment, varying, epoch) -> Row:
    settings = experiment.settings
    shown = [
        f"{name}={settings[name]}"
        for name in varying
        if name in settings and settings[name] != default_of(name)
    ]
    state = ""
    if not experiment.is_finished:
        (run,) = experiment.runs
        state = f"unfinished, {run.epoch}/{run.summary['total_epoch']}"
    numbers = [run.accuracies(epoch) for run in experiment.runs]
    values = {column: [100 * n[column] for n in numbers] for column in numbers[0]}
    means = {column: float(np.mean(v)) for column, v in values.items()}
    return Row(
        experiment,
        " ".join([experiment.method, *shown]),
        state,
        means,
        {c: float(np.std(v, ddof=1)) for c, v in values.items()} if len(numbers) > 1 else None,
    )


@dataclass(frozen=True)
class Overview:
    """One number per table and experiment: `lines` of cells under `heads`."""

    column: str
    heads: list[str]
    lines: list[list[str]]
    remark: str


def make_overviews(tables: list[Table]) -> list[Overview]:
    """The mean and the worst accuracy in all tables, where there are several, and their averages.

    Runs that are not finished are left out.
    """
    if len(tables) < 2:
        return []
    settings = set().union(*(table.settings for table in tables))
    differing = sorted(
        name for name in settings if len({str(t.settings.get(name)) for t in tables}) > 1
    )
    remark = f"the lines differ also in {', '.join(differing)}" if differing else ""
    return [_make_overview(tables, column, remark) for column in ("mean", "worst")]


def _make_overview(tables, column, remark) -> Overview:
    by_label = [{row.label: row for row in table.rows if not row.state} for table in tables]
    labels = list(dict.fromkeys(label for rows in by_label for label in rows))
    lines = []
    for name, rows in zip(_short_names(tables), by_label):
        marks = {label: "*" if column in row.best else "" for label, row in rows.items()}
        cells = [rows[x].cell(column) + marks[x] if x in rows else "–" for x in labels]
        lines.append([name, *cells])
    everywhere = [all(label in rows for rows in by_label) for label in labels]
    averages = [
        f"{np.mean([rows[label].means[column] for rows in by_label]):.1f}" if full else "–"
        for label, full in zip(labels, everywhere)
    ]
    return Overview(column, ["", *labels], [*lines, ["average", *averages]], remark)


def _short_names(tables) -> list[str]:
    """What tells the tables apart."""
    varying = [len(set(values)) > 1 for values in zip(*(table.key for table in tables))]
    return [" ".join(str(x) for x, varies in zip(t.key, varying) if varies) for t in tables]
