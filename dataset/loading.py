"""A data set as an object: NumPy arrays, and MindSpore's data sets of them."""

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from corruptions import CORRUPTIONS, MAX_SEVERITY
from corruptions.errors import DataError
from dataset.filelists import FILELIST_DIR, find_lists
from dataset.own_data import find_own_data
from dataset.poisson import SEVERITY_LAWS
from dataset.prepare_dataset import describe_foreign, prepare_dataset
from dataset.sets import EvaluationSet, Rows, TrainingSet
from dataset.specs import DATASETS, FOLDER, MAX_SIDE, MIN_SIDE, OWN, DatasetSpec


class Images:
    """Images with their labels and severities.

    Args:
        rows: an array (M, H, W, 3), or something that gives rows as one.
        chosen: which of its rows, in order, ints (N,).
        labels, severities: int32 (N,).
        indices: of each image in the data set's own order, ints (N,).
    """

    def __init__(self, rows: np.ndarray | Rows, chosen, labels, severities, indices):
        self._rows, self._chosen = rows, chosen
        self.labels, self.severities, self.indices = labels, severities, indices

    def __len__(self) -> int:
        return len(self.labels)

    @functools.cached_property
    def images(self) -> np.ndarray:
        """uint8 (N, H, W, 3); read when first asked for, and kept in memory."""
        return np.ascontiguousarray(self._rows[self._chosen])

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.int32, np.int32]:
        """An image, its label and its severity."""
        return self.images[index], self.labels[index], self.severities[index]

    def to_mindspore(
        self,
        batch_size: int,
        shuffle: bool = False,
        drop_remainder: bool = False,
        seed: int = 0,
    ):
        """A MindSpore data set of batches: columns image, label and severity.

        uint8 (B, H, W, 3), int32 (B,) and int32 (B,).

        Args:
            batch_size: B.
            shuffle: another order in every epoch and for every iterator, which the same program
                gets again with the same `seed`; else that of the arrays.
            drop_remainder: leave the last batch out where it is smaller.
            seed: of the orders, at least 0.
        """
        import mindspore.dataset as ms_dataset

        generated = ms_dataset.GeneratorDataset(
            self,
            ["image", "label", "severity"],
            sampler=_order_of(len(self), shuffle, seed),
            python_multiprocessing=False,
        )
        return generated.batch(batch_size, drop_remainder=drop_remainder)


def _order_of(count: int, shuffle: bool, seed: int):
    """A MindSpore sampler of all images."""
    import mindspore.dataset as ms_dataset

    if not shuffle:
        return ms_dataset.SequentialSampler()

    class Shuffled(ms_dataset.Sampler):
        """Every epoch of every iterator has an order of its own, a pure function of the seed.

        MindSpore copies a pipeline, and what belongs to it, for each iterator.
        """

        def __init__(self, copies, number):
            super().__init__()
            self._copies, self._number, self._epochs = copies, number, itertools.count()

        def __deepcopy__(self, memo):
            return Shuffled(self._copies, next(self._copies))

        def __iter__(self):
            rng = np.random.default_rng([seed, self._number, next(self._epochs)])
            return iter(rng.permutation(count).tolist())

    return Shuffled(itertools.count(1), 0)


@dataclass(frozen=True)
class Data:
    """A data set, as a run of main.py trains on it and is measured on it.

    Args:
        train: training images, from severity 0 to S.
        validation, test: for each severity 0 … S the same images.
        mean, std: of the channels of pixels in [0, 1], with which main.py normalises.
        class_names: in label order; empty where they have none.
        fingerprint: of the user's own data, by which runs know them; None for others.
    """

    train: Images
    validation: list[Images]
    test: list[Images]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...] = ()
    fingerprint: str | None = None


