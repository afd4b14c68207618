"""Corrupting whole datasets into .npy files: in parallel, interruptible, never half-written.

The arrays lie in FOLDER/{split}/{severity}/{corruption}.npy, uint8 (N, H, W, 3) in the order of
the clean images, with labels.npy (N,) beside them and FOLDER/manifest.json, which tells how each
was made, see `corruptions.manifest`.
"""

import functools
import hashlib
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap, write_array_header_1_0
from tqdm import tqdm

from corruptions import corrupt, manifest
from corruptions.digital import jpeg_round_trip
from corruptions.errors import DataError
from corruptions.files import complete, exclusive_partial
from corruptions.frost_photographs import read_photographs
from corruptions.manifest import Recipe
from corruptions.workers import worker_pool

# Of clean images: what a worker gets at a time.
_CHUNK_BYTES = 2**21
# Enough to keep all workers busy, few enough that an interruption need not wait for them.
_CHUNKS_AHEAD = 2 * (os.cpu_count() or 1)
# Below this many images starting worker processes costs more than it saves.
_WORTH_WORKERS = 50_000


@dataclass(frozen=True)
class Source:
    """The clean images of one split, uint8 (N, H, W, 3), and their labels (N,), if any."""

    images: np.ndarray
    labels: np.ndarray | None = None

    @functools.cached_property
    def sha256(self) -> str:
        """Of the images' bytes, row after row."""
        digest = hashlib.sha256()
        for _, chunk in chunks(self.images):
            digest.update(chunk)
        return digest.hexdigest()


