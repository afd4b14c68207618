"""Images of the user's own that are to be corrupted: an array, or a folder of pictures."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from corruptions.errors import DataError
from corruptions.storage.arrays import Source
from corruptions.storage.files import check_file, memory_bytes, write_atomically
from corruptions.storage.npy import open_npy
from corruptions.storage.photographs import decode, opened_photograph
from corruptions.storage.workers import in_order, worker_pool

NAMES = "names.txt"
# With fewer pictures, starting worker processes costs more than it saves.
_WORTH_WORKERS = 500
# Pictures that a worker gets at a time.
_CHUNK = 32


def read_array(images: Path, labels: Path | None) -> Source:
    """Images uint8 (N, H, W, 3) and, if named, labels (N,) from .npy files.

    Raises:
        DataError: a file cannot be read, or holds something else.
    """
    array = _open("--images", images)
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[3] != 3 or not array.size:
        raise DataError(
            f"{images} holds {array.dtype} {array.shape}, not uint8 (N, H, W, 3) images"
        )
    return Source(array, read_labels(labels, len(array)))


def read_labels(path: Path | None, num_images: int) -> np.ndarray | None:
    """Labels, whole numbers (N,); None where no file is named. Errors as for `read_array`."""
    if path is None:
        return None
    labels = _open("--labels", path)
    if labels.shape != (num_images,) or labels.dtype.kind not in "iu":
        raise DataError(
            f"{path} holds {labels.dtype} {labels.shape}, not one label, a whole number, "
            f"for each of {num_images} images"
        )
    return labels


def _open(flag: str, path: Path) -> np.ndarray:
    try:
        return open_npy(path, remedy="save the array with numpy.save")
    except OSError as error:
        raise DataError(f"{flag} {path}: {error.strerror}") from error


@dataclass(frozen=True)
class Pictures:
    """The pictures of a folder: uint8 (N, H, W, 3), and their files' names, which sort them."""

    images: np.ndarray
    names: list[str]


def read_pictures(
    folder: Path, side: int | None, num_workers: int, report: Callable[[str], object]
) -> Pictures:
    """All pictures of a folder, of any kind, sorted by name; hidden files are left out.

    Args:
        folder: where they lie; folders in it are not looked into.
        side: squares of so many pixels are made of them, bilinear with antialiasing; None: they
            stay as they are, and must be of one size.
        num_workers: processes that decode.
        report: called with a line for each file that is left out, and why.

    Raises:
        DataError: there are none, or they are not of one size, too small or too many.
        OSError: a file cannot be read.
    """
    paths = sorted(p for p in folder.iterdir() if not p.name.startswith("."))
    for path in paths:
        if set(path.name) & {"\n", "\r"}:
            raise DataError(f"{str(path)!r} has a line break in its name: rename it")
    files = [path for path in paths if not path.is_dir()]
    for path in paths:
        if path.is_dir():
            report(f"skipped {path}: a folder")
    _check_memory(folder, files, side)
    images, names = [], []
    jobs = ((files[start : start + _CHUNK], side) for start in range(0, len(files), _CHUNK))
    with worker_pool(num_workers if len(files) >= _WORTH_WORKERS else 0) as pool:
        decoded = (image for some in in_order(pool, _decode_some, jobs) for image in some)
        for path, image in zip(files, decoded):
            if isinstance(image, str):
                report(f"skipped {path}: {image}")
                continue
            _check_size(image, path, images[0] if images else image, folder / (names or [""])[0])
            images.append(image)
            names.append(path.name)
    if not images:
        raise DataError(f"--images {folder} holds no pictures: name the folder that they lie in")
    return Pictures(np.stack(images), names)


def _check_memory(folder: Path, files: list[Path], side: int | None) -> None:
    """Refuse pictures that this machine cannot hold, as far as the first one tells."""
    for path in files:
        try:
            with opened_photograph(path) as image:
                pixels = side * side if side else image.width * image.height
        except DataError:
            continue
        needed = 3 * pixels * len(files)
        if needed > memory_bytes():
            raise DataError(
                f"--images {folder}: {len(files):,} pictures like {path.name} take "
                f"{needed / 1e9:,.0f} GB, more than this machine's memory: give a smaller --side"
            )
        return


def _decode_some(paths: list[Path], side: int | None) -> list[np.ndarray | str]:
    """Each picture, uint8 (H, W, 3), or why there is none."""
    results = []
    for path in paths:
        try:
            results.append(decode(path, side))
        except DataError as error:
            results.append(str(error))
    return results


def _check_size(image: np.ndarray, path: Path, first: np.ndarray, first_path: Path) -> None:
    height, width = image.shape[:2]
    if min(height, width) < 8:
        raise DataError(
            f"{path} has {width}×{height} pixels, and a side needs at least 8: give --side to make "
            f"squares of all pictures, or take it away"
        )
    if image.shape != first.shape:
        raise DataError(
            f"{first_path} has {first.shape[1]}×{first.shape[0]} pixels and {path} {width}×"
            f"{height}: give --side to make squares of one size of all pictures"
        )


def check_names(path: Path, names: list[str]) -> None:
    """See that a list of names, if it is there, says the same; see `write_names`.

    Raises:
        DataError: it does not.
    """
    check_file(path)
    if path.exists() and path.read_bytes() != _text_of(names):
        raise DataError(
            f"{path} lists other pictures than those that are there now: restore them, or use "
            f"another folder for --output"
        )


def write_names(path: Path, names: list[str]) -> None:
    """Write the names of pictures, one a line, in the order of the arrays beside it."""
    check_names(path, names)
    if not path.exists():
        write_atomically(path, _text_of(names))


def _text_of(names: list[str]) -> bytes:
    return "".join(f"{name}\n" for name in names).encode("utf-8", "surrogateescape")
