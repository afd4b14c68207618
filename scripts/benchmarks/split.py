"""Sharing out 50,000 labels."""

from collections.abc import Iterator

import numpy as np

from benchmarks.measuring import Options, Row, seconds
from dataset.poisson import split_by_severity


def measure(options: Options) -> Iterator[Row]:
    """As for CIFAR-10."""
    labels = np.random.default_rng(0).permutation(np.arange(50_000) % 10)

    def split():
        split_by_severity(labels, 4000, 5, np.random.default_rng(0))

    values = tuple(1e3 * seconds(split) for _ in range(max(options.rounds, 10)))
    yield Row("split of 50,000 labels", "ms", values, at_most=50)
