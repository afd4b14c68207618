"""Corrupting whole datasets into .npy files: in parallel, interruptible, never half-written."""

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from pathlib import Path

import numpy as np
from numpy.lib.format import write_array_header_1_0
from tqdm import tqdm

from corruptions import corrupt
from corruptions.errors import DataError
from corruptions.jpeg import jpeg_round_trip
from corruptions.storage import manifest
from corruptions.storage.arrays import (
    Source,
    array_path,
    chunks,
    labels_path,
    refuse_made_otherwise,
    write_labels,
)
from corruptions.storage.files import check_space, complete, exclusive_partial
from corruptions.storage.manifest import Recipe
from corruptions.storage.workers import in_order, worker_pool

# Below this much, 50,000 images of 32×32, starting worker processes costs more than it saves.
_WORTH_WORKERS_BYTES = 150_000_000


def make_arrays(
    folder: Path,
    sources: dict[str, Source],
    recipes: list[Recipe],
    num_workers: int = 0,
    show_progress: bool = False,
    report: Callable[[str], object] = lambda text: None,
) -> None:
    """Make the arrays of the recipes, one after the other.

    Whatever happens, an array is there whole or not at all. Another process making the same one is
    waited for, and its result kept.

    Args:
        folder: where the arrays lie; made if need be.
        sources: by split.
        recipes: what to make.
        num_workers: processes to use; below 2 this one alone.
        show_progress: draw a progress bar, if there is a terminal.
        report: called with a message about what is made.

    Raises:
        DataError: labels that are there differ, or the manifest cannot be read.
        OSError: an array cannot be written.
    """
    _try_out(sources, recipes)
    num_bytes = sum(sources[recipe.split].images.nbytes for recipe in recipes)
    check_space(folder, num_bytes)
    total = sum(len(sources[recipe.split].images) for recipe in recipes)
    names = list(dict.fromkeys(recipe.name for recipe in recipes))
    subject = names[0] if len(names) == 1 else f"{len(names)} corruptions"
    report(f"making {len(recipes)} arrays of {subject} in {folder} ({num_bytes / 1e6:,.0f} MB)")
    bar = tqdm(
        desc=f"making {subject}",
        total=total,
        unit="image",
        disable=None if show_progress else True,
    )
    with bar, worker_pool(num_workers if num_bytes >= _WORTH_WORKERS_BYTES else 0) as pool:
        for recipe in recipes:
            bar.set_postfix_str(f"{recipe.name} {recipe.severity} {recipe.split}", refresh=False)
            write_array(folder, recipe, sources[recipe.split], pool, bar.update)


def make_rows(source: Source, recipe: Recipe, indices: np.ndarray) -> np.ndarray:
    """Some rows of the array of a recipe, made in memory: the same bits as in the whole array.

    Args:
        source: all clean images.
        recipe: how they are corrupted.
        indices: which of them are wanted, ints (n,).

    Returns:
        uint8 (n, H, W, 3).

    Raises:
        DataError: they cannot be corrupted in this way.
    """
    rows = np.empty((len(indices), *source.images.shape[1:]), np.uint8)
    for place, index in enumerate(indices):
        with _refusing(recipe):
            rows[place] = _corrupt_chunk(source.images[index : index + 1], recipe, index)[0]
    return rows


@contextlib.contextmanager
def _refusing(recipe: Recipe) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise DataError(f"{recipe.name}: {error}") from error


def _try_out(sources: dict[str, Source], recipes: list[Recipe]) -> None:
    """Corrupt one image in every way, so that nothing fails after hours."""
    for recipe in {(recipe.name, recipe.split): recipe for recipe in recipes}.values():
        with _refusing(recipe):
            next(corrupted_chunks(sources[recipe.split].images[:1], recipe, None))


def write_array(
    folder: Path,
    recipe: Recipe,
    source: Source,
    pool: Executor | None = None,
    on_progress: Callable[[int], object] = lambda count: None,
) -> None:
    """Make one array and its labels.npy, and enter it into the manifest.

    It appears under its name once it is complete, on disk and in the manifest. Arguments and errors
    as for `make_arrays`; on_progress is called with the number of images done since the last call.
    """
    path = array_path(folder, recipe)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_labels(path, source)
    with exclusive_partial(path) as partial:
        if path.exists():  # since this was planned, another process has made it
            _check_made_alike(folder, recipe, source)
            on_progress(len(source.images))
            return
        file = _Hashed(partial)
        shape = source.images.shape
        write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for chunk in corrupted_chunks(source.images, recipe, pool):
            file.write(chunk)
            on_progress(len(chunk))
        sums = {"sha256": file.digest.hexdigest(), "clean_sha256": source.sha256}
        if source.labels is not None:
            sums["labels_sha256"] = manifest.file_sha256(labels_path(path))

        def enter():
            state = manifest.file_state(os.fstat(partial.fileno()))
            manifest.record(folder, {recipe.file: manifest.entry(recipe, shape, sums, state)})

        complete(partial, path, before=enter)


def _check_made_alike(folder: Path, recipe: Recipe, source: Source) -> None:
    entry = manifest.read(folder).get(recipe.file)
    differences = entry and manifest.differences(entry, recipe, source.sha256)
    path = array_path(folder, recipe)
    refuse_made_otherwise([(path, difference) for difference in differences or ()])


class _Hashed:
    """A file that is written to and hashed at once."""

    def __init__(self, file):
        self._file = file
        self.digest = hashlib.sha256()

    def write(self, content):
        self._file.write(content)
        self.digest.update(content)


def corrupted_chunks(
    images: np.ndarray, recipe: Recipe, pool: Executor | None
) -> Iterator[np.ndarray]:
    """The corrupted images, uint8, in order, some hundred at a time."""
    jobs = ((chunk, recipe, start) for start, chunk in chunks(images))
    return in_order(pool, _corrupt_chunk, jobs)


def _corrupt_chunk(images: np.ndarray, recipe: Recipe, first_index: int) -> np.ndarray:
    corrupted = corrupt(
        images,
        recipe.name,
        recipe.severity,
        variant=recipe.variant,
        seed=recipe.seed,
        split=recipe.split,
        first_index=first_index,
        frost_dir=recipe.frost_dir,
    )
    if recipe.jpeg_quality is None:
        return corrupted
    return jpeg_round_trip(corrupted, recipe.jpeg_quality)
