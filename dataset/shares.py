"""Who gets which severity and who is measured: by lists where there are some, or else drawn."""

from pathlib import Path

import numpy as np

from dataset import filelists
from dataset.poisson import split_by_severity
from dataset.sets import Files
from dataset.specs import DatasetSpec


def share_out(
    spec: DatasetSpec,
    labels: np.ndarray,
    files: Files | None,
    filelist_dir: Path | None,
    num_per_class: int | None,
    num_severity: int,
    seed: int,
    severity_law: str = "poisson",
) -> tuple[list[np.ndarray], np.ndarray]:
    """Which training image gets which severity, and which are for validation.

    Args:
        labels: of the training images, (N,).
        files: theirs; None: no lists are read.
        others: as for `dataset.prepare_dataset.prepare_dataset`, whose errors it raises.

    Returns:
        What `dataset.poisson.split_by_severity` returns.
    """
    if num_per_class is None:
        lists = filelists.find_lists(filelist_dir)
        return filelists.read_training_lists(lists, spec, files, num_severity)
    rng = np.random.default_rng([seed, 0])
    return split_by_severity(
        labels, num_per_class, num_severity, rng, class_names=spec.class_names, law=severity_law
    )


def listed_test(
    spec: DatasetSpec, num_images: int, files: Files | None, filelist_dir: Path | None
) -> np.ndarray:
    """The test images that count: those of a list, if there is one, or else all `num_images`."""
    lists = filelists.find_lists(filelist_dir) if spec.has_lists and filelist_dir else {}
    if filelists.TEST not in lists:
        return np.arange(num_images)
    return filelists.read_test_list(lists, spec, files)
