"""The tables that a training writes: train.csv, val.csv and test.csv."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from sharpdro.evaluation.scores import Score
from sharpdro.evaluation.summary import (
    EVALUATION_COLUMNS,
    Evaluations,
    evaluation_rows,
    evaluations_of,
    read_evaluations,
)
from sharpdro.run_folder.csv_table import Table, until_epoch, until_step
from sharpdro.run_folder.reading import read_rows

OnRows = Callable[[str, list[dict[str, str]]], object]
SPLITS = {"validation": "val.csv", "test": "test.csv"}


class RunTables:
    """The tables, and the evaluations that they contain.

    Args:
        folder: the run's.
        columns: of train.csv.
        on_rows: called with the name of a table and the rows that it begins with, or that are
            added, see `Table`.
        finished_epochs, finished_steps: what is kept of tables that are there: these epochs, and of
            train.csv these steps of the next one.
    """

    def __init__(
        self,
        folder: Path,
        columns: list[str],
        on_rows: OnRows,
        finished_epochs: int,
        finished_steps: int,
    ):
        def table(name, columns, keep):
            return Table(folder / name, columns, keep, partial(on_rows, name))

        self._train = table("train.csv", columns, until_step(finished_epochs, finished_steps))
        whole = until_epoch(finished_epochs)
        self._evaluated = {s: table(n, EVALUATION_COLUMNS, whole) for s, n in SPLITS.items()}
        self.evaluations: dict[str, Evaluations] = {
            split: read_evaluations(table.path) for split, table in self._evaluated.items()
        }

    def add_training(self, row: dict) -> None:
        """Add a line to train.csv."""
        self._train.append([row])

    def training_seconds(self) -> float | None:
        """What all steps in train.csv took; None if that was not recorded for some of them."""
        cells = read_rows(self._train.path, lambda row: row["seconds"])
        return None if "" in cells else round(sum(map(float, cells)), 1)

    def add_evaluation(self, split: str, epoch: int, scores: list[Score]) -> None:
        """Add the scores per severity to val.csv or test.csv.

        Args:
            split: "validation" or "test".
            epoch: after which they were measured.
            scores: at severities 0 … S.
        """
        rows = self._evaluated[split].append(evaluation_rows(epoch, scores))
        self.evaluations[split].update(evaluations_of(rows))  # as a resumed run would read them
