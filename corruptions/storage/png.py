"""Corrupted images as PNG files: FOLDER/{corruption}/{severity}/NAME.png."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from corruptions.errors import DataError
from corruptions.storage.arrays import chunks
from corruptions.storage.files import complete, exclusive_partial
from corruptions.storage.manifest import Recipe
from corruptions.storage.photographs import opened_photograph
from corruptions.storage.workers import in_order, worker_pool

# With less, starting worker processes costs more than it saves.
_WORTH_WORKERS_BYTES = 50_000_000


def png_names(names: list[str]) -> list[str]:
    """What pictures are called as PNG files.

    Raises:
        DataError: two would be called the same.
    """
    by_name = {}
    for name in names:
        other = by_name.setdefault(f"{Path(name).stem}.png", name)
        if other != name:
            raise DataError(
                f"--png: {other} and {name} would both become {Path(name).stem}.png: rename one"
            )
    return list(by_name)


def write_pngs(
    folder: Path, arrays: dict[Recipe, np.ndarray], names: list[str], num_workers: int
) -> tuple[int, int]:
    """Write every image of the arrays as a PNG file; those that are there already are compared.

    A file appears under its name once it is complete, and may then be lost in a power failure
    alone: what the next call finds of it then differs.

    Args:
        folder: where they are put.
        arrays: uint8 (N, H, W, 3) by recipe.
        names: of the files, (N,), see `png_names`.
        num_workers: processes that write.

    Returns:
        How many were written, and how many were there.

    Raises:
        DataError: a file that is there is of another image.
        OSError: a file cannot be written.
    """
    num_bytes = sum(array.nbytes for array in arrays.values())
    total, written = len(names) * len(arrays), 0
    with (
        tqdm(desc="writing PNG files", total=total, unit="image", disable=None) as bar,
        worker_pool(num_workers if num_bytes >= _WORTH_WORKERS_BYTES else 0) as pool,
    ):
        for results in in_order(pool, _write_some, _jobs(folder, arrays, names)):
            written += sum(results)
            bar.update(len(results))
    return written, total - written


def _jobs(folder, arrays, names) -> Iterator[tuple[np.ndarray, list[Path]]]:
    for recipe, array in arrays.items():
        place = folder / recipe.name / str(recipe.severity)
        place.mkdir(parents=True, exist_ok=True)
        for start, images in chunks(array):
            yield images, [place / name for name in names[start : start + len(images)]]


def _write_some(images: np.ndarray, paths: list[Path]) -> list[bool]:
    """Write images; whether each had to be."""
    return [_write(image, path) for image, path in zip(images, paths)]


def _write(image: np.ndarray, path: Path) -> bool:
    if path.exists():
        _check_same(image, path)
        return False
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    with exclusive_partial(path) as partial:
        if path.exists():  # another process has written it meanwhile
            _check_same(image, path)
            return False
        partial.write(file.getvalue())
        complete(partial, path, is_lasting=False)  # waiting for the disk takes longer than all else
    return True


def _check_same(image: np.ndarray, path: Path) -> None:
    try:
        with opened_photograph(path) as file:
            there = np.asarray(file)
    except DataError as error:
        raise DataError(
            f"{path} is damaged ({error}): delete it to have it written anew"
        ) from error
    if not np.array_equal(there, image):
        raise DataError(
            f"{path} is another picture than would be written there: delete it, or use another "
            f"folder for --output"
        )
