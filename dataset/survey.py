"""What is there of a dataset and what a run would make: read and checked as a run does it.

Nothing is written. What is not there yet counts by the size that the dataset is said to have.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from corruptions.errors import DataError
from corruptions.frost_photographs import read_photographs
from corruptions.storage.arrays import (
    array_path,
    check_labels,
    look_up,
    num_foreign,
    refuse_mixed_frost,
)
from dataset import filelists
from dataset.own_data import describe_own_data
from dataset.prepare_dataset import create_recipes, refuse_foreign
from dataset.readers import read_splits
from dataset.readers.download import has_archive
from dataset.readers.photographs import decoded_array, find_split, labels_of
from dataset.sets import CleanSplit
from dataset.shares import listed_test, share_out
from dataset.specs import DatasetSpec

SPLITS = ("train", "test")


@dataclass
class CleanImages:
    """A dataset's clean images, as far as they are there.

    Args:
        labels: of each split, int32 (N,); of what is missing, made up from the dataset's size.
        splits: those that can be read.
        lines: what is there and what is not.
        num_bytes: what a run would write before it can read them.
        nominal: splits whose number of images is what the dataset is said to have.
        problems: what stands in the way.
    """

    labels: dict[str, np.ndarray]
    splits: dict[str, CleanSplit] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    num_bytes: int = 0
    nominal: set[str] = field(default_factory=lambda: set(SPLITS))
    problems: list[str] = field(default_factory=list)

    def add_labels(self, split: str, labels: np.ndarray) -> None:
        """Real labels of a split."""
        self.labels[split] = labels
        self.nominal.discard(split)


@dataclass(frozen=True)
class Sizes:
    """Numbers of images: to train on at each severity, and at every severity to be measured on."""

    per_severity: list[int]
    validation: int
    test: int


def image_bytes(spec: DatasetSpec, num_images: int) -> int:
    """What so many images take."""
    return num_images * spec.side * spec.side * 3


def survey_clean(spec: DatasetSpec, data_dir: Path) -> CleanImages:
    """Look for a dataset's clean images, and read those that are there.

    Raises:
        OSError: a file cannot be read.
    """
    counts = {"train": spec.num_train, "test": spec.num_test}
    made_up = {s: np.arange(n, dtype=np.int32) % spec.num_classes for s, n in counts.items()}
    clean = CleanImages(made_up)
    for splits in [[split] for split in SPLITS] if spec.photograph_folders else [SPLITS]:
        try:
            _survey_splits(spec, data_dir, splits, clean)
        except DataError as error:
            clean.problems.append(str(error))
    clean.lines += describe_own_data(spec, data_dir)
    return clean


def _survey_splits(spec, data_dir, splits, clean):
    if spec.photograph_folders and not decoded_array(spec, data_dir, splits[0]).exists():
        _survey_photographs(spec, data_dir, splits[0], clean)
        return
    folder = data_dir / spec.clean_folder if spec.archive else None
    if folder is not None and not folder.is_dir():
        _survey_archive(spec, folder, clean)
        return
    if folder is not None:
        clean.lines.append(f"found in {folder}")
    for split, images in read_splits(spec, data_dir, splits).items():
        clean.splits[split] = images
        clean.add_labels(split, images.labels)
        if spec.photograph_folders:
            array = decoded_array(spec, data_dir, split)
            clean.lines.append(f"{len(images.labels):,} {split} images found in {array}")
        elif spec.is_own:
            clean.lines.append(f"{len(images.labels):,} {split} images found in {data_dir}")
    if not clean.lines:
        clean.lines.append("drawn by this program, nothing to fetch")


def _survey_archive(spec, folder, clean):
    archive = spec.archive
    clean.lines.append(f"not there: {folder}")
    clean.num_bytes += image_bytes(spec, spec.num_train + spec.num_test)
    if has_archive(archive, folder):
        clean.lines.append(f"would be unpacked from {folder.parent / archive.file_name}")
    else:
        size = f"{archive.num_bytes / 1e6:,.0f} MB"
        clean.lines.append(f"would be downloaded from {archive.url} ({size})")
        clean.num_bytes += archive.num_bytes


def _survey_photographs(spec, data_dir, split, clean):
    array, photographs = decoded_array(spec, data_dir, split), find_split(spec, data_dir, split)
    clean.add_labels(split, labels_of(list(photographs), spec, array))
    num_bytes = image_bytes(spec, len(photographs))
    clean.num_bytes += num_bytes
    clean.lines.append(
        f"{len(photographs):,} {split} photographs found, which would be decoded into {array} "
        f"({num_bytes / 1e6:,.0f} MB)"
    )


def survey_arrays(
    spec: DatasetSpec,
    data_dir: Path,
    clean: CleanImages,
    corruption: str,
    num_severity: int,
    frost_dir: Path | None,
    refuse: Callable[[str], object],
) -> tuple[int, int, int]:
    """Look for the corrupted arrays, and check those whose clean images are there.

    `refuse` is called with what is wrong with what is there.

    Returns:
        How many are there, how many would be made, and the bytes of these.

    Raises:
        OSError: a photograph of frost is missing.
    """
    folder = data_dir / spec.corrupted_folder
    if frost_dir is not None:
        read_photographs(frost_dir)
    recipes = create_recipes(spec, SPLITS, [corruption], num_severity, frost_dir)
    missing = [recipe for recipe in recipes if not array_path(folder, recipe).exists()]
    there = [recipe for recipe in recipes if recipe not in missing]
    problems = {}  # each once
    for recipe in recipes:
        if recipe.split in clean.splits:
            try:
                if recipe in missing:
                    check_labels(array_path(folder, recipe), clean.splits[recipe.split])
                else:
                    look_up(folder, clean.splits, [recipe], any_seed=True, may_write=False)
            except DataError as error:
                problems[str(error)] = None
    try:
        refuse_mixed_frost(folder, recipes, missing)
        refuse_foreign(spec, folder, num_foreign(folder, there, may_write=False))
    except DataError as error:
        problems[str(error)] = None
    for problem in problems:
        refuse(problem)
    num_images = sum(len(clean.labels[recipe.split]) for recipe in missing)
    return len(there), len(missing), image_bytes(spec, num_images)


def survey_split(
    spec: DatasetSpec,
    clean: CleanImages,
    filelist_dir: Path | None,
    num_per_class: int | None,
    num_severity: int,
    seed: int,
    num_val: int,
    num_test: int,
    severity_law: str = "poisson",
) -> Sizes:
    """How many images would be trained and measured on; arguments as for `prepare_dataset`.

    Where photographs are not decoded yet, all that the lists name are taken to be there.

    Raises:
        DataError: the images are too few, or the lists do not fit.
    """
    if filelist_dir is not None and clean.splits.keys() != set(SPLITS):
        listed = filelists.count_listed(filelists.find_lists(filelist_dir), num_severity)
        per_severity = [listed[part] for part in filelists.severity_parts(num_severity)]
        validation = listed[filelists.VALIDATION]
        test = listed.get(filelists.TEST, len(clean.labels["test"]))
    else:
        law = (num_per_class, num_severity, seed, severity_law)
        files = {split: part.files for split, part in clean.splits.items()}
        labels = clean.labels["train"]
        shares, rest = share_out(spec, labels, files.get("train"), filelist_dir, *law)
        per_severity, validation = [len(share) for share in shares], len(rest)
        num_test_images = len(clean.labels["test"])
        test = len(listed_test(spec, num_test_images, files.get("test"), filelist_dir))
    return Sizes(per_severity, min(validation, num_val or validation), min(test, num_test or test))
