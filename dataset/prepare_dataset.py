"""The training, validation and test sets of a run; makes the corrupted arrays that are missing.

Corrupted arrays live in `DATA_DIR/<dataset>-C/{train,test}/{severity}/{corruption}.npy`, uint8
(N, H, W, 3) in the order of the clean images, with `labels.npy` (N,) beside them. The noise in
those made here is drawn from a fixed seed, whatever the seed of the run: runs with different seeds
are then measured on the same images. Arrays that are there are used, also of other seeds.
"""

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from corruptions.errors import DataError
from corruptions.storage.arrays import Source, make_arrays, missing_recipes, num_foreign, open_array
from corruptions.storage.manifest import Recipe
from dataset import filelists
from dataset.poisson import split_by_severity
from dataset.readers.cifar import read_cifar
from dataset.readers.imagenet30 import read_imagenet30
from dataset.readers.published import open_published
from dataset.readers.synthetic import read_synthetic
from dataset.specs import DatasetSpec

CORRUPTION_SEED = 0
# How arrays are known for not being of this program's making.
FOREIGN = "not in manifest.json, or overwritten since"
_READERS = {"synthetic": read_synthetic, "cifar10": read_cifar, "cifar100": read_cifar}


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

    images: "np.ndarray | Rows"
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

    def checksums(self, num_severities: int) -> list[str]:
        """CRC-32 of the images at each severity, in hex; of labels and places in the dataset, too.

        A checksum is that of the labels (int64), the indices (int64) and the images' bytes.
        """
        rows = [np.flatnonzero(self.severities == s) for s in range(num_severities)]
        return [_checksum(self.images, r, self.labels[r], self.indices[r]) for r in rows]


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


@dataclass(frozen=True)
class EvaluationSet:
    """The same images at every severity.

    `arrays[s]` uint8 (M, H, W, 3) at severity s, of which the rows `indices` (N,) count;
    `labels` int32 (N,) are theirs.
    """

    arrays: list[np.ndarray]
    indices: np.ndarray
    labels: np.ndarray

    def checksums(self) -> list[str]:
        """CRC-32 of the images that count, at each severity, as `TrainingSet.checksums`."""
        return [_checksum(array, self.indices, self.labels, self.indices) for array in self.arrays]

    def checksum(self) -> str:
        """CRC-32 of the images that count, at all severities, and of their labels, in hex."""
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

    `num_foreign` of the corrupted arrays were there already and not made by this program. For a
    dataset made of folders, `lists` says which image is where, see `dataset.filelists`: texts by
    file name.
    """

    train: TrainingSet
    validation: EvaluationSet
    test: EvaluationSet
    num_foreign: int = 0
    lists: dict[str, str] = field(default_factory=dict)

    def checksums(self) -> dict[str, list[str]]:
        """What the images of each set are at each severity, see `TrainingSet.checksums`."""
        return {
            "training": self.train.checksums(len(self.test.arrays)),
            "validation": self.validation.checksums(),
            "test": self.test.checksums(),
        }


def read_clean(
    spec: DatasetSpec,
    data_dir: Path,
    num_workers: int = 0,
    show_progress: bool = False,
    report: Callable[[str], object] = lambda text: None,
    splits: tuple[str, ...] = ("train", "test"),
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Read a dataset's clean images.

    Args:
        spec: the dataset.
        data_dir: where datasets lie.
        num_workers: processes that decode photographs.
        show_progress: draw progress bars.
        report: called with a line that tells what is done.
        splits: which to read.

    Returns:
        For each split: images, uint8 (N, H, W, 3), and labels, int32 (N,).
    """
    if spec.class_names:
        return read_imagenet30(spec, data_dir, num_workers, show_progress, report, splits)
    read = _READERS[spec.name](spec, data_dir, show_progress)
    return {split: read[split] for split in splits}


