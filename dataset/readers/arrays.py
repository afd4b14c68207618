"""Arrays of the user's own: DATA_DIR/{train,test}.npz with `images` and `labels`.

images: uint8 (N, side, side, 3); labels: whole numbers (N,), 0 … C−1. Nothing in them is executed:
arrays of Python objects are refused.
"""

import math
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.lib.format import read_array_header_1_0, read_array_header_2_0, read_magic

from corruptions.errors import DataError
from corruptions.storage.files import check_file, memory_bytes
from dataset.readers.drawn_test import drawn_part
from dataset.sets import CleanSplit
from dataset.specs import MAX_SIDE, MIN_SIDE, DatasetSpec

IMAGES, LABELS = "images", "labels"
_HEADERS = {(1, 0): read_array_header_1_0, (2, 0): read_array_header_2_0}
_HOW = f"save it with numpy.savez(file, {IMAGES}=…, {LABELS}=…)"


class _Header(NamedTuple):
    shape: tuple[int, ...]
    dtype: np.dtype
    is_fortran: bool


def read(spec: DatasetSpec, data_dir: Path, splits: Iterable[str], **_) -> dict[str, CleanSplit]:
    """The images in memory.

    Arguments as for `dataset.readers.read_splits`.

    Raises:
        DataError: a file is missing, or does not hold such arrays.
        OSError: a file cannot be read.
    """
    clean, is_drawn, whole = {}, is_test_drawn(data_dir), {}
    for split in splits:
        path = data_dir / f"{'train' if is_drawn else split}.npz"
        if path not in whole:
            whole[path] = _read_file(path, spec)
        images, labels = whole[path]
        if is_drawn:
            chosen = drawn_part(split, labels, spec.class_names, path)
            images, labels = images[chosen], labels[chosen]
        clean[split] = CleanSplit(images, labels)
    return clean


def is_test_drawn(data_dir: Path) -> bool:
    """Whether the test images are some of train.npz."""
    return (data_dir / "train.npz").exists() and not (data_dir / "test.npz").exists()


def look(data_dir: Path, splits: Iterable[str]) -> tuple[int, dict[str, np.ndarray]]:
    """The side of the images, and the labels of each split, int32 (N,); of images headers alone.

    Raises:
        DataError, OSError: see `read`.
    """
    sides, labels, is_drawn = {}, {}, is_test_drawn(data_dir)
    for split in ("train",) if is_drawn else splits:
        path = data_dir / f"{split}.npz"
        with _opened(path) as file:
            shape = _image_header(file, path).shape
            labels[split], sides[path] = _labels(file, path, shape[0]), shape[1]
    if len({split_labels.max() for split_labels in labels.values()}) > 1:
        first, second = (f"{found.max() + 1} in {split}.npz" for split, found in labels.items())
        raise DataError(f"{data_dir}: {first}, but {second} classes: both need the same ones")
    if len(set(sides.values())) > 1:
        first, second = (f"{side}×{side} in {path}" for path, side in sides.items())
        raise DataError(f"images of {first}, but of {second}: make them of one size")
    if is_drawn:
        whole, path = labels["train"], data_dir / "train.npz"
        names = tuple(map(str, range(whole.max() + 1)))
        labels = {split: whole[drawn_part(split, whole, names, path)] for split in splits}
    return next(iter(sides.values())), labels


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """A .npz file; what foreign bytes can raise is a DataError."""
    if not path.exists():
        raise DataError(
            f"{path} is missing: {_HOW} there, or name the folder of train.npz with --data_dir"
        )
    check_file(path)
    try:
        with zipfile.ZipFile(path) as file:
            yield file
    except DataError:
        raise
    except MemoryError as error:
        raise DataError(f"{path}: too little memory for its arrays: make them smaller") from error
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{path} is not a whole .npz file ({reason:.200}): {_HOW}") from error


