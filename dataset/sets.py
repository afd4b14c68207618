"""Sets of images: clean as they were read, to train on, to be measured on."""

import functools
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from corruptions.storage.arrays import Source


@dataclass(frozen=True)
class Files:
    """The files that the images of a split were decoded from.

    Args:
        folder: where they lie, for messages.
        names: class/file of each image, in order.
        skipped: class/file of those that could not be decoded, so that there is no image of them.
    """

    folder: Path
    names: list[str]
    skipped: frozenset[str]


@dataclass(frozen=True)
class CleanSplit(Source):
    """The clean images of a split, uint8 (N, H, W, 3), and their labels, int32 (N,).

    `files` are those of a dataset whose spec says that it `has_lists`; None otherwise.
    """

    files: Files | None = None

    @functools.cached_property
    def crc32(self) -> str:
        """Of the labels (int32) and then the images' bytes, in hex."""
        labels = zlib.crc32(np.ascontiguousarray(self.labels, "<i4"))
        return f"{_crc32_of_rows(self.images, np.arange(len(self.labels)), labels):08x}"


class Rows:
    """Rows of several arrays as one, read when they are asked for: memory-mapped arrays stay so.

    Args:
        arrays: uint8 (M, H, W, 3) each.
        which: which array each row is from, ints (N,).
        indices: its row there, ints (N,).
    """

    def __init__(self, arrays: list[np.ndarray], which: np.ndarray, indices: np.ndarray):
        self._arrays = [np.asarray(array) for array in arrays]
        self._which, self._indices = which, indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        which, indices = self._which[rows], self._indices[rows]
        images = np.empty((len(indices), *self._arrays[0].shape[1:]), np.uint8)
        for number, array in enumerate(self._arrays):
            chosen = np.flatnonzero(which == number)
            images[chosen] = array[indices[chosen]]
        return images


class SomeRows:
    """Some rows of an array of which the others were not made; those cannot be asked for.

    Args:
        rows: uint8 (n, H, W, 3).
        indices: the rows' places in the array, ascending ints (n,).
    """

    def __init__(self, rows: np.ndarray, indices: np.ndarray):
        self._rows, self._indices = rows, indices

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return self._rows[np.searchsorted(self._indices, rows)]


@dataclass(frozen=True)
class TrainingSet:
    """What is trained on.

    Args:
        images: uint8 (N, H, W, 3), an array or something that gives rows as one.
        labels: int32 (N,).
        severities: int32 (N,).
        indices: of each image in the dataset's own order, ints (N,).
        groups: what the method takes as groups, int32 (N,); the severities unless given.
        repeats: how often each image counts when batches are drawn, ints (N,); once unless given.
    """

    images: np.ndarray | Rows
    labels: np.ndarray
    severities: np.ndarray
    indices: np.ndarray
    groups: np.ndarray = None
    repeats: np.ndarray = None

    def __post_init__(self):
        if self.groups is None:
            object.__setattr__(self, "groups", self.severities)
        if self.repeats is None:
            object.__setattr__(self, "repeats", np.ones(len(self.labels), np.int64))

    def counts(self, num_severities: int) -> list[int]:
        """The number of images at each severity."""
        return np.bincount(self.severities, minlength=num_severities).tolist()

    def checksums(self, num_severities: int) -> list[str]:
        """CRC-32 of the images at each severity, in hex; of labels and places in the dataset, too.

        A checksum is that of the labels (int64), the indices (int64) and the images' bytes.
        """
        rows = [np.flatnonzero(self.severities == s) for s in range(num_severities)]
        return [_checksum(self.images, r, self.labels[r], self.indices[r]) for r in rows]


@dataclass(frozen=True)
class EvaluationSet:
    """The same images at every severity.

    `arrays[s]` uint8 (M, H, W, 3) at severity s, of which the rows `indices` (N,) count;
    `labels` int32 (N,) are theirs.
    """

    arrays: list[np.ndarray | SomeRows]
    indices: np.ndarray
    labels: np.ndarray

    def checksums(self) -> list[str]:
        """CRC-32 of the images that count, at each severity, as `TrainingSet.checksums`."""
        return [_checksum(array, self.indices, self.labels, self.indices) for array in self.arrays]

    def checksum(self) -> str:
        """CRC-32 of the images that count, at all severities, and of their labels, in hex.

        Not derived from `checksums`, as older evaluations have recorded it: it is that of the
        labels (int32) and then all images' bytes on end, without their indices.
        """
        value = zlib.crc32(np.ascontiguousarray(self.labels))
        for array in self.arrays:
            value = _crc32_of_rows(array, self.indices, value)
        return f"{value:08x}"


def _checksum(images, rows: np.ndarray, labels: np.ndarray, indices: np.ndarray) -> str:
    value = zlib.crc32(indices.astype("<i8"), zlib.crc32(labels.astype("<i8")))
    return f"{_crc32_of_rows(images, rows, value):08x}"


def _crc32_of_rows(images, rows: np.ndarray, value: int) -> int:
    for start in range(0, len(rows), 1000):
        value = zlib.crc32(images[rows[start : start + 1000]], value)
    return value


@dataclass(frozen=True)
class PreparedData:
    """What a run trains on and is measured on.

    `num_foreign` of the corrupted arrays were there already and not made by this program. Of a
    dataset that `has_lists`, `lists` say which image is where, see `dataset.filelists`: texts by
    file name. Of the user's own data, `fingerprint` says which they are, see `dataset.own_data`.
    """

    train: TrainingSet
    validation: EvaluationSet
    test: EvaluationSet
    num_foreign: int = 0
    lists: dict[str, str] = field(default_factory=dict)
    fingerprint: str | None = None

    def checksums(self) -> dict[str, list[str]]:
        """What the images of each set are at each severity, see `TrainingSet.checksums`."""
        return {
            "training": self.train.checksums(len(self.test.arrays)),
            "validation": self.validation.checksums(),
            "test": self.test.checksums(),
        }
