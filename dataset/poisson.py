"""Which training image gets which severity: counts by Poisson's law, and the seeded split.

Other laws share out the same images: they tell what a method could reach if nothing were rare.
"""

import math
from collections.abc import Sequence

import numpy as np

from corruptions.errors import DataError

SEVERITY_LAWS = ("poisson", "uniform", "worst", "clean")


def severity_counts(
    num_per_class: int, num_severity: int, mean: float = 1.0, law: str = "poisson"
) -> np.ndarray:
    """Images per class at each severity: floor(n · Poisson(s; mean)) for s = 0 … S.

    The other laws have the same sum: `uniform` shares it out evenly (what does not divide goes to
    the lowest severities), `worst` gives all of it severity S, `clean` severity 0.

    Args:
        num_per_class: n, at least 0.
        num_severity: S, at least 0.
        mean: mean of the Poisson law, above 0.
        law: one of `SEVERITY_LAWS`.

    Returns:
        int64 (S+1,).

    Raises:
        ValueError: an argument out of range.

    >>> severity_counts(4000, 5)
    array([1471, 1471,  735,  245,   61,   12])
    """
    if law not in SEVERITY_LAWS:
        raise ValueError(f"unknown law {law!r}; choose one of {', '.join(SEVERITY_LAWS)}")
    if num_per_class < 0 or num_severity < 0 or not 0 < mean < math.inf:
        raise ValueError(
            f"need num_per_class >= 0, num_severity >= 0 and a finite mean > 0, "
            f"not {num_per_class}, {num_severity} and {mean}"
        )
    severities = range(num_severity + 1)
    share = [math.exp(-mean) * mean**s / math.factorial(s) for s in severities]
    counts = np.array([math.floor(num_per_class * p) for p in share], dtype=np.int64)
    if law == "poisson":
        return counts
    total, highest = int(counts.sum()), num_severity
    if law == "uniform":
        return total // len(counts) + (np.arange(len(counts)) < total % len(counts))
    return np.where(np.arange(len(counts)) == (highest if law == "worst" else 0), total, 0)


def split_by_severity(
    labels: np.ndarray,
    num_per_class: int,
    num_severity: int,
    rng: np.random.Generator,
    mean: float = 1.0,
    class_names: Sequence[str] = (),
    law: str = "poisson",
) -> tuple[list[np.ndarray], np.ndarray]:
    """Draw, per class and without replacement, the training images of each severity.

    Args:
        labels: class of every training image, (N,).
        num_per_class: n of `severity_counts`.
        num_severity: S.
        rng: source of the draw.
        mean: mean of the Poisson law.
        class_names: for messages; the labels' numbers unless given.
        law: of `severity_counts`; the same images are drawn by every law.

    Returns:
        For each severity 0 … S the indices of its images, ascending; then the indices of the
        images that got no severity, which are the validation set. int64.

    Raises:
        DataError: a class has fewer than `num_per_class` images, or none would be left for
            validation.
    """
    if num_per_class > len(labels):  # before the counts, which could overflow
        raise DataError(f"-n {num_per_class} is too large: there are {len(labels)} images in all")
    counts = severity_counts(num_per_class, num_severity, mean, law)
    shares = []  # of each class: its images at each severity, and those left over
    by_class = np.argsort(labels, kind="stable")
    classes, starts = np.unique(np.asarray(labels)[by_class], return_index=True)
    for label, members in zip(classes, np.split(by_class, starts[1:])):
        if num_per_class > len(members) or counts.sum() == len(members):
            name = class_names[label] if class_names else label
            has = f"class {name} has {len(members)} images, of which some must be left"
            raise DataError(f"-n {num_per_class} is too large: {has} for validation")
        shares.append(np.split(rng.permutation(members), np.cumsum(counts)))
    *per_severity, validation = [np.sort(np.concatenate(parts)) for parts in zip(*shares)]
    return per_severity, validation
