"""The published corrupted test images of CIFAR-10-C and CIFAR-100-C (Hendrycks & Dietterich, 2019).

A folder with {corruption}.npy, uint8 (5 · N, 32, 32, 3), the N test images at severity 1, then the
same at severity 2 and so on, and with labels.npy (5 · N,), the N labels five times over.
"""

from pathlib import Path

import numpy as np

from corruptions import MAX_SEVERITY
from corruptions.errors import DataError
from corruptions.storage.npy import open_npy, same_labels

SIDE = 32
LABELS = "labels.npy"
_REMEDY = "unpack the published archive again, or name another folder with --published"


def check_files(folder: Path, corruptions: list[str]) -> None:
    """Check that the files of some corruptions are there.

    Raises:
        DataError: one is missing.
    """
    if not folder.is_dir():
        raise DataError(f"--published {folder} is not a folder")
    names = [*(f"{corruption}.npy" for corruption in corruptions), LABELS]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise DataError(
            f"--published {folder} lacks {', '.join(missing)}: put them there, or measure other "
            f"corruptions with -c"
        )


def open_published(
    folder: Path, corruption: str, images: np.ndarray, labels: np.ndarray
) -> list[np.ndarray]:
    """The published versions of a dataset's test images at severities 1 … 5, memory-mapped.

    Args:
        folder: where the files lie.
        corruption: one of `corruptions.CORRUPTIONS`.
        images: the clean test images, uint8 (N, H, W, 3).
        labels: theirs, (N,).

    Returns:
        uint8 (N, H, W, 3) for each severity.

    Raises:
        DataError: a file is missing or does not fit these images.
    """
    check_files(folder, [corruption])
    _check_labels(folder / LABELS, labels)
    path, num_images = folder / f"{corruption}.npy", len(images)
    array = open_npy(path, _REMEDY)
    expected = (MAX_SEVERITY * num_images, *images.shape[1:])
    if array.dtype != np.uint8 or array.shape != expected:
        raise DataError(
            f"{path} holds {array.dtype} {array.shape}, expected uint8 {expected}, the "
            f"{num_images:,} test images at {MAX_SEVERITY} severities: {_REMEDY}"
        )
    return [array[start : start + num_images] for start in range(0, len(array), num_images)]


def _check_labels(path: Path, labels: np.ndarray) -> None:
    published = open_npy(path, _REMEDY)
    if not same_labels(published, np.tile(labels, MAX_SEVERITY)):
        raise DataError(
            f"{path} does not hold the labels of the dataset's {len(labels):,} test images "
            f"{MAX_SEVERITY} times over: {_REMEDY}"
        )
