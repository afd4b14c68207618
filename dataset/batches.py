"""Whole batches for the device, as uint8: gathered, flipped and cropped without a loop over images.

Training batches are a pure function of (data, batch size, seed, epoch), so that a resumed run
sees what an uninterrupted one would have seen.
"""

from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np

from dataset.sampling import draw_rows
from dataset.sets import EvaluationSet, TrainingSet


class Batch(NamedTuple):
    """Images uint8 (B, H, W, 3), or a part of them, and labels, groups, severities int32 (B,)."""

    images: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    severities: np.ndarray


def steps_per_epoch(num_images: int, batch_size: int) -> int:
    """Full batches in a training set of `num_images`; the last partial one is dropped."""
    return num_images // batch_size


def training_batches(
    train: TrainingSet,
    batch_size: int,
    seed: int,
    epoch: int,
    augment_data: bool,
    sampler: str = "replacement",
    rank: int = 0,
    size: int = 1,
) -> Iterator[Batch]:
    """One epoch of batches, randomly flipped.

    Repeated images make no epoch longer: there are always as many steps as without.

    Args:
        train: the training set.
        batch_size: B.
        seed, epoch: fix what is drawn.
        augment_data: also crop at random from the reflect-padded image (padding side/8).
        sampler: how batches are drawn, see `draw_rows`.
        rank, size: read the rank-th of `size` equal parts of each batch's images; what is drawn
            does not depend on it.
    """
    rng = np.random.default_rng([seed, 1, epoch])
    pool = np.repeat(np.arange(len(train.labels)), train.repeats)
    share = slice(rank * batch_size // size, (rank + 1) * batch_size // size)
    rows = draw_rows(sampler, pool, train.groups, batch_size, rng)
    for chosen in islice(rows, steps_per_epoch(len(train.labels), batch_size)):
        images = train.images[chosen[share]]
        mirror(images, (rng.random(batch_size) < 0.5)[share])
        if augment_data:
            corners = rng.integers(0, 2 * crop_padding(images) + 1, (2, batch_size))
            images = crops(images, corners[:, share])
        yield Batch(images, train.labels[chosen], train.groups[chosen], train.severities[chosen])


def mirror(images: np.ndarray, chosen: np.ndarray) -> None:
    """Flip the images (N, H, W, C; contiguous) selected by `chosen` (N,) horizontally, in place."""
    lines = images.reshape(*images.shape[:2], -1)
    # A reversed slice of pixels copies byte by byte, which takes thrice as long.
    backwards = np.arange(lines.shape[2]).reshape(images.shape[2:])[::-1].ravel()
    lines[chosen] = np.take(lines[chosen], backwards, axis=2)


def crop_padding(images: np.ndarray) -> int:
    """Pixels around images (N, H, W, C) before they are cropped."""
    return images.shape[1] // 8


def crops(images: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Crops of the reflect-padded images (N, H, W, C), same shape, from y and x in `corners`."""
    count, side, _, channels = images.shape
    padding = crop_padding(images)
    around = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    padded = np.pad(images, around, mode="reflect")
    lines = padded.reshape(*padded.shape[:2], -1)
    # Windows of whole lines, so that each is copied in one go.
    window = side, side * channels
    windows = np.lib.stride_tricks.sliding_window_view(lines, window, axis=(1, 2))
    y, x = corners
    return windows[np.arange(count), y, channels * x].reshape(images.shape)


def every_row(train: TrainingSet) -> EvaluationSet:
    """The training set as something to evaluate on, once each, as it is: one "severity"."""
    return EvaluationSet([train.images], np.arange(len(train.labels)), train.labels)


def num_batches(num_images: int, batch_size: int) -> int:
    """Batches that hold all images, the last one filled up."""
    return -(-num_images // batch_size)


def evaluation_steps(data: EvaluationSet, batch_size: int) -> int:
    """Batches that `evaluation_batches` yields."""
    return num_batches(len(data.indices), batch_size)


def evaluation_batches(
    data: EvaluationSet, severity: int, batch_size: int, rank: int = 0, size: int = 1
) -> Iterator[tuple[np.ndarray, np.ndarray, int] | None]:
    """Every image once, at one severity, in order.

    The last batch is filled up with copies, so that all have one shape and nothing is compiled
    twice.

    Args:
        data: the set.
        severity: which.
        batch_size: B, at most.
        rank, size: read every size-th batch only, from the rank-th on; the last one if there is
            none for this rank.

    Yields:
        Images uint8 (B, H, W, 3), labels int32 (B,), and how many of them count; None for a
        batch of another rank.
    """
    array = data.arrays[severity]
    batch_size = min(batch_size, len(data.indices))
    last = evaluation_steps(data, batch_size) - 1
    for number, start in enumerate(range(0, len(data.indices), batch_size)):
        if number % size != min(rank, last):
            yield None
            continue
        rows = np.arange(start, start + batch_size)
        count = int((rows < len(data.indices)).sum())
        rows = np.minimum(rows, len(data.indices) - 1)
        yield array[data.indices[rows]], data.labels[rows], count