@contextmanager
def _member(file: zipfile.ZipFile, path: Path, name: str):
    """An array inside, to be read behind its header, and this."""
    if f"{name}.npy" not in file.namelist():
        held = ", ".join(member.removesuffix(".npy") for member in file.namelist()) or "nothing"
        raise DataError(f"{path} holds {held:.200}, not {name}: {_HOW}")
    info = file.getinfo(f"{name}.npy")
    with file.open(info) as stream:
        version = read_magic(stream)
        if version not in _HEADERS:
            raise ValueError(f"{name} is of an unknown version of .npy")
        shape, is_fortran, dtype = _HEADERS[version](stream)
        if dtype.hasobject:
            raise DataError(
                f"{path}: {name} holds Python objects, which are not loaded: make it an array of "
                f"numbers of one size"
            )
        num_bytes = info.file_size - stream.tell()
        if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != num_bytes:
            raise ValueError(f"{name} {shape} of {dtype} is not its {num_bytes:,} bytes")
        if num_bytes > memory_bytes():
            raise DataError(
                f"{path}: {name} takes {num_bytes / 1e9:,.1f} GB, more than this machine's memory: "
                f"make it smaller"
            )
        yield stream, _Header(shape, dtype, is_fortran)


def _image_header(file: zipfile.ZipFile, path: Path) -> _Header:
    with _member(file, path, IMAGES) as (_, header):
        _check_images(path, header)
        return header


def _check_images(path: Path, header: _Header) -> None:
    shape, dtype, _ = header
    fix = f"uint8 (N, side, side, 3), values 0 … 255, squares of {MIN_SIDE} to {MAX_SIDE} pixels"
    is_square = len(shape) == 4 and shape[3] == 3 and shape[1] == shape[2]
    if dtype != np.uint8 or not is_square or not MIN_SIDE <= shape[1] <= MAX_SIDE or not shape[0]:
        raise DataError(f"{path}: {IMAGES} is {dtype} {shape}: make it {fix}")


def _bytes_of(stream, num_bytes: int, name: str) -> bytearray:
    """What the header promised, to the end of the member, so that its CRC is checked."""
    content = bytearray(num_bytes)
    view, filled = memoryview(content), 0
    while count := stream.readinto(view[filled:]):
        filled += count
    if filled != num_bytes or stream.read(1):
        raise ValueError(f"{name} ends early or late")
    return content


def _array(file: zipfile.ZipFile, path: Path, name: str) -> np.ndarray:
    with _member(file, path, name) as (stream, (shape, dtype, is_fortran)):
        content = _bytes_of(stream, math.prod(shape) * dtype.itemsize, name)
        order = "F" if is_fortran else "C"
        return np.ascontiguousarray(np.frombuffer(content, dtype).reshape(shape, order=order))


def _labels(file: zipfile.ZipFile, path: Path, num_images: int) -> np.ndarray:
    with _member(file, path, LABELS) as (_, (shape, dtype, _)):
        if dtype.kind not in "iu" or shape != (num_images,):
            raise DataError(
                f"{path}: {LABELS} is {dtype} {shape}: make it whole numbers ({num_images},), one "
                f"for each image"
            )
    labels = _array(file, path, LABELS)
    if labels.min() < 0 or labels.max() >= num_images:
        raise DataError(
            f"{path}: {LABELS} go from {labels.min()} to {labels.max()}: number the classes from 0 "
            f"on, with images of each"
        )
    labels = labels.astype(np.int32)
    sizes = np.bincount(labels)
    if len(sizes) < 2 or not sizes.all():
        lacking = "all labels are 0" if len(sizes) < 2 else f"none is {sizes.argmin()}"
        raise DataError(
            f"{path}: {LABELS} go from 0 to {len(sizes) - 1}, but {lacking}: number at least two "
            f"classes from 0 on without gaps, with images of each"
        )
    return labels


def _read_file(path: Path, spec: DatasetSpec) -> tuple[np.ndarray, np.ndarray]:
    with _opened(path) as file:
        shape = _image_header(file, path).shape
        labels = _labels(file, path, shape[0])
        if shape[1] != spec.side or labels.max() + 1 != spec.num_classes:
            raise DataError(
                f"{path} holds images of {shape[1]}×{shape[1]} in {labels.max() + 1} classes, not "
                f"of {spec.side}×{spec.side} in {spec.num_classes} classes: give all images one "
                f"size and the same classes, in train.npz and test.npz"
            )
        return _array(file, path, IMAGES), labels
