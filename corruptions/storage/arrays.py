"""Corrupted images on disk: where their arrays lie, which are there, and whether they fit.

They lie in FOLDER/{split}/{severity}/{corruption}.npy, uint8 (N, H, W, 3) in the order of
the clean images, with labels.npy (N,) beside them and FOLDER/manifest.json, which records how each
was made, see `corruptions.storage.manifest`.
"""

import functools
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib.format import write_array_header_1_0

from corruptions.errors import DataError
from corruptions.frost_photographs import read_photographs
from corruptions.storage import manifest
from corruptions.storage.files import complete, exclusive_partial
from corruptions.storage.manifest import Recipe
from corruptions.storage.npy import open_npy, same_labels

# Of clean images: what a worker gets at a time.
_CHUNK_BYTES = 2**21


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
    return folder / recipe.file


def labels_path(array: Path) -> Path:
    """Where the labels of an array's images lie."""
    return array.with_name("labels.npy")


def open_array(folder: Path, recipe: Recipe, source: Source) -> np.ndarray:
    """Memory-map an array after checking that it fits the clean images.

    Raises:
        DataError: it is not a whole .npy array, has another shape or type, or labels that differ.
    """
    path = array_path(folder, recipe)
    array = open_npy(path)
    check_labels(path, source)
    if array.dtype != np.uint8 or array.shape != source.images.shape:
        raise DataError(
            f"{path} holds {array.dtype} {array.shape}, expected uint8 {source.images.shape}: "
            f"delete it to have it made anew, or use another folder"
        )
    if source.labels is not None and not labels_path(path).exists():
        raise DataError(
            f"{labels_path(path)} is missing, so the order of {path.name} cannot be checked: put "
            f"it there, or delete {path.name} to have both made anew"
        )
    return array


def check_labels(array: Path, source: Source) -> None:
    """Check that the labels beside an array, which need not be there, are those of its images.

    Raises:
        DataError: they are not.
    """
    path, labels = labels_path(array), source.labels
    if labels is None or not path.exists():
        return
    found = open_npy(path)
    if found.shape != labels.shape:
        raise DataError(
            f"{path} is not of {len(labels)} labels, as there are clean images: delete it if it "
            f"alone is wrong; if the clean images are others than before, delete all of "
            f"{path.parents[1]} to have it made anew, or use another folder"
        )
    if not same_labels(found, labels):
        raise DataError(
            f"{path} differs from the labels of the clean images: delete it if it alone is wrong; "
            f"if the arrays beside it are in another order or of another dataset, use another "
            f"folder, or delete {path.parent}"
        )


@dataclass(frozen=True)
class Stock:
    """What is there of the arrays that recipes ask for.

    Args:
        arrays: those that are there, checked and memory-mapped.
        missing: the recipes of the others.
        num_foreign: how many that are there were not made by this program, see `num_foreign`.
    """

    arrays: dict[Recipe, np.ndarray]
    missing: list[Recipe]
    num_foreign: int


def look_up(
    folder: Path,
    sources: dict[str, Source],
    recipes: list[Recipe],
    any_seed: bool = False,
    may_write: bool = True,
) -> Stock:
    """Look for the arrays of recipes, and check those that are there.

    Args:
        folder: where the arrays lie.
        sources: by split.
        recipes: what is wanted.
        any_seed: arrays made with another seed are as good.
        may_write: restore labels.npy where it got lost, and note in the manifest what was read.

    Raises:
        DataError: an array, or the labels beside it, do not fit the clean images, see `open_array`,
            or it was made by this program in another way.
        OSError: a photograph of frost is missing.
    """
    for frost_dir in {recipe.frost_dir for recipe in recipes} - {None}:
        read_photographs(frost_dir)
    entries, seen = manifest.recorded(folder, [recipe.file for recipe in recipes])
    arrays, refused = {}, []
    for recipe in recipes:
        path, source = array_path(folder, recipe), sources[recipe.split]
        if not path.exists():
            check_labels(path, source)
            continue
        entry = entries.get(recipe.file)
        differences = entry and manifest.differences(entry, recipe, source.sha256, any_seed)
        if differences:
            refused.append((path, differences[0]))
        elif entry and not labels_path(path).exists():
            source = _restore_labels(path, source, may_write)
        arrays[recipe] = open_array(folder, recipe, source)
    refuse_made_otherwise(refused)
    if may_write:
        manifest.note_seen(folder, seen)
    missing = [recipe for recipe in recipes if recipe not in arrays]
    refuse_mixed_frost(folder, recipes, missing)
    return Stock(arrays, missing, len(arrays) - len(entries))