def prepare_dataset(
    spec: DatasetSpec,
    data_dir: Path,
    corruption: str,
    num_per_class: int | None,
    num_severity: int,
    seed: int,
    num_val: int = 0,
    num_test: int = 0,
    filelist_dir: Path | None = None,
    frost_dir: Path | None = None,
    severity_law: str = "poisson",
    num_workers: int = 0,
    show_progress: bool = False,
    report: Callable[[str], object] = lambda text: None,
) -> PreparedData:
    """Read, split and corrupt a dataset.

    Args:
        spec: the dataset.
        data_dir: where datasets lie.
        corruption: one of `corruptions.CORRUPTIONS`.
        num_per_class: n of the Poisson law, see `severity_counts`; None: lists say what is where.
        num_severity: S; training images carry severities 0 … S, evaluation runs at each.
        seed: fixes the split and which validation images `num_val` leaves.
        num_val, num_test: images per severity to evaluate on; 0: all.
        filelist_dir: for a dataset made of folders, where such lists lie.
        frost_dir: folder with the published photographs of frost; None: frost is drawn.
        severity_law: how the training images are shared out, see `severity_counts`.
        num_workers: processes that make missing arrays.
        show_progress: draw progress bars.
        report: called with a line that tells what is made.

    Raises:
        DataError: something is missing or does not fit, and cannot be made.
        OSError: a file cannot be read or written.
    """
    making = {"num_workers": num_workers, "show_progress": show_progress, "report": report}
    splits = read_clean(spec, data_dir, **making)
    labels = splits["train"][1]
    test = listed_test(spec, data_dir, filelist_dir, len(splits["test"][1]))
    per_severity, validation = share_out(
        spec, data_dir, labels, filelist_dir, num_per_class, num_severity, seed, severity_law
    )
    lists = {}
    if spec.class_names:
        lists = filelists.list_texts(spec, data_dir, per_severity, validation, test)
    if num_val:
        validation = _subset(validation, num_val, np.random.default_rng([seed, 2]))
    arrays, foreign = _corrupted_arrays(
        spec, data_dir, splits, [corruption], num_severity, frost_dir, **making
    )
    return PreparedData(
        _training_set(arrays["train", corruption], labels, per_severity),
        EvaluationSet(arrays["train", corruption], validation, labels[validation]),
        _test_set(arrays["test", corruption], splits["test"][1], test, num_test),
        foreign,
        lists,
    )


def prepare_test_sets(
    spec: DatasetSpec,
    data_dir: Path,
    corruptions: list[str],
    num_severity: int,
    num_test: int = 0,
    filelist_dir: Path | None = None,
    frost_dir: Path | None = None,
    published_dir: Path | None = None,
    num_workers: int = 0,
    show_progress: bool = False,
    report: Callable[[str], object] = lambda text: None,
) -> dict[str, EvaluationSet]:
    """The test set alone, with each of several corruptions; the rest as for `prepare_dataset`.

    Args:
        published_dir: folder with published images, see `dataset.readers.published`; None: those
            in `data_dir`, made where they are missing.
    """
    making = {"num_workers": num_workers, "show_progress": show_progress, "report": report}
    splits = read_clean(spec, data_dir, **making, splits=("test",))
    images, labels = splits["test"]
    test = listed_test(spec, data_dir, filelist_dir, len(labels))
    if published_dir is None:
        found, foreign = _corrupted_arrays(
            spec, data_dir, splits, corruptions, num_severity, frost_dir, **making
        )
        if foreign:
            report(describe_foreign(foreign))
        arrays = {name: found["test", name] for name in corruptions}
    else:
        arrays = {
            name: [images, *open_published(published_dir, name, images, labels)[:num_severity]]
            for name in corruptions
        }
    return {name: _test_set(arrays[name], labels, test, num_test) for name in corruptions}


def describe_foreign(number: int) -> str:
    """What is to be said of arrays that `count_foreign` has counted."""
    return (
        f"{number} arrays of corrupted images are not of this program's making ({FOREIGN}): used "
        f"as they are"
    )


