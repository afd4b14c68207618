"""One source of images each.

A module that a `DatasetSpec` names as its `reader` has `read`, see `read_splits`.
"""

import importlib
from collections.abc import Callable, Iterable
from pathlib import Path

from dataset.sets import CleanSplit
from dataset.specs import DatasetSpec


def read_splits(
    spec: DatasetSpec,
    data_dir: Path,
    splits: Iterable[str] = ("train", "test"),
    num_workers: int = 0,
    show_progress: bool = False,
    report: Callable[[str], object] = lambda text: None,
) -> dict[str, CleanSplit]:
    """Read a dataset's clean images.

    Args:
        spec: the dataset.
        data_dir: where datasets lie.
        splits: which to read, of "train" and "test".
        num_workers: processes that decode photographs.
        show_progress: draw progress bars.
        report: called with a message about what is done.

    Raises:
        DataError: something is missing or does not fit.
        OSError: a file cannot be read or written.
    """
    reader = importlib.import_module(f"dataset.readers.{spec.reader}")
    return reader.read(
        spec,
        data_dir,
        splits,
        num_workers=num_workers,
        show_progress=show_progress,
        report=report,
    )
