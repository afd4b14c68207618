"""The training, validation and test sets of a run; makes the corrupted arrays that are missing.

Corrupted arrays live in `DATA_DIR/<dataset>-C/{train,test}/{severity}/{corruption}.npy`, uint8
(N, H, W, 3) in the order of the clean images, with `labels.npy` (N,) beside them. The noise in
them is drawn from a fixed seed, whatever the seed of the run: runs with different seeds are then
measured on the same images, and what a run reads does not depend on which run came first.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from corruptions import IMPLEMENTED
from corruptions.generate import (
    Recipe,
    complete,
    exclusive_partial,
    worker_pool,
    write_corrupted,
)
from dataset.cifar import read_cifar10
from dataset.errors import DataError
from dataset.poisson import split_by_severity
from dataset.specs import DatasetSpec
from dataset.synthetic import read_synthetic

CORRUPTION_SEED = 0
_READERS = {"synthetic": read_synthetic, "cifar10": read_cifar10}
# Below this many images starting worker processes costs more than it saves.
_WORTH_WORKERS = 50_000


@dataclass(frozen=True)
class TrainingSet:
    """Images uint8 (N, H, W, 3), labels int32 (N,), severities int32 (N,)."""

    images: np.ndarray
    labels: np.ndarray
    severities: np.ndarray


@dataclass(frozen=True)
class EvaluationSet:
    """The same images at every severity.

    `arrays[s]` uint8 (M, H, W, 3) at severity s, of which the rows `indices` (N,) count;
    `labels` int32 (N,) are theirs.
    """

    arrays: list[np.ndarray]
    indices: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class PreparedData:
    """What a run trains on and is measured on."""

    train: TrainingSet
    validation: EvaluationSet
    test: EvaluationSet


def prepare_dataset(
    spec: DatasetSpec,
    data_dir: Path,
    corruption: str,
    num_per_class: int,
    num_severity: int,
    seed: int,
    num_val: int = 0,
    num_test: int = 0,
    num_workers: int = 0,
    show_progress: bool = False,
) -> PreparedData:
    """Read, split and corrupt a dataset.

    Args:
        spec: the dataset.
        data_dir: where datasets lie.
        corruption: one of `corruptions.CORRUPTIONS`.
        num_per_class: n of the Poisson law, see `severity_counts`.
        num_severity: S; training images carry severities 0 … S, evaluation runs at each.
        seed: fixes the split and which validation images `num_val` leaves.
        num_val, num_test: images per severity to evaluate on; 0: all.
        num_workers: processes that make missing arrays.
        show_progress: draw progress bars.

    Raises:
        DataError: something is missing or does not fit, and cannot be made.
        OSError: a file cannot be read or written.
    """
    splits = _READERS[spec.name](spec, data_dir, show_progress)
    rng = np.random.default_rng([seed, 0])
    labels = splits["train"][1]
    per_severity, validation = split_by_severity(labels, num_per_class, num_severity, rng)
    if num_val:
        validation = _subset(validation, num_val, rng)
    arrays = _corrupted_arrays(
        spec, data_dir, splits, corruption, num_severity, num_workers, show_progress
    )
    return PreparedData(
        _training_set(arrays["train"], labels, per_severity),
        EvaluationSet(arrays["train"], validation, labels[validation]),
        _test_set(arrays["test"], splits["test"][1], num_test),
    )


def prepare_test_set(
    spec: DatasetSpec,
    data_dir: Path,
    corruption: str,
    num_severity: int,
    num_test: int = 0,
    num_workers: int = 0,
    show_progress: bool = False,
) -> EvaluationSet:
    """The test set alone; arguments and errors as for `prepare_dataset`."""
    splits = {"test": _READERS[spec.name](spec, data_dir, show_progress)["test"]}
    arrays = _corrupted_arrays(
        spec, data_dir, splits, corruption, num_severity, num_workers, show_progress
    )
    return _test_set(arrays["test"], splits["test"][1], num_test)


def _test_set(arrays, labels, num_test) -> EvaluationSet:
    """Which test images are left does not change with the seed of the run."""
    chosen = np.arange(len(labels))
    if num_test:
        chosen = _subset(chosen, num_test, np.random.default_rng(0))
    return EvaluationSet(arrays, chosen, labels[chosen])


def _subset(indices: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """At most `size` of the indices, ascending; a larger subset contains every smaller one."""
    return np.sort(rng.permutation(indices)[:size])


def _training_set(arrays, labels, per_severity) -> TrainingSet:
    images = np.concatenate([array[i] for array, i in zip(arrays, per_severity)])
    severities = np.repeat(
        np.arange(len(per_severity), dtype=np.int32), [len(i) for i in per_severity]
    )
    return TrainingSet(images, labels[np.concatenate(per_severity)], severities)


def _corrupted_arrays(spec, data_dir, splits, corruption, num_severity, num_workers, show_progress):
    """Per split the clean array and the memory-mapped corrupted ones, severities 0 … S."""
    folder = data_dir / spec.corrupted_folder
    paths = {
        (split, severity): folder / split / str(severity) / f"{corruption}.npy"
        for split in splits
        for severity in range(1, num_severity + 1)
    }
    # All that is there is checked before anything is made.
    missing = []
    for (split, severity), path in paths.items():
        if path.exists():
            _open_checked(path, *splits[split])
        else:
            missing.append((split, severity, path))
    if missing:
        _make(spec, splits, corruption, missing, num_workers, show_progress)
    return {
        split: [images]
        + [_open_checked(p, images, labels) for (s, _), p in paths.items() if s == split]
        for split, (images, labels) in splits.items()
    }


def _open_checked(path: Path, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Open a corrupted array if it has the shape of the clean images and their labels."""
    remedy = "delete it to have it made anew, or name another folder with --data_dir"
    array = _open(path)
    if array.dtype != np.uint8 or array.shape != images.shape:
        raise DataError(
            f"{path} holds {array.dtype} {array.shape}, expected uint8 {images.shape}: {remedy}"
        )
    labels_path = path.with_name("labels.npy")
    if not labels_path.exists():
        raise DataError(
            f"{labels_path} is missing, so the order of {path.name} cannot be checked: put it "
            f"there, or delete {path.name} to have both made anew"
        )
    if not np.array_equal(_open(labels_path), labels):
        raise DataError(
            f"{labels_path} differs from the labels of the clean images, so {path.name} is in "
            f"another order or of another dataset: delete {path.parent} to have it made anew, or "
            f"name another folder with --data_dir"
        )
    return array


