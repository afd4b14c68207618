"""Means and worst accuracies over the corruptions of a dataset, and their averages."""

import json
from dataclasses import dataclass, replace

import numpy as np

from sharpdro.report.experiments import (
    TABLE_SETTINGS,
    Experiment,
    labels_of,
    method_order,
    shared_line,
)
from sharpdro.report.runs import TEST_IMAGES
from sharpdro.report.tables import WORST, Row, Table, shown

COLUMNS = {"mean": "mean over", "worst": "worst of"}
# main.py takes it for -c frost alone, where it says what frost is.
_FROST_DIR = "frost_dir"


@dataclass(frozen=True)
class Overview:
    """One number per corruption and experiment: `lines` of cells under `heads`."""

    title: str
    shared: str
    heads: list[str]
    lines: list[list[str]]
    remark: str


def make_overviews(tables: list[Table]) -> list[Overview]:
    """The mean and the worst accuracy, for each dataset and num_severity with several corruptions.

    Runs that are not finished are left out.
    """
    groups = {}
    for table in tables:
        dataset, _, num_severity = table.key
        groups.setdefault((dataset, num_severity), []).append(table)
    overviews = []
    for (dataset, num_severity), members in groups.items():
        joined = _join(members)
        if len(members) > 1 and joined:
            for column, name in COLUMNS.items():
                title = f"{dataset}, {name} severities 0 to {num_severity}"
                overviews.append(_make_overview(title, column, members, joined))
    return overviews


@dataclass(frozen=True)
class _Column:
    """The finished rows by corruption in which nothing differs but the corruption."""

    experiment: Experiment
    rows: dict[str, Row]


def _join(tables: list[Table]) -> list[_Column]:
    joined = {}
    for table in tables:
        rows = [row for row in table.rows if not row.state]
        members = [_without_corruption(row.experiment, table) for row in rows]
        keys = [_key(experiment) for experiment in members]
        for row, experiment, key in zip(rows, members, keys):
            if keys.count(key) > 1:  # nothing but their test images tells them apart
                images = {TEST_IMAGES: row.experiment.settings[TEST_IMAGES]}
                experiment = replace(experiment, settings={**experiment.settings, **images})
            column = joined.setdefault(_key(experiment), _Column(experiment, {}))
            column.rows[_name(table)] = row
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


def _make_overview(title, column, tables, joined) -> Overview:
    experiments = [each.experiment for each in joined]
    labelled = sorted(
        zip(labels_of(experiments), joined),
        key=lambda pair: (method_order(pair[1].experiment.method), pair[0]),
    )
    rows_of_each = [each.rows for _, each in labelled]  # by corruption
    lines = [
        [name, *(_cell(rows.get(name), column) for rows in rows_of_each)]
        for name in map(_name, tables)
    ]
    lines.append(["average", *(_average(rows, column, len(tables)) for rows in rows_of_each)])
    lines.append(["seeds", *map(_num_seeds, rows_of_each)])
    frost_dirs = {_name(table): _frost_dir_of(table) for table in tables}
    frost = [f"{name}: {_FROST_DIR}={folder}" for name, folder in frost_dirs.items() if folder]
    remark = ", ".join([*([WORST] if column == "worst" else []), *frost])
    heads = ["", *(label for label, _ in labelled)]
    return Overview(title, shared_line(experiments), heads, lines, remark)


def _name(table: Table) -> str:
    _, corruption, _ = table.key
    return corruption


def _cell(row, column) -> str:
    return "–" if row is None else row.cell(column) + "*" * (column in row.best)


def _average(rows, column, num_tables) -> str:
    """Of what was run on all corruptions."""
    if len(rows) < num_tables:
        return "–"
    return shown(float(np.mean([row.means[column] for row in rows.values()])))


def _num_seeds(rows) -> str:
    """How many the numbers are means over, the smallest and the largest number."""
    counts = {len(row.experiment.runs) for row in rows.values()}
    return "–".join(map(str, sorted({min(counts), max(counts)})))
