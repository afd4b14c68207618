"""The published corrupted test images of CIFAR-10-C and CIFAR-100-C (Hendrycks & Dietterich, 2019).

A folder with {corruption}.npy, uint8 (5 · N, 32, 32, 3), the N test images at severity 1, then the
same at severity 2 and so on, and with labels.npy (5 · N,), the N labels five times over.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from corruptions import CORRUPTIONS, MAX_SEVERITY
from corruptions.errors import DataError
from corruptions.storage.files import check_space
from corruptions.storage.npy import open_npy, same_labels
from dataset.readers.download import ensure_unpacked
from dataset.specs import DatasetSpec

SIDE = 32
LABELS = "labels.npy"
# Instead of a folder: the official archive, which is unpacked into this one of the data directory.
DOWNLOAD, FOLDER = "download", "published"
_REMEDY = "unpack the published archive again, or name another folder with --published"


def fetch_published(
    spec: DatasetSpec,
    data_dir: Path,
    show_progress: bool = False,
    report: Callable[[str], object] = lambda text: None,
) -> Path:
    """The folder of a dataset's published images, `DATA_DIR/published/CIFAR-10-C` for example.

    If it is not there, the official archive is unpacked, after it has been downloaded unless it
    lies beside the folder; it stays there, and may be deleted.

    Args:
        spec: of a dataset that has a `published` archive.
        data_dir: where datasets lie.
        show_progress: draw a progress bar.
        report: called with a message about what is fetched.

    Raises:
        DataError: it cannot be had, see `ensure_unpacked`.
        OSError: there is no room for it, or it cannot be written.
    """
    archive, parent = spec.published, data_dir / FOLDER
    folder = parent / archive.file_name.removesuffix(".tar")
    if folder.is_dir():
        return folder
    gigabytes = f"{archive.num_bytes / 1e9:.1f} GB"
    if (parent / archive.file_name).exists():
        check_space(parent, archive.num_bytes)
        report(f"unpacking {parent / archive.file_name} ({gigabytes})")
    else:
        check_space(parent, 2 * archive.num_bytes)
        report(
            f"downloading {archive.file_name} into {parent}: {gigabytes}, and as much for what is "
            f"unpacked"
        )
    files = [*(f"{name}.npy" for name in CORRUPTIONS), LABELS]
    ensure_unpacked(archive, folder, files, show_progress)
    return folder


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