def refuse_mixed_frost(folder: Path, recipes: list[Recipe], missing: list[Recipe]) -> None:
    """Refuse frost of different pictures: each severity would be a corruption of its own.

    Args:
        folder: of the arrays.
        recipes: what is wanted; without frost nothing is looked for.
        missing: those that would be made.

    Raises:
        DataError: not all of the frost there is, and would be, of the same pictures.
    """
    if not any(recipe.name == "frost" for recipe in recipes):
        return
    splits = [recipe.split for recipe in recipes]
    of_frost = (
        n for n, e in manifest.read(folder).items() if "frost" in e and e.get("split") in splits
    )
    entries, _ = manifest.recorded(folder, list(of_frost))
    there = {}  # by what it was made of
    for name, entry in entries.items():
        there.setdefault(json.dumps(entry["frost"]), []).append(folder / name)
    frost_dirs = {recipe.frost_dir for recipe in missing if recipe.name == "frost"}
    made = {json.dumps(manifest.frost_pictures(frost_dir)) for frost_dir in frost_dirs}
    if len(there.keys() | made) < 2:
        return
    pictures = next(pictures for pictures in there if pictures not in made)
    path, more = there[pictures][0], _and_others(there[pictures])
    remedy = "delete it to have it made anew"
    if not made:
        other = next(paths[0] for kind, paths in there.items() if kind != pictures)
        raise DataError(f"{path}{more} has frost of other pictures than {other}: {remedy}")
    is_drawn = json.loads(pictures) == "drawn"
    use = "leave out --frost_dir" if is_drawn else "name its photographs with --frost_dir"
    raise DataError(
        f"{path}{more} has frost of other pictures than what is missing would have: {use}, or "
        f"{remedy}"
    )


def _restore_labels(path: Path, source: Source, may_write: bool) -> Source:
    """The labels of an array made from these images are known, should their file have got lost.

    Returns:
        What the array is to be checked against: without labels where they were not written.
    """
    if not may_write:
        return Source(source.images)
    write_labels(path, source)
    return source


def _and_others(named: list) -> str:
    """How many there are besides the first, to stand behind its name."""
    others = len(named) - 1
    return f" (and {others} other{'s' if others > 1 else ''})" if others else ""


def refuse_made_otherwise(made_otherwise: list[tuple[Path, str]]) -> None:
    """Refuse arrays that were made in another way than asked for, told with the first of them."""
    if made_otherwise:
        path, difference = made_otherwise[0]
        raise DataError(
            f"{path}{_and_others(made_otherwise)} was made {difference}: delete it to have it made "
            f"anew, or use another folder"
        )


def num_foreign(folder: Path, recipes: list[Recipe], may_write: bool = True) -> int:
    """How many of the arrays, which are there, were not made by this program.

    The manifest does not know them, or they were overwritten since, see `manifest.recorded`.
    """
    entries, seen = manifest.recorded(folder, [recipe.file for recipe in recipes])
    if may_write:
        manifest.note_seen(folder, seen)
    return len(recipes) - len(entries)


def write_labels(array: Path, source: Source) -> None:
    """Write the labels beside an array, if there are any, unless they are there.

    Raises:
        DataError: they are there, but differ.
    """
    path, labels = labels_path(array), source.labels
    if labels is not None and not path.exists():
        with exclusive_partial(path) as partial:
            if not path.exists():
                header = {"descr": "<i8", "fortran_order": False, "shape": labels.shape}
                write_array_header_1_0(partial, header)
                partial.write(labels.astype("<i8").tobytes())
                complete(partial, path)
    check_labels(array, source)
