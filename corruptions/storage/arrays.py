"""Corrupting whole datasets into .npy files: in parallel, interruptible, never half-written.

The arrays lie in FOLDER/{split}/{severity}/{corruption}.npy, uint8 (N, H, W, 3) in the order of
the clean images, with labels.npy (N,) beside them and FOLDER/manifest.json, which tells how each
was made, see `corruptions.storage.manifest`.
"""

import functools
import hashlib
import math
import os
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.format import (
    open_memmap,
    read_array_header_1_0,
    read_array_header_2_0,
    read_magic,
    write_array_header_1_0,
)
from tqdm import tqdm

from corruptions import corrupt
from corruptions.errors import DataError
from corruptions.frost_photographs import read_photographs
from corruptions.jpeg import jpeg_round_trip
from corruptions.storage import manifest
from corruptions.storage.files import check_file, check_space, complete, exclusive_partial
from corruptions.storage.manifest import Recipe
from corruptions.storage.workers import in_order, worker_pool

# Of clean images: what a worker gets at a time.
_CHUNK_BYTES = 2**21
# Below this much, 50,000 images of 32×32, starting worker processes costs more than it saves.
_WORTH_WORKERS_BYTES = 150_000_000


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
    if source.labels is not None:
        _check_labels(path.with_name("labels.npy"), source.labels, path.name)
    return array


def _check_labels(path: Path, labels: np.ndarray, array_name: str) -> None:
    if not path.exists():
        raise DataError(
            f"{path} is missing, so the order of {array_name} cannot be checked: put it "
            f"there, or delete {array_name} to have both made anew"
        )
    if not same_labels(open_npy(path), labels):
        raise DataError(
            f"{path} differs from the labels of the clean images: delete it if it alone is wrong; "
            f"if the arrays beside it are in another order or of another dataset, use another "
            f"folder, or delete {path.parent}"
        )


def same_labels(found: np.ndarray, labels: np.ndarray) -> bool:
    """Whether an array from a file, of whatever type, holds these labels."""
    return found.dtype.kind in "iu" and np.array_equal(found, labels)


def open_npy(path: Path, remedy: str = "delete it to have it made anew") -> np.ndarray:
    """Memory-map a .npy file.

    Raises:
        DataError: it is not a whole .npy array.
        OSError: it cannot be read.
    """
    check_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sizes beyond 64 bits, of headers by Python 2
            _check_header(path)
            return open_memmap(path, mode="r")
    except OSError as error:
        if error.filename is not None:
            raise
        raise DataError(f"{path} cannot be mapped ({error.strerror}): {remedy}") from error
    except Exception as error:  # foreign bytes as a header can raise about anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path} is not a whole .npy array ({reason}): {remedy}") from error


def _check_header(path: Path) -> None:
    """Refuse what NumPy would map wrongly; one element of no bytes ends the whole process."""
    with open(path, "rb") as file:
        readers = {(1, 0): read_array_header_1_0, (2, 0): read_array_header_2_0}
        shape, _, dtype = readers[read_magic(file)](file)
        num_bytes = os.fstat(file.fileno()).st_size - file.tell()
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    if not dtype.itemsize or min(shape, default=0) < 0:
        raise ValueError(f"there is no array of {dtype} {shape}")
    if math.prod(shape) * dtype.itemsize > num_bytes:
        raise ValueError(f"{dtype} {shape} is more than its {num_bytes:,} bytes")


def missing_recipes(
    folder: Path,
    sources: dict[str, Source],
    recipes: list[Recipe],
    any_seed: bool = False,
    restore_labels: bool = True,
) -> list[Recipe]:
    """The recipes whose arrays are not there yet; checks those that are.

    Args:
        folder: where the arrays lie.
        sources: by split.
        recipes: what is wanted.
        any_seed: arrays made with another seed are as good.
        restore_labels: write labels.npy where it got lost.

    Raises:
        DataError: an array does not fit the clean images, see `open_array`, or was made by this
            program in another way.
        OSError: a photograph of frost is missing.
    """
    for frost_dir in {recipe.frost_dir for recipe in recipes} - {None}:
        read_photographs(frost_dir)
    entries = _own_entries(folder, recipes, may_write=False)  # what is refused stays as it is
    missing, refused = [], []
    for recipe in recipes:
        path = array_path(folder, recipe)
        source = sources[recipe.split]
        if not path.exists():
            missing.append(recipe)
            continue
        entry = entries.get(path.relative_to(folder).as_posix())
        differences = entry and manifest.differences(entry, recipe, source.sha256, any_seed)
        if differences:
            refused.append((path, differences[0]))
        elif entry and source.labels is not None:
            # Made from these images: the labels are known, should their file have got lost.
            labels = path.with_name("labels.npy")
            if restore_labels:
                _write_labels(labels, source.labels)
            elif not labels.exists():
                source = Source(source.images)
        open_array(folder, recipe, source)
    _refuse(refused)
    return missing


