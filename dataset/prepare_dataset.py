"""The training, validation and test sets of a run; makes the corrupted arrays that are missing.

Corrupted arrays live in `DATA_DIR/<dataset>-C/{train,test}/{severity}/{corruption}.npy`, uint8
(N, H, W, 3) in the order of the clean images, with `labels.npy` (N,) beside them. The noise in
those made here is drawn from a fixed seed, whatever the seed of the run: runs with different seeds
are then measured on the same images. Arrays that are there are used, also of other seeds.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from corruptions.errors import DataError
from corruptions.storage.arrays import look_up, open_array
from corruptions.storage.making import make_arrays, make_rows
from corruptions.storage.manifest import Recipe, recipes_of
from dataset import filelists
from dataset.own_data import check_fingerprint
from dataset.own_data import fingerprint as fingerprint_of
from dataset.readers import read_splits
from dataset.readers.published import open_published
from dataset.sets import CleanSplit, EvaluationSet, PreparedData, Rows, SomeRows, TrainingSet
from dataset.shares import listed_test, share_out
from dataset.specs import DatasetSpec

CORRUPTION_SEED = 0
# Where at most one of so many test images is measured on, whole arrays are not made for it. An
# image that is made alone takes ten times as long as one of many, and only one core is used.
_MANY = 20
# How arrays are known for not being of this program's making.
FOREIGN = "not in manifest.json, or overwritten since"


def read_clean(
    spec: DatasetSpec,
    data_dir: Path,
    num_workers: int = 0,
    show_progress: bool = False,
    report: Callable[[str], object] = lambda text: None,
    splits: tuple[str, ...] = ("train", "test"),
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The clean images, uint8 (N, H, W, 3), and labels, int32 (N,), of each split.

    Arguments and errors as for `dataset.readers.read_splits`.
    """
    clean = read_splits(spec, data_dir, splits, num_workers, show_progress, report)
    return {split: (part.images, part.labels) for split, part in clean.items()}


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
    fingerprint: str | None = None,
    num_workers: int = 0,
    show_progress: bool = False,
    report: Callable[[str], object] = lambda text: None,
    may_write: bool = True,
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
        filelist_dir: for a dataset that `has_lists`, where they lie.
        frost_dir: folder with the published photographs of frost; None: frost is drawn.
        severity_law: how the training images are shared out, see `severity_counts`.
        fingerprint: of the user's own data, what they must be, see `dataset.own_data`.
        num_workers: processes that make missing arrays.
        show_progress: draw progress bars.
        report: called with a message about what is made.
        may_write: False: all images are there, and nothing is noted about them.

    Raises:
        DataError: something is missing or does not fit, and cannot be made.
        OSError: a file cannot be read or written.
    """
    making = {"num_workers": num_workers, "show_progress": show_progress, "report": report}
    clean = read_splits(spec, data_dir, **making)
    check_fingerprint(clean, fingerprint, data_dir)
    train, test = clean["train"], clean["test"]
    test_rows = listed_test(spec, len(test.labels), test.files, filelist_dir)
    law = (num_per_class, num_severity, seed, severity_law)
    per_severity, validation = share_out(spec, train.labels, train.files, filelist_dir, *law)
    lists = {}
    if spec.has_lists:
        files = {split: part.files for split, part in clean.items()}
        lists = filelists.list_texts(spec, files, per_severity, validation, test_rows)
    if num_val:
        validation = _subset(validation, num_val, np.random.default_rng([seed, 2]))
    arrays, foreign = _corrupted_arrays(
        spec, data_dir, clean, [corruption], num_severity, frost_dir, may_write=may_write, **making
    )
    test_rows = _test_subset(test_rows, num_test)
    return PreparedData(
        _training_set(arrays["train", corruption], train.labels, per_severity),
        EvaluationSet(arrays["train", corruption], validation, train.labels[validation]),
        EvaluationSet(arrays["test", corruption], test_rows, test.labels[test_rows]),
        foreign,
        lists,
        fingerprint_of(clean) if spec.is_own else None,
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
    fingerprint: str | None = None,
    num_workers: int = 0,
    show_progress: bool = False,
    report: Callable[[str], object] = lambda text: None,
) -> dict[str, EvaluationSet]:
    """The test set alone, with each of several corruptions; the rest as for `prepare_dataset`.

    Args:
        published_dir: folder with published images, see `dataset.readers.published`; None: those
            in `data_dir`, made where they are missing; for few test images in memory alone.
    """
    making = {"num_workers": num_workers, "show_progress": show_progress, "report": report}
    clean = read_splits(spec, data_dir, ("test",), **making)
    check_fingerprint(clean, fingerprint, data_dir)
    test = clean["test"]
    chosen = listed_test(spec, len(test.labels), test.files, filelist_dir)
    chosen = _test_subset(chosen, num_test)
    if published_dir is None:
        is_few = num_test and _MANY * len(chosen) <= len(test.labels)
        made, foreign = _corrupted_arrays(
            spec,
            data_dir,
            clean,
            corruptions,
            num_severity,
            frost_dir,
            few=chosen if is_few else None,
            **making,
        )
        if foreign:
            report(describe_foreign(foreign))
        arrays = {name: made["test", name] for name in corruptions}
    else:
        arrays = {}
        for name in corruptions:
            published = open_published(published_dir, name, test.images, test.labels)
            arrays[name] = [test.images, *published[:num_severity]]
    return {name: EvaluationSet(arrays[name], chosen, test.labels[chosen]) for name in corruptions}


def describe_foreign(number: int) -> str:
    """What is to be said of arrays that this program did not make."""
    return (
        f"{number} arrays of corrupted images were not made by this program ({FOREIGN}): used "
        f"as they are"
    )


def _test_subset(indices: np.ndarray, num_test: int) -> np.ndarray:
    """Which test images are left does not change with the seed of the run."""
    return _subset(indices, num_test, np.random.default_rng(0)) if num_test else indices


def _subset(indices: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """At most `size` of the indices, ascending; a larger subset contains every smaller one."""
    return np.sort(rng.permutation(indices)[:size])


def _training_set(arrays, labels, per_severity) -> TrainingSet:
    severities = np.repeat(
        np.arange(len(per_severity), dtype=np.int32), [len(i) for i in per_severity]
    )
    indices = np.concatenate(per_severity)
    return TrainingSet(Rows(arrays, severities, indices), labels[indices], severities, indices)


def _corrupted_arrays(
    spec: DatasetSpec,
    data_dir: Path,
    clean: dict[str, CleanSplit],
    corruptions: list[str],
    num_severity: int,
    frost_dir: Path | None,
    may_write: bool = True,
    few: np.ndarray | None = None,
    **making,
) -> tuple[dict[tuple[str, str], list[np.ndarray | SomeRows]], int]:
    """Per split and corruption the clean array and the corrupted ones, memory-mapped, 0 … S.

    Also returns how many of them were not made by this program. Where they are missing and `few`
    says which of the images are wanted, ascending, these alone are made, and in memory.
    """
    folder = data_dir / spec.corrupted_folder
    recipes = create_recipes(spec, clean, corruptions, num_severity, frost_dir)
    # All that is there is checked before anything is made.
    stock = look_up(folder, clean, recipes, any_seed=True, may_write=may_write)
    refuse_foreign(spec, folder, stock.num_foreign)
    made = {}
    if stock.missing and few is not None:
        made = _make_few(folder, clean, stock.missing, few, **making)
    elif stock.missing:
        make_arrays(folder, clean, stock.missing, **making)
    arrays = {(split, name): [clean[split].images] for split in clean for name in corruptions}
    for recipe in recipes:  # in the order of severities
        array = stock.arrays.get(recipe, made.get(recipe))
        if array is None:
            array = open_array(folder, recipe, clean[recipe.split])
        arrays[recipe.split, recipe.name].append(array)
    return arrays, stock.num_foreign


def _make_few(folder, clean, recipes, few, show_progress, report, **_) -> dict[Recipe, SomeRows]:
    """Some images in memory; whole arrays of thousands would take minutes and gigabytes."""
    total = sum(clean[recipe.split].images.nbytes for recipe in recipes)
    names = list(dict.fromkeys(recipe.name for recipe in recipes))
    subject = names[0] if len(names) == 1 else f"{len(names)} corruptions"
    report(
        f"making {len(few):,} images of {subject} in memory: so few are not kept (whole arrays in "
        f"{folder} would take {total / 1e6:,.0f} MB)"
    )
    bar = tqdm(recipes, desc="making images", disable=None if show_progress else True)
    return {recipe: SomeRows(make_rows(clean[recipe.split], recipe, few), few) for recipe in bar}


def create_recipes(
    spec: DatasetSpec,
    splits: Iterable[str],
    corruptions: list[str],
    num_severity: int,
    frost_dir: Path | None,
) -> list[Recipe]:
    """How the corrupted arrays are made; arguments as for `prepare_dataset`."""
    severities = range(1, num_severity + 1)
    return recipes_of(
        corruptions,
        splits,
        severities,
        spec.variant,
        CORRUPTION_SEED,
        jpeg_quality=spec.jpeg_quality,
        frost_dir=frost_dir,
    )


def refuse_foreign(spec: DatasetSpec, folder: Path, number: int) -> None:
    """Refuse arrays made elsewhere where the order of their images cannot be verified.

    Raises:
        DataError: there is such a number of them.
    """
    if number and not spec.labels_tell_order:
        raise DataError(
            f"{number} arrays in {folder} were not made by this program ({FOREIGN}), "
            f"so the order of their images cannot be verified: move them away"
        )
