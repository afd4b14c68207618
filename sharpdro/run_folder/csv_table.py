"""The CSV tables of a run."""

import csv
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from corruptions.storage.files import naming, write_atomically
from sharpdro.run_folder.reading import RESTORE, read_rows, refusing

EVALUATION_COLUMNS = ["epoch", "severity", "loss", "accuracy", "count"]


class Table:
    """A CSV file that grows by rows; the first column is the epoch.

    Args:
        path: the file. Unfinished lines and those that are not to be kept are dropped, the rest
            stays byte by byte, but for what a version with other columns has written: columns
            that it did not have stay empty.
        columns: names.
        keep: tells which whole lines are kept, see `until_epoch`; none unless given.
        on_rows: called with the rows that are kept, and with those that are added, as {column:
            cell}.
    """

    def __init__(
        self,
        path: Path,
        columns: list[str],
        keep: Callable[[str], bool] = lambda line: False,
        on_rows: Callable[[list[dict[str, str]]], object] = lambda rows: None,
    ):
        self.path = path
        self._columns = columns
        self._on_rows = on_rows
        kept = self._kept_lines(keep) if path.exists() else []
        write_atomically(path, "".join([",".join(columns) + "\n", *kept]))
        self._on_rows(self._by_column(line.rstrip("\n").split(",") for line in kept))

    def _kept_lines(self, keep: Callable[[str], bool]) -> list[str]:
        with refusing(self.path, RESTORE), open(self.path, encoding="utf-8", newline="") as file:
            head, *lines = file.readlines() or [""]
            columns = head.rstrip("\n").split(",")
            whole = (x for x in lines if x.endswith("\n") and x.count(",") == len(columns) - 1)
            kept = [line for line in whole if keep(line)]
        if columns == self._columns:
            return kept
        rows = (dict(zip(columns, line.rstrip("\n").split(","))) for line in kept)
        return [",".join(row.get(name, "") for name in self._columns) + "\n" for row in rows]

    def append(self, rows: list[dict]) -> list[dict[str, str]]:
        """Add rows, by column name, and see them to disk.

        Returns:
            The rows as they are in the table, {column: cell}.

        Raises:
            OSError: they cannot be written.
        """
        cells = [[format_value(row[column]) for column in self._columns] for row in rows]
        with naming(self.path), open(self.path, "a", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(cells)
            file.flush()
            os.fsync(file.fileno())
        added = self._by_column(cells)
        self._on_rows(added)
        return added

    def _by_column(self, cells: Iterable[list[str]]) -> list[dict[str, str]]:
        return [dict(zip(self._columns, row)) for row in cells]


def epoch_of(line: str) -> int:
    """Epoch of a line of a table."""
    return int(line.split(",", 1)[0])


def until_epoch(epoch: int) -> Callable[[str], bool]:
    """Which lines of a table are of finished epochs."""
    return lambda line: epoch_of(line) <= epoch


def until_step(epoch: int, step: int) -> Callable[[str], bool]:
    """Which lines of train.csv are of finished epochs, or of the next one's finished steps."""
    return lambda line: tuple(map(int, line.split(",", 2)[:2])) <= (epoch + 1, step)


def epochs_of(path: Path) -> list[int]:
    """Epochs of a table's whole lines; none if there is no such file."""
    return read_rows(path, lambda row: int(row["epoch"])) if path.exists() else []


def format_value(value) -> str:
    """Floats with six significant digits, nothing for None."""
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
