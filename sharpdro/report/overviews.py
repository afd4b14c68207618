"""Means and worst accuracies over the corruptions of a dataset, and their averages."""

import json
from dataclasses import dataclass, field, replace

import numpy as np

from sharpdro.report.experiments import TABLE_SETTINGS, Experiment, labels_of, shared_line
from sharpdro.report.runs import TEST_IMAGES
from sharpdro.report.tables import WORST, Row, Table, mark_best, row_order

AVERAGE = "average"
# Of a table of accuracies; what an overview of it is called.
_OVERVIEWS = {"mean": "mean over", "worst": "worst of"}
# main.py takes it for -c frost alone, where it says what frost is.
_FROST_DIR = "frost_dir"


@dataclass(frozen=True)
class OverviewRow(Row):
    """What was run on several corruptions, in all else with the same settings.

    Args:
        seeds: as they are shown.
    """

    seeds: str = ""

    @property
    def first_cells(self) -> list[str]:
        return [self.label, self.seeds]

    def cell(self, column: str, plus_minus: str = "±") -> str:
        return super().cell(column, plus_minus) if column in self.values else "–"


@dataclass(frozen=True)
class OverviewTable(Table):
    """One number per experiment and corruption, and the average of those on all corruptions.

    Args:
        of: the column of the corruptions' tables that it shows.
        frost: which photographs are frost.
    """

    of: str = ""
    frost: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        dataset, _, num_severity = self.key
        return f"{dataset}, {_OVERVIEWS[self.of]} severities 0 to {num_severity}"

    @property
    def remarks(self) -> list[str]:
        marks = "best of a corruption: as in its own table"
        is_marked = any(row.best - {AVERAGE} for row in self.rows)
        about = [WORST] * (self.of == "worst") + self.frost
        return [*about, *self._references(), *([marks] if is_marked else [])]


def make_overviews(tables: list[Table]) -> list[OverviewTable]:
    """The mean and the worst accuracy, for each dataset and num_severity with several corruptions.

    Runs that are not finished are left out.
    """
    groups = {}
    for table in tables:
        dataset, _, num_severity = table.key
        groups.setdefault((dataset, None, num_severity), []).append(table)
    overviews = []
    for key, members in groups.items():
        joined = _join(members)
        if len(members) > 1 and joined:
            overviews += [_make_overview(key, of, members, joined) for of in _OVERVIEWS]
    return overviews


@dataclass(frozen=True)
class _Joined:
    """The finished rows by corruption in which nothing differs but the corruption."""

    experiment: Experiment
    rows: dict[str, Row]


def _join(tables: list[Table]) -> list[_Joined]:
    joined = {}
    for table in tables:
        rows = [row for row in table.rows if not row.state]
        members = [_without_corruption(row.experiment, table) for row in rows]
        keys = [_key(experiment) for experiment in members]
        for row, experiment, key in zip(rows, members, keys):
            if keys.count(key) > 1:  # nothing but their test images tells them apart
                images = {TEST_IMAGES: row.experiment.settings[TEST_IMAGES]}
                experiment = replace(experiment, settings={**experiment.settings, **images})
            each = joined.setdefault(_key(experiment), _Joined(experiment, {}))
            each.rows[_name(table)] = row
    return list(joined.values())


def _key(experiment: Experiment) -> tuple:
    return experiment.method, json.dumps(experiment.settings, sort_keys=True)


def _without_corruption(experiment, table) -> Experiment:
    of_corruption = {*TABLE_SETTINGS, TEST_IMAGES}
    settings = {n: v for n, v in experiment.settings.items() if n not in of_corruption}
    if _frost_dir_of(table):
        settings[_FROST_DIR] = None
    return replace(experiment, settings=settings)


def _frost_dir_of(table) -> str | None:
    """That of all rows, if they have the same."""
    folders = {row.experiment.settings.get(_FROST_DIR) for row in table.rows}
    return folders.pop() if len(folders) == 1 else None


def _make_overview(key, of, tables, joined) -> OverviewTable:
    experiments = [each.experiment for each in joined]
    rows = [
        _make_row(each, label, of, len(tables))
        for each, label in zip(joined, labels_of(experiments))
    ]
    rows.sort(key=row_order)
    mark_best([row for row in rows if AVERAGE in row.values], AVERAGE)
    frost = {_name(table): _frost_dir_of(table) for table in tables}
    frost = [f"{name}: {_FROST_DIR}={folder}" for name, folder in frost.items() if folder]
    columns = [*map(_name, tables), AVERAGE]
    return OverviewTable(key, columns, rows, shared_line(experiments), of, frost)


def _make_row(joined, label, of, num_tables) -> OverviewRow:
    """Of one number per run and corruption; its experiment has the runs of the first corruption."""
    values = {name: row.values[of] for name, row in joined.rows.items()}
    members = [row.experiment for row in joined.rows.values()]
    if len(values) == num_tables:
        has_same_seeds = all(member.seeds == members[0].seeds for member in members)
        numbers = [np.mean([row.means[of] for row in joined.rows.values()])]
        if has_same_seeds:  # so that there is an average, and a deviation of them, over seeds
            numbers = np.mean(list(values.values()), axis=0)
        values[AVERAGE] = [float(number) for number in numbers]
    # What the averages of two rows must share to be compared.
    measured = [(name, e.settings[TEST_IMAGES], e.seeds) for name, e in zip(values, members)]
    settings = {**joined.experiment.settings, TEST_IMAGES: json.dumps(measured)}
    experiment = replace(joined.experiment, settings=settings, runs=members[0].runs)
    best = {name for name, row in joined.rows.items() if of in row.best}
    return OverviewRow(experiment, label, "", values, best, _seeds(joined.rows))


def _name(table: Table) -> str:
    _, corruption, _ = table.key
    return corruption


def _seeds(rows: dict[str, Row]) -> str:
    """Which, or how many where they differ between corruptions: the smallest, largest number."""
    shown_seeds = {row.first_cells[1] for row in rows.values()}
    if len(shown_seeds) == 1:
        return shown_seeds.pop()
    counts = {len(row.experiment.seeds) for row in rows.values()}
    return f"{'–'.join(map(str, sorted({min(counts), max(counts)})))} seeds"