def share_out(
    spec: DatasetSpec,
    data_dir: Path,
    labels: np.ndarray,
    filelist_dir: Path | None,
    num_per_class: int | None,
    num_severity: int,
    seed: int,
    severity_law: str = "poisson",
) -> tuple[list[np.ndarray], np.ndarray]:
    """Which training image gets which severity, and which are for validation.

    Args:
        labels: of the training images, (N,).
        others: as for `prepare_dataset`, whose errors it raises.

    Returns:
        What `dataset.poisson.split_by_severity` returns.
    """
    if num_per_class is None:
        found = filelists.find_lists(filelist_dir)
        return filelists.read_training_lists(found, spec, data_dir, num_severity)
    rng = np.random.default_rng([seed, 0])
    return split_by_severity(
        *(labels, num_per_class, num_severity, rng),
        class_names=spec.class_names,
        law=severity_law,
    )


def listed_test(
    spec: DatasetSpec, data_dir: Path, filelist_dir: Path | None, num_test: int
) -> np.ndarray:
    """The test images that count: those of a list, if there is one, or else all `num_test`."""
    listed = None
    if spec.class_names and filelist_dir is not None:
        listed = filelists.read_test_list(filelists.find_lists(filelist_dir), spec, data_dir)
    return np.arange(num_test) if listed is None else listed


def _test_set(arrays, labels, chosen, num_test) -> EvaluationSet:
    """Which test images are left does not change with the seed of the run."""
    if num_test:
        chosen = _subset(chosen, num_test, np.random.default_rng(0))
    return EvaluationSet(arrays, chosen, labels[chosen])


def _subset(indices: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """At most `size` of the indices, ascending; a larger subset contains every smaller one."""
    return np.sort(rng.permutation(indices)[:size])


def _training_set(arrays, labels, per_severity) -> TrainingSet:
    severities = np.repeat(
        np.arange(len(per_severity), dtype=np.int32), [len(i) for i in per_severity]
    )
    indices = np.concatenate(per_severity)
    return TrainingSet(Rows(arrays, severities, indices), labels[indices], severities, indices)


def _corrupted_arrays(spec, data_dir, splits, corruptions, num_severity, frost_dir, **making):
    """Per split and corruption the clean array and the corrupted ones, memory-mapped, 0 … S.

    Also returns how many of them were not made by this program.
    """
    folder = data_dir / spec.corrupted_folder
    sources = {split: Source(images, labels) for split, (images, labels) in splits.items()}
    recipes = create_recipes(spec, splits, corruptions, num_severity, frost_dir)
    # All that is there is checked before anything is made.
    missing = missing_recipes(folder, sources, recipes, any_seed=True)
    if missing:
        make_arrays(folder, sources, missing, **making)
    arrays = {
        (split, name): [source.images]
        + [open_array(folder, r, source) for r in recipes if (r.split, r.name) == (split, name)]
        for split, source in sources.items()
        for name in corruptions
    }
    return arrays, count_foreign(spec, folder, recipes)


def create_recipes(
    spec: DatasetSpec,
    splits: Iterable[str],
    corruptions: list[str],
    num_severity: int,
    frost_dir: Path | None,
) -> list[Recipe]:
    """How the corrupted arrays are made; arguments as for `prepare_dataset`."""
    return [
        Recipe(
            name,
            severity,
            spec.variant,
            CORRUPTION_SEED,
            split,
            jpeg_quality=spec.jpeg_quality,
            frost_dir=frost_dir if name == "frost" else None,
        )
        for split in splits
        for name in corruptions
        for severity in range(1, num_severity + 1)
    ]


def count_foreign(
    spec: DatasetSpec, folder: Path, recipes: list[Recipe], may_write: bool = True
) -> int:
    """How many of the arrays were not made by this program; arguments as for `num_foreign`.

    Raises:
        DataError: there are some, of a dataset whose order nothing tells.
    """
    foreign = num_foreign(folder, recipes, may_write)
    if foreign and spec.class_names:
        raise DataError(
            f"{foreign} arrays in {folder} were not made by this program ({FOREIGN}), "
            f"so nothing tells in which order of the photographs they are: move them away"
        )
    return foreign