def chunks(images: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Some images at a time, contiguous, with the index of the first."""
    size = max(1, _CHUNK_BYTES // max(1, images[:1].nbytes))
    for start in range(0, len(images), size):
        yield start, np.ascontiguousarray(images[start : start + size])


def array_path(folder: Path, recipe: Recipe) -> Path:
    """Where the array of a recipe lies."""
    return folder / recipe.split / str(recipe.severity) / f"{recipe.name}.npy"


def open_array(folder: Path, recipe: Recipe, source: Source) -> np.ndarray:
    """Memory-map an array after checking that it fits the clean images.

    Raises:
        DataError: it is not a whole .npy array, has another shape or type, or labels that differ.
    """
    path = array_path(folder, recipe)
    array = open_npy(path)
    if array.dtype != np.uint8 or array.shape != source.images.shape:
        raise DataError(
            f"{path} holds {array.dtype} {array.shape}, expected uint8 {source.images.shape}: "
            f"delete it to have it made anew, or use another folder"
        )
    if source.labels is None:
        return array
    labels_path = path.with_name("labels.npy")
    if not labels_path.exists():
        raise DataError(
            f"{labels_path} is missing, so the order of {path.name} cannot be checked: put it "
            f"there, or delete {path.name} to have both made anew"
        )
    if not np.array_equal(open_npy(labels_path), source.labels):
        raise DataError(
            f"{labels_path} differs from the labels of the clean images, so {path.name} is in "
            f"another order or of another dataset: delete {path.parent} to have it made anew, or "
            f"use another folder"
        )
    return array


def open_npy(path: Path) -> np.ndarray:
    """Memory-map a .npy file.

    Raises:
        DataError: it is not a whole .npy array.
        OSError: it cannot be read.
    """
    try:
        return open_memmap(path, mode="r")
    except OSError:
        raise
    except Exception as error:  # foreign bytes as a header can raise about anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path} is not a whole .npy array ({reason}): delete it") from error


def missing_recipes(
    folder: Path, sources: dict[str, Source], recipes: list[Recipe], any_seed: bool = False
) -> list[Recipe]:
    """The recipes whose arrays are not there yet; checks those that are.

    Args:
        folder: where the arrays lie.
        sources: by split.
        recipes: what is wanted.
        any_seed: arrays made with another seed are as good.

    Raises:
        DataError: an array does not fit the clean images, see `open_array`, or was made by this
            program in another way.
        OSError: a photograph of frost is missing.
    """
    for frost_dir in {recipe.frost_dir for recipe in recipes} - {None}:
        read_photographs(frost_dir)
    entries = manifest.read(folder)
    missing = []
    for recipe in recipes:
        path = array_path(folder, recipe)
        if not path.exists():
            missing.append(recipe)
            continue
        open_array(folder, recipe, sources[recipe.split])
        entry = entries.get(path.relative_to(folder).as_posix())
        differences = []
        if entry:
            clean_sha256 = sources[recipe.split].sha256
            differences = manifest.differences(entry, recipe, clean_sha256, any_seed)
        if differences:
            raise DataError(
                f"{path} was made {differences[0]}: delete it to have it made anew, or use "
                f"another folder"
            )
    return missing


def num_foreign(folder: Path, recipes: list[Recipe]) -> int:
    """How many of the arrays were not made by this program: the manifest does not know them."""
    entries = manifest.read(folder)
    names = (array_path(folder, recipe).relative_to(folder).as_posix() for recipe in recipes)
    return sum(name not in entries for name in names)


def make_arrays(
    folder: Path,
    sources: dict[str, Source],
    recipes: list[Recipe],
    num_workers: int = 0,
    show_progress: bool = False,
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

    Raises:
        DataError: labels that are there differ, or the manifest cannot be read.
        OSError: an array cannot be written.
    """
    _check_space(folder, sum(sources[recipe.split].images.nbytes for recipe in recipes))
    total = sum(len(sources[recipe.split].images) for recipe in recipes)
    names = list(dict.fromkeys(recipe.name for recipe in recipes))
    what = names[0] if len(names) == 1 else f"{len(names)} corruptions"
    bar = tqdm(
        desc=f"making {what}",
        total=total,
        unit="image",
        disable=None if show_progress else True,
    )
    with bar, worker_pool(num_workers if total >= _WORTH_WORKERS else 0) as pool:
        for recipe in recipes:
            bar.set_postfix_str(f"{recipe.name} {recipe.severity} {recipe.split}", refresh=False)
            write_array(folder, recipe, sources[recipe.split], pool, bar.update)


def _check_space(folder: Path, needed: int) -> None:
    parents = folder.absolute(), *folder.absolute().parents
    free = shutil.disk_usage(next(path for path in parents if path.exists())).free
    if free < needed:
        raise OSError(
            f"{folder}: the arrays take {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free: "
            f"make room, or use another folder"
        )


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
    if source.labels is not None:
        _write_labels(path.with_name("labels.npy"), source.labels)
    with exclusive_partial(path) as partial:
        if path.exists():
            on_progress(len(source.images))
            return
        file = _Hashed(partial)
        shape = source.images.shape
        write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for chunk in corrupted_chunks(source.images, recipe, pool):
            file.write(chunk)
            on_progress(len(chunk))
        entry = manifest.entry(recipe, shape, source.sha256, file.digest.hexdigest())
        name = path.relative_to(folder).as_posix()
        complete(partial, path, before=lambda: manifest.record(folder, name, entry))


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
    waiting = deque()
    for start, chunk in chunks(images):
        if pool is None:
            yield _corrupt_chunk(chunk, recipe, start)
            continue
        waiting.append(pool.submit(_corrupt_chunk, chunk, recipe, start))
        if len(waiting) > _CHUNKS_AHEAD:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


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


def _write_labels(path: Path, labels: np.ndarray) -> None:
    """Write the labels unless they are there; labels that differ are not overwritten."""
    with exclusive_partial(path) as partial:
        if not path.exists():
            np.save(partial, labels.astype(np.int64))
            complete(partial, path)
    if not np.array_equal(open_npy(path), labels):
        raise DataError(
            f"{path} differs from the labels of the clean images: delete {path.parent}, or "
            f"use another folder"
        )
