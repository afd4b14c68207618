"""Which training images a batch holds."""

from collections.abc import Iterator

import numpy as np


def _with_replacement(pool, groups, batch_size, rng):
    while True:
        yield pool[rng.integers(0, len(pool), batch_size)]


def _shuffled(pool, groups, batch_size, rng):
    order = rng.permutation(pool)
    for start in range(0, len(order) - batch_size + 1, batch_size):
        yield order[start : start + batch_size]


def _balanced(pool, groups, batch_size, rng):
    order = np.argsort(groups[pool], kind="stable")
    sizes = np.bincount(groups[pool])
    starts = np.cumsum(sizes) - sizes
    present = np.flatnonzero(sizes)
    while True:
        drawn = present[rng.integers(0, len(present), batch_size)]
        members = rng.integers(0, sizes[drawn])
        yield pool[order[starts[drawn] + members]]


_SAMPLERS = {"replacement": _with_replacement, "shuffle": _shuffled, "balanced": _balanced}
SAMPLERS = tuple(_SAMPLERS)


def draw_rows(
    sampler: str, pool: np.ndarray, groups: np.ndarray, batch_size: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """The rows of each batch of an epoch, ints (B,).

    Args:
        sampler: `replacement` draws every image of a batch from the whole pool (without end);
            `shuffle` goes once through the pool in random order, dropping the last partial batch;
            `balanced` draws a group, each present one as likely, and then one of its images
            (without end; Sagawa et al., ICLR 2020, section 3.2, call it resampling).
        pool: rows of the training set to draw from, ints (P,); a row may be there several times.
        groups: groups of all rows of the training set, ints (N,).
        batch_size: B.
        rng: what is drawn.
    """
    return _SAMPLERS[sampler](pool, groups, batch_size, rng)
