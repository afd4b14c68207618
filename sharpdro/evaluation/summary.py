"""From val.csv and test.csv to the best epoch, summary.json and the closing table.

All of it is derived from the tables, so that a resumed run cannot get another result.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from corruptions.storage.files import write_atomically
from sharpdro.errors import RunError
from sharpdro.evaluation.scores import (
    LATER_COLUMNS,
    SCORE_COLUMNS,
    Score,
    mean_score,
    worst_score,
)
from sharpdro.run_folder.folder import SUMMARY
from sharpdro.run_folder.reading import read_rows
from sharpdro.text_tables import aligned

# Of a table of evaluations: {epoch: {"0" … "S", "mean", "worst": {loss, accuracy, count, …}}}.
Evaluations = dict[int, dict[str, dict]]
EVALUATION_COLUMNS = ["epoch", "severity", *SCORE_COLUMNS]
BEST_METRICS = ("worst", "mean", "clean")


def evaluation_rows(epoch: int, scores: list[Score]) -> list[dict]:
    """Rows of val.csv or test.csv: one per severity, then their mean and the worst of them."""
    named = [*enumerate(scores), ("mean", mean_score(scores)), ("worst", worst_score(scores))]
    return [{"epoch": epoch, "severity": name, **vars(score)} for name, score in named]


def evaluations_of(rows: Iterable[dict[str, str]]) -> Evaluations:
    """What rows {column: cell} of val.csv or test.csv hold.

    Raises:
        KeyError, ValueError: a column is missing or holds no number.
    """
    evaluations: Evaluations = {}
    for row in rows:
        evaluations.setdefault(int(row["epoch"]), {})[row["severity"]] = numbers_of(row)
    return evaluations


def read_evaluations(path: Path) -> Evaluations:
    """The evaluations in val.csv or test.csv.

    Raises:
        RunError: it is not such a table.
    """
    evaluations: Evaluations = {}
    for row in read_rows(path, lambda row: evaluations_of([row])):
        for epoch, scores in row.items():
            evaluations.setdefault(epoch, {}).update(scores)
    for epoch, scores in evaluations.items():
        if not is_complete(scores):
            raise RunError(
                f"{path} lacks severities of epoch {epoch}: restore it, or delete {path.parent}"
            )
    return evaluations


def is_complete(scores: dict) -> bool:
    """Whether there is something for the severities 0, 1 and so on, "mean" and "worst"."""
    severities = map(str, range(max(1, len(scores) - 2)))
    return list(scores) == [*severities, "mean", "worst"]


def numbers_of(row: dict[str, str]) -> dict[str, float]:
    """The numbers of a row, by column; without those that an earlier version did not measure."""
    measured = [name for name in SCORE_COLUMNS if name not in LATER_COLUMNS or row.get(name)]
    return {name: int(row[name]) if name == "count" else float(row[name]) for name in measured}


def best_epoch(validation: Evaluations, metric: str) -> int:
    """The epoch of the highest validation accuracy, the earliest of several.

    Args:
        validation: of `read_evaluations`.
        metric: which accuracy: of the worst severity, their mean, or severity 0 ("clean").
    """
    row = "0" if metric == "clean" else metric
    return max(validation, key=lambda epoch: (validation[epoch][row]["accuracy"], -epoch))


def write_summary(
    folder: Path,
    evaluations: dict[str, Evaluations],
    total_epoch: int,
    metric: str,
    facts: dict | None = None,
) -> dict:
    """Write summary.json: numbers per severity at the last and at the best epoch so far.

    Args:
        folder: the run's.
        evaluations: in its val.csv and test.csv, as "validation" and "test".
        total_epoch: number of epochs of the run.
        metric: see `best_epoch`.
        facts: on the training, to be written, too.

    Returns:
        What is written.

    Raises:
        RunError: the tables hold no epoch, or not the same ones.
    """
    validation, test = evaluations["validation"], evaluations["test"]
    if not validation or validation.keys() != test.keys():
        raise RunError(f"val.csv and test.csv in {folder} differ in their epochs: restore them")

    def numbers(epoch):
        return {"epoch": epoch, "validation": validation[epoch], "test": test[epoch]}

    last = max(validation)
    summary = {
        "finished": last == total_epoch,
        "total_epoch": total_epoch,
        "best_metric": metric,
        **(facts or {}),
        "best": numbers(best_epoch(validation, metric)),
        "last": numbers(last),
    }
    write_atomically(folder / SUMMARY, json.dumps(summary, indent=2) + "\n")
    return summary


def accuracy_table(rows: dict[str, dict[str, dict]]) -> str:
    """Accuracies in percent as a text table.

    Args:
        rows: per line its title and {severity: {"accuracy": …}}.
    """
    severities = list(next(iter(rows.values())))
    lines = [["", *map(str, severities)]]
    for title, scores in rows.items():
        lines.append([title, *(f"{100 * scores[s]['accuracy']:6.2f}" for s in severities)])
    return "\n".join(aligned(lines, 1))