def _open(path: Path) -> np.ndarray:
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except OSError:
        raise
    except Exception as error:  # foreign bytes as a header can raise about anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"{path} is not a whole .npy array ({reason}): delete it to have it made anew"
        ) from error


def _make(spec, splits, corruption, missing, num_workers, show_progress) -> None:
    if corruption not in IMPLEMENTED:
        raise DataError(
            f"{missing[0][2]} is missing and this version makes only {', '.join(IMPLEMENTED)}: "
            f"choose one of these with -c, or put the array and its labels.npy there"
        )
    total = sum(len(splits[split][0]) for split, _, _ in missing)
    bar = tqdm(
        desc=f"making {corruption}",
        total=total,
        unit="image",
        disable=None if show_progress else True,
    )
    with bar, worker_pool(num_workers if total >= _WORTH_WORKERS else 0) as pool:
        for split, severity, path in missing:
            images, labels = splits[split]
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_labels(path.with_name("labels.npy"), labels)
            recipe = Recipe(corruption, severity, spec.variant, CORRUPTION_SEED, split)
            write_corrupted(path, images, recipe, pool, bar.update)


def _write_labels(path: Path, labels: np.ndarray) -> None:
    """Write the labels unless they are there; labels that differ are not overwritten."""
    with exclusive_partial(path) as partial:
        if not path.exists():
            np.save(partial, labels.astype(np.int64))
            complete(partial, path)
    if not np.array_equal(_open(path), labels):
        raise DataError(
            f"{path} differs from the labels of the clean images: delete {path.parent}, or "
            f"name another folder with --data_dir"
        )
