"""Photographs of any size, in one folder per class: ImageNet-30, and the user's own.

They are decoded once, from DATA_DIR/ImageNet-30 into DATA_DIR/ImageNet-30-64, see `decoding`, or
from DATA_DIR itself into DATA_DIR/decoded-64.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from corruptions.errors import DataError
from corruptions.storage.npy import open_npy
from dataset.readers.decoding import Record, decode_all, read_records, table_of
from dataset.readers.drawn_test import describe_drawn, drawn_part
from dataset.sets import CleanSplit, Files
from dataset.specs import DatasetSpec


def read(
    spec: DatasetSpec,
    data_dir: Path,
    splits: Iterable[str],
    *,
    num_workers: int,
    show_progress: bool,
    report: Callable[[str], object],
) -> dict[str, CleanSplit]:
    """The photographs, memory-mapped, as squares; decoded before, where that was not done yet.

    Arguments as for `dataset.readers.read_splits`; rows are by class and file name.

    Raises:
        DataError: there are no photographs (of a class), or other ones than were decoded.
        OSError: a file cannot be read or written.
    """
    photographs = {split: find_split(spec, data_dir, split) for split in splits}
    for split, paths in photographs.items():
        array = decoded_array(spec, data_dir, split)
        if not array.exists():
            source = f"{split} photographs in {data_dir / spec.clean_folder}"
            if spec.is_own and split == "test" and is_test_drawn(data_dir):
                source = f"{split} photographs, {describe_drawn(data_dir)},"
            decode_all(paths, array, spec.side, source, num_workers, show_progress, report)
    return {split: open_split(spec, data_dir, split, paths) for split, paths in photographs.items()}


def find_photographs(folder: Path, class_names: tuple[str, ...]) -> dict[str, Path]:
    """The files of a folder with one folder per class, except hidden ones.

    The published test archive has another folder of the same name in each class's folder, so the
    files are looked for at any depth.

    Returns:
        Paths by class/file, by class in the order given and then by file name.

    Raises:
        DataError: a class has no photographs, or two of one name.
    """
    photographs = {}
    for class_name in class_names:
        paths = sorted(_visible_files(folder / class_name), key=lambda path: path.name)
        if not paths:
            missing = folder / class_name
            raise DataError(f"{missing} holds no photographs: every class needs a folder of them")
        for path in paths:
            name = f"{class_name}/{path.name}"
            if name in photographs:
                raise DataError(f"{photographs[name]} and {path} have the same name: rename one")
            if set(path.name) & {"\t", "\n", "\r"}:
                raise DataError(f"{str(path)!r} has a tab or a line break in its name: rename it")
            photographs[name] = path
    return photographs


def _visible_files(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder, onerror=_raise_unless_missing):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(parent, name) for name in files if not name.startswith("."))


def _raise_unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def find_split(spec: DatasetSpec, data_dir: Path, split: str) -> dict[str, Path] | None:
    """The photographs; None where there are none, but decoded ones are."""
    if spec.is_own:
        return _find_own(spec, data_dir, split)
    place = data_dir / spec.clean_folder
    folders = [place / name for name in spec.photograph_folders[split] if (place / name).is_dir()]
    if len(folders) > 1:
        raise DataError(f"both {folders[0]} and {folders[1]} are there: leave one of them")
    if folders:
        return find_photographs(folders[0], spec.class_names)
    if not decoded_array(spec, data_dir, split).exists():
        raise DataError(
            f"{place / split} is missing: {spec.clean_folder} cannot be fetched by this program; "
            f"put its photographs there, a folder for each of the {spec.num_classes} classes, or "
            f"name their place with --data_dir"
        )
    return None


def decoded_array(spec: DatasetSpec, data_dir: Path, split: str) -> Path:
    """Where the photographs of a split lie once they are decoded."""
    return data_dir / spec.decoded_folder / f"{split}.npy"


def is_test_drawn(data_dir: Path) -> bool:
    """Whether the test images of the user's own photographs are some of `train/`."""
    return (data_dir / "train").is_dir() and not (data_dir / "test").is_dir()