def load(
    name: str,
    corruption: str = "gaussian_noise",
    num_per_class: int | None = None,
    num_severity: int = 5,
    seed: int = 0,
    data_dir: Path | str = "data",
    *,
    side: int | None = None,
    severity_law: str = "poisson",
    num_val: int = 0,
    num_test: int = 0,
    filelist_dir: Path | str | None = None,
    frost_dir: Path | str | None = None,
    num_workers: int = 0,
    show_progress: bool = False,
    report: Callable[[str], object] = print,
) -> Data:
    """The images that main.py takes with the flags of these names; what is missing is made.

    Args:
        name: one of `DATASETS`, or of the user's own "folder" and "arrays", see README.md.
        corruption: one of `corruptions.CORRUPTIONS`.
        num_per_class: n of the Poisson law; None: as main.py has it by default.
        num_severity: S, 1 to 5.
        seed: fixes the split.
        data_dir: where datasets lie.
        side: of photographs of "folder", in pixels; None: 64.
        severity_law: one of `dataset.poisson.SEVERITY_LAWS`.
        num_val, num_test: images per severity to evaluate on; 0: all.
        filelist_dir: for imagenet30, where lists lie; None: those of the project, if there are any.
        frost_dir: folder with photographs of frost; None: frost is drawn.
        num_workers: processes that make what is missing; with 2 or more the program that calls
            this needs `if __name__ == "__main__":`.
        show_progress: draw progress bars.
        report: called with a line that tells what is made.

    Raises:
        ValueError: an argument is out of range, or does not go with the others.
        DataError: something is missing or does not fit, and cannot be made.
        OSError: a file cannot be read or written.
    """
    _check_choices(name=name, corruption=corruption, severity_law=severity_law)
    numbers = {"num_per_class": num_per_class, "num_severity": num_severity, "seed": seed}
    _check_numbers(**numbers, num_val=num_val, num_test=num_test, num_workers=num_workers)
    if frost_dir is not None and corruption != "frost":
        raise ValueError("frost_dir goes with frost alone: leave it out")
    data_dir = Path(data_dir)
    spec, default = _find_dataset(name, data_dir, side, num_per_class)
    lists = _find_lists(spec, filelist_dir, num_per_class, severity_law, report)
    prepared = prepare_dataset(
        spec,
        data_dir,
        corruption,
        None if lists else num_per_class or default,
        num_severity,
        seed,
        num_val=num_val,
        num_test=num_test,
        filelist_dir=lists,
        frost_dir=None if frost_dir is None else Path(frost_dir),
        severity_law=severity_law,
        num_workers=num_workers,
        show_progress=show_progress,
        report=report,
    )
    if prepared.num_foreign:
        report(describe_foreign(prepared.num_foreign))
    return Data(
        _of_training(prepared.train),
        _by_severity(prepared.validation),
        _by_severity(prepared.test),
        spec.mean,
        spec.std,
        spec.class_names,
        prepared.fingerprint,
    )


_CHOICES = {
    "name": (*DATASETS, *OWN),
    "corruption": CORRUPTIONS,
    "severity_law": SEVERITY_LAWS,
}
_BOUNDS = {"num_severity": (1, MAX_SEVERITY), "num_per_class": (1, None)}
_BOUNDS["side"] = (MIN_SIDE, MAX_SIDE)


def _check_choices(**values: str) -> None:
    for name, value in values.items():
        if value not in _CHOICES[name]:
            raise ValueError(f"{name} is {value!r}: choose one of {', '.join(_CHOICES[name])}")


def _check_numbers(**values: int | None) -> None:
    for name, value in values.items():
        low, high = _BOUNDS.get(name, (0, None))
        if value is None and name == "num_per_class":
            continue
        is_whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if not is_whole or value < low or (high is not None and value > high):
            bounds = f"at least {low}" if high is None else f"{low} to {high}"
            raise ValueError(f"{name} is {value!r}: give a whole number, {bounds}")


def _find_dataset(name, data_dir, side, num_per_class) -> tuple[DatasetSpec, int]:
    """The dataset, and its default number of training images per class."""
    if side is not None:
        if name != FOLDER:
            raise ValueError(f"side does not apply to {name!r}: leave it out")
        _check_numbers(side=side)
    if name not in OWN:
        return DATASETS[name], DATASETS[name].num_per_class
    own = find_own_data(name, data_dir, side)
    if num_per_class is not None:
        own.check_num_per_class(num_per_class)
    return own.spec, own.default_num_per_class


def _find_lists(spec, filelist_dir, num_per_class, severity_law, report) -> Path | None:
    """The folder of the lists that say which image belongs where; None: there are none."""
    if not spec.has_lists:
        if filelist_dir is not None:
            raise ValueError(f"filelist_dir does not apply to {spec.name!r}: leave it out")
        return None
    folder = Path(FILELIST_DIR if filelist_dir is None else filelist_dir)
    if not find_lists(folder):
        if filelist_dir is not None:
            raise DataError(f"filelist_dir {folder} holds no lists: name another")
        report(f"{folder} holds no lists: the seed decides which image belongs where")
        return None
    if num_per_class is not None or severity_law != "poisson":
        raise ValueError(
            f"num_per_class and severity_law do not go with the lists in {folder}: leave them out, "
            f"or move the lists away"
        )
    return folder


def _of_training(data: TrainingSet) -> Images:
    rows = np.arange(len(data.labels))
    return Images(data.images, rows, data.labels, data.severities, data.indices)


def _by_severity(data: EvaluationSet) -> list[Images]:
    return [
        Images(array, data.indices, data.labels, np.full_like(data.labels, severity), data.indices)
        for severity, array in enumerate(data.arrays)
    ]
