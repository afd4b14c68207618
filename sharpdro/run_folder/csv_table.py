"""The CSV tables of a run."""

import csv
import io
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from corruptions.storage.files import naming, write_atomically
from sharpdro.run_folder.reading import read_rows


class Table:
    """A CSV file that grows by rows; the first column is the epoch.

    Args:
        path: the file. An unfinished line and rows that are not to be kept are dropped, the rest
            stays byte by byte, except what a version with other columns has written: columns
            that it did not have stay empty.
        columns: names.
        keep: returns whether a row {column: cell} is kept, see `until_epoch`; none unless given.
        on_rows: called with the rows that are kept, and with those that are added, as {column:
            cell}.
    """

    def __init__(
        self,
        path: Path,
        columns: list[str],
        keep: Callable[[dict[str, str]], bool] = lambda row: False,
        on_rows: Callable[[list[dict[str, str]]], object] = lambda rows: None,
    ):
        self.path = path
        self._columns = columns
        self._on_rows = on_rows
        rows = read_rows(path, lambda row: row if keep(row) else None) if path.exists() else []
        cells = [[row.get(name, "") for name in columns] for row in rows if row is not None]
        write_atomically(path, csv_text(columns, cells))
        self._on_rows(self._by_column(cells))

    def append(self, rows: list[dict]) -> list[dict[str, str]]:
        """Add rows, by column name, and flush them to disk.

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


def until_epoch(epoch: int) -> Callable[[dict[str, str]], bool]:
    """Which rows of a table are of finished epochs."""
    return lambda row: int(row["epoch"]) <= epoch


def until_step(epoch: int, step: int) -> Callable[[dict[str, str]], bool]:
    """Which rows of train.csv are of finished epochs, or of the next one's finished steps."""
    return lambda row: (int(row["epoch"]), int(row["step"])) <= (epoch + 1, step)


def epochs_of(path: Path) -> list[int]:
    """Epochs of a table's whole lines; none if there is no such file."""
    return read_rows(path, lambda row: int(row["epoch"])) if path.exists() else []


def csv_text(columns: Iterable[str], rows: Iterable[Iterable]) -> str:
    """A table as CSV, a line each.

    Args:
        columns: their names.
        rows: the cells; numbers as `format_value` writes them.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([format_value(value) for value in row] for row in rows)
    return text.getvalue()


def format_value(value) -> str:
    """Floats with six significant digits, nothing for None."""
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
