"""Event files for TensorBoard: what the tables of a run hold, once more.

The tables stay the only truth. Whenever a run starts or goes on, its event file is made anew from
the rows that they hold, and follows them from there on; so it has neither gaps nor doubles.

It is written with tensorboardX, but not by its SummaryWriter: that one hands events to a thread
through a queue, its `flush` does not wait for them, so that a killed run would lack rows, and where
the disk is full the thread ends and the next `add_scalar` waits for ever (tensorboardX 2.6.5).
"""

import contextlib
import importlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from sharpdro.errors import RunError
from sharpdro.run_folder.reading import BROKEN, read_rows, reason_of

Rows = list[dict[str, str]]
# The tables of a run and what their tags begin with.
TABLES = {"train.csv": "train", "val.csv": "validation", "test.csv": "test"}
# Of evaluations; earlier versions have not measured the later ones.
_MEASURED, _LATER = ("loss", "accuracy"), ("ece", "worst_class_accuracy")
_TIMES = ("epoch", "step", "global_step")  # what a row of train.csv stands for, no measurements
_FILES = "events.out.tfevents.*"
_PER_GROUP = {
    "count": "group_count/severity",
    "loss": "group_loss/severity",
    "accuracy": "group_accuracy/severity",
    "weight": "group_weight/severity",
    "inferred_weight": "group_weight/inferred",
    "score": "score/severity",
}


def require_tensorboardx() -> None:
    """Check that event files can be written.

    Raises:
        RunError: tensorboardX is not installed, or does not work.
    """
    try:
        importlib.import_module("tensorboardX.event_file_writer")
    except ImportError as error:
        raise RunError(
            f"--tensorboard needs the package tensorboardX ({error}): "
            f"pip install -r requirements-tensorboard.txt"
        ) from error


def scalars(table: str, row: dict[str, str]) -> dict[str, float]:
    """What a row of a table says, by tag; empty cells say nothing.

    Args:
        table: one of TABLES.
        row: cells by column.
    """
    if table == "train.csv":
        tags = {column: _train_tag(column) for column in row if column not in _TIMES}
    else:
        kind, severity = TABLES[table], row["severity"]
        name = f"severity_{severity}" if severity.isdecimal() else severity
        columns = (*_MEASURED, *(column for column in _LATER if column in row))
        tags = {column: f"{kind}_{column}/{name}" for column in columns}
    return {tag: float(row[column]) for column, tag in tags.items() if row[column]}


def _train_tag(column: str) -> str:
    name, _, number = column.rpartition("_")
    if number.isdecimal():
        return f"{_PER_GROUP[name]}_{number}"
    return "score/spearman" if column == "score_spearman" else f"train/{column}"


def global_step(table: str, row: dict[str, str], steps_per_epoch: int) -> int:
    """Steps trained until a row: those of evaluations stand where their epoch ends."""
    epoch = int(row["epoch"])
    if table == "train.csv":
        return (epoch - 1) * steps_per_epoch + int(row["step"])
    return epoch * steps_per_epoch


@contextlib.contextmanager
def event_file(folder: Path, steps_per_epoch: int) -> Iterator[Callable[[str, Rows], None]]:
    """A new event file instead of those in a folder; both are made when there are rows.

    Yields:
        A function of a table's name and rows of it that writes these, and sees them to disk.
    """
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.proto.summary_pb2 import Summary

    with contextlib.ExitStack() as stack:
        writers = []

        def write(table: str, rows: Rows) -> None:
            if not writers:
                writers.append(stack.enter_context(contextlib.closing(_start(folder))))
            for row in rows:
                writers[0].write_event(event_of(table, row))
            writers[0].flush()

        def event_of(table, row):
            try:
                values = [
                    Summary.Value(tag=tag, simple_value=value)
                    for tag, value in scalars(table, row).items()
                ]
                step = global_step(table, row, steps_per_epoch)
                return Event(wall_time=time.time(), step=step, summary=Summary(value=values))
            except BROKEN as error:
                raise RunError(
                    f"{table} of {folder.parent} cannot be shown ({reason_of(error)}): restore "
                    f"it, or leave out --tensorboard"
                ) from error

        yield write


def _start(folder: Path):
    """The writer of a new event file."""
    from tensorboardX.event_file_writer import EventsWriter

    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob(_FILES):
        path.unlink()
    return EventsWriter(str(folder / "events"))


def convert_tables(folder: Path, events: Path) -> None:
    """Make the event file of a run, or stage of one, that is finished.

    Args:
        folder: where its tables lie.
        events: folder of the event file.

    Raises:
        RunError: a table is missing or damaged.
    """
    tables = {name: read_rows(folder / name, lambda row: row) for name in TABLES}
    steps = read_rows(folder / "train.csv", lambda row: int(row["step"]))
    steps_per_epoch = max(steps, default=1)
    with event_file(events, steps_per_epoch) as write:
        for name, rows in tables.items():
            write(name, rows)