def _refuse(made_otherwise: list[tuple[Path, str]]) -> None:
    if made_otherwise:
        path, difference = made_otherwise[0]
        others = len(made_otherwise) - 1
        more = f" (and {others} other{'s' if others > 1 else ''})" if others else ""
        raise DataError(
            f"{path}{more} was made {difference}: delete it to have it made anew, or use another "
            f"folder"
        )


def num_foreign(folder: Path, recipes: list[Recipe], may_write: bool = True) -> int:
    """How many of the arrays, which are there, were not made by this program.

    The manifest does not know them, or they were overwritten since, see `manifest.is_recorded`.
    """
    return len(recipes) - len(_own_entries(folder, recipes, may_write))


def _own_entries(folder: Path, recipes: list[Recipe], may_write: bool) -> dict[str, dict]:
    """The manifest's entries, by name, for those of the arrays that they tell of."""
    entries = manifest.read(folder)
    names = (array_path(folder, recipe).relative_to(folder).as_posix() for recipe in recipes)
    return {
        name: entries[name]
        for name in names
        if name in entries
        and (folder / name).exists()
        and manifest.is_recorded(folder, name, entries[name], may_write)
    }


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
        report: called with a line that tells what is made.

    Raises:
        DataError: labels that are there differ, or the manifest cannot be read.
        OSError: an array cannot be written.
    """
    _try_out(sources, recipes)
    num_bytes = sum(sources[recipe.split].images.nbytes for recipe in recipes)
    check_space(folder, num_bytes)
    total = sum(len(sources[recipe.split].images) for recipe in recipes)
    names = list(dict.fromkeys(recipe.name for recipe in recipes))
    what = names[0] if len(names) == 1 else f"{len(names)} corruptions"
    report(f"making {len(recipes)} arrays of {what} in {folder} ({num_bytes / 1e6:,.0f} MB)")
    bar = tqdm(
        desc=f"making {what}",
        total=total,
        unit="image",
        disable=None if show_progress else True,
    )
    with bar, worker_pool(num_workers if num_bytes >= _WORTH_WORKERS_BYTES else 0) as pool:
        for recipe in recipes:
            bar.set_postfix_str(f"{recipe.name} {recipe.severity} {recipe.split}", refresh=False)
            write_array(folder, recipe, sources[recipe.split], pool, bar.update)


def _try_out(sources: dict[str, Source], recipes: list[Recipe]) -> None:
    """Corrupt one image in every way, so that nothing fails after hours."""
    for recipe in {(recipe.name, recipe.split): recipe for recipe in recipes}.values():
        try:
            next(corrupted_chunks(sources[recipe.split].images[:1], recipe, None))
        except ValueError as error:
            raise DataError(f"{recipe.name}: {error}") from error


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
        name = path.relative_to(folder).as_posix()
        if path.exists():  # since this was planned, another process has made it: in the same way?
            entry = manifest.read(folder).get(name)
            differences = entry and manifest.differences(entry, recipe, source.sha256)
            _refuse([(path, difference) for difference in differences or ()])
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
            sums["labels_sha256"] = manifest.file_sha256(path.with_name("labels.npy"))

        def enter():
            state = manifest.file_state(os.fstat(partial.fileno()))
            manifest.record(folder, name, manifest.entry(recipe, shape, sums, state))

        complete(partial, path, before=enter)


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


def _write_labels(path: Path, labels: np.ndarray) -> None:
    """Write the labels unless they are there; labels that differ are not overwritten."""
    if not path.exists():
        with exclusive_partial(path) as partial:
            if not path.exists():
                header = {"descr": "<i8", "fortran_order": False, "shape": labels.shape}
                write_array_header_1_0(partial, header)
                partial.write(labels.astype("<i8").tobytes())
                complete(partial, path)
    _check_labels(path, labels, "the arrays beside it")