def class_folders(folder: Path) -> tuple[str, ...]:
    """The classes of photographs that lie in a folder per class, in label order: by name.

    Raises:
        DataError: they are fewer than two, or have names that cannot be recorded.
    """
    names = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    for name in names:
        if not name.isprintable():
            raise DataError(f"{str(folder / name)!r} has a name that cannot be printed: rename it")
    if len(names) < 2:
        raise DataError(
            f"{folder} needs a folder of photographs for each of at least two classes, and has "
            f"{', '.join(names) or 'none'}: name the right place with --data_dir"
        )
    return tuple(names)


def missing(folder: Path) -> DataError:
    """What is to be raised where the user's own photographs are not there."""
    return DataError(
        f"{folder} is missing: put photographs there, a folder for each class, or name the place "
        f"of {folder.name}/ with --data_dir"
    )


def _find_own(spec: DatasetSpec, data_dir: Path, split: str) -> dict[str, Path] | None:
    """As `find_split`; without `test/` a part of `train/` is for testing, see `drawn_part`."""
    is_drawn = is_test_drawn(data_dir)
    folder = data_dir / ("train" if is_drawn else split)
    if not folder.is_dir():
        if decoded_array(spec, data_dir, split).exists():
            return None
        raise missing(folder)
    names = class_folders(folder)
    for name in sorted({*names} ^ {*spec.class_names}):
        raise DataError(
            f"{folder} has other classes than expected: {name!r} "
            + ("is new" if name in names else "is missing")
            + "; train/ and test/ need the same folders, and a network the classes that it knows"
        )
    photographs = find_photographs(folder, spec.class_names)
    if not is_drawn:
        return photographs
    index = {name: label for label, name in enumerate(spec.class_names)}
    labels = np.array([index[name.split("/")[0]] for name in photographs])
    is_chosen = drawn_part(split, labels, spec.class_names, folder)
    return {name: path for (name, path), chosen in zip(photographs.items(), is_chosen) if chosen}


def open_split(
    spec: DatasetSpec, data_dir: Path, split: str, photographs: dict[str, Path] | None
) -> CleanSplit:
    """A decoded split, memory-mapped; `photographs`, unless None, must be what was decoded."""
    array = decoded_array(spec, data_dir, split)
    records = read_records(array)
    if photographs is not None:
        _check_unchanged(photographs, records, array)
    names = [record.name for record in records if record.reason is None]
    skipped = frozenset(record.name for record in records if record.reason is not None)
    images = open_npy(array)
    shape = (len(names), spec.side, spec.side, 3)
    if images.dtype != np.uint8 or images.shape != shape:
        raise DataError(
            f"{array} holds {images.dtype} {images.shape}, expected uint8 {shape}: delete it to "
            f"have it made anew"
        )
    files = Files(data_dir / spec.clean_folder / split, names, skipped)
    return CleanSplit(images, labels_of(names, spec, array), files)


def labels_of(names: list[str], spec: DatasetSpec, array: Path) -> np.ndarray:
    """The labels, int32 (N,), of the class/file of each row of an array."""
    index = {name: label for label, name in enumerate(spec.class_names)}
    try:
        labels = np.array([index[name.split("/")[0]] for name in names], np.int32)
    except KeyError as error:
        raise DataError(
            f"{table_of(array)} is damaged: {error} is no class; delete {array} to have the "
            f"photographs decoded anew"
        ) from error
    empty = np.flatnonzero(np.bincount(labels, minlength=spec.num_classes) == 0)
    if len(empty):
        name = spec.class_names[empty[0]]
        raise DataError(f"{array}: no photograph of {name} could be decoded; mend {name}/ first")
    return labels


def _check_unchanged(photographs: dict[str, Path], records: list[Record], array: Path) -> None:
    before = {record.name: record for record in records}
    other = [n for n in before.keys() & photographs if not before[n].is_of(photographs[n])]
    gone, new = before.keys() - photographs.keys(), photographs.keys() - before.keys()
    if gone or new or other:
        example = min([*gone, *new, *other])
        raise DataError(
            f"the photographs have changed since {array} was made of them ({len(gone)} gone, "
            f"{len(new)} new, {len(other)} replaced, such as {example}): restore them, or delete "
            f"{array} to have them decoded anew"
        )
    if [record.name for record in records] != list(photographs):
        raise DataError(
            f"{table_of(array)} is in another order: delete {array} to have the photographs "
            f"decoded anew"
        )
