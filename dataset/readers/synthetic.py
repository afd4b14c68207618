"""A small dataset drawn by a program, so that everything runs without a download.

Ten classes of 32×32 colour images: five shapes (disk, ring, square, triangle, cross), each plain or
striped. The hue hints at the shape; positions, sizes, angles, shades, background,
clutter and lighting vary and say nothing. The stripes are fine and faint, so that noise hides them.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from dataset.sets import CleanSplit
from dataset.specs import DatasetSpec

_SEED = 20230324
# Of each split: its number in the seed, and its images per class.
_SEEDS_AND_SIZES = {"train": (0, 500), "test": (1, 100)}
_NUM_CLUTTER = 4
_PIXELS = 32


def read(spec: DatasetSpec, data_dir: Path, splits: Iterable[str], **_) -> dict[str, CleanSplit]:
    """Draw the dataset; always the same images, and nothing is read or written.

    Arguments as for `dataset.readers.read_splits`; images are 32×32.
    """
    clean = {}
    for split in splits:
        number, per_class = _SEEDS_AND_SIZES[split]
        rng = np.random.default_rng([_SEED, number])
        clean[split] = CleanSplit(*draw(spec.num_classes * per_class, rng))
    return clean


def draw(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw `count` images in random order, classes equally often (as far as `count` allows).

    Returns:
        Images, uint8 (count, 32, 32, 3), and labels, int32 (count,).
    """
    labels = rng.permutation(np.arange(count, dtype=np.int32) % 10)
    shapes, textures = labels // 2, labels % 2
    canvas = _background(count, rng)
    for _ in range(_NUM_CLUTTER):
        kinds = rng.integers(0, 5, count)
        mask = _shape_mask(kinds, *_placement(count, rng, reach=1.0, size=(0.08, 0.18)))
        canvas = _blend(canvas, mask, rng.random((count, 1, 1, 3), np.float32))
    mask = _shape_mask(shapes, *_placement(count, rng, reach=0.25, size=(0.6, 0.8)))
    canvas = _blend(canvas, mask, _colours(shapes, rng) + _textures(textures, rng))
    canvas *= _column(rng, 0.8, 1.1, count)[..., None]
    return (np.clip(canvas, 0, 1) * 255).astype(np.uint8), labels


def _grid() -> tuple[np.ndarray, np.ndarray]:
    axis = (np.arange(_PIXELS, dtype=np.float32) + 0.5) / _PIXELS * 2 - 1
    return axis[None, None, :], axis[None, :, None]


def _column(rng: np.random.Generator, low: float, high: float, count: int) -> np.ndarray:
    return rng.uniform(low, high, (count, 1, 1)).astype(np.float32)


def _background(count: int, rng: np.random.Generator) -> np.ndarray:
    """Two dull colours running into each other along a random direction."""
    x, y = _grid()
    angle = _column(rng, 0, 2 * np.pi, count)
    ramp = np.clip(0.5 + 0.4 * (x * np.cos(angle) + y * np.sin(angle)), 0, 1)[..., None]
    shades = rng.uniform(0.1, 0.9, (2, count, 1, 1, 1)) + rng.uniform(
        -0.1, 0.1, (2, count, 1, 1, 3)
    )
    first, second = shades.astype(np.float32)
    return (1 - ramp) * first + ramp * second


def _placement(count, rng, reach, size):
    """Coordinates of every pixel in the frame of a shape placed at random, and its radius."""
    x, y = _grid()
    x = x - _column(rng, -reach, reach, count)
    y = y - _column(rng, -reach, reach, count)
    angle = _column(rng, 0, 2 * np.pi, count)
    turned = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    return *turned, _column(rng, *size, count)


def _shape_mask(kinds, x, y, radius) -> np.ndarray:
    """Coverage (N, 32, 32) in [0, 1] of each image's shape, its border one pixel soft."""
    distance = np.empty(np.broadcast_shapes(x.shape, y.shape), np.float32)
    for kind, signed_distance in enumerate((_disk, _ring, _square, _triangle, _cross)):
        chosen = kinds == kind
        distance[chosen] = signed_distance(x[chosen], y[chosen], radius[chosen])
    return np.clip(0.5 - distance * _PIXELS / 2, 0, 1)


def _disk(x, y, radius):
    return np.hypot(x, y) - 0.9 * radius


def _ring(x, y, radius):
    return np.abs(np.hypot(x, y) - 0.75 * radius) - 0.25 * radius


def _square(x, y, radius):
    return np.maximum(np.abs(x), np.abs(y)) - 0.8 * radius


def _triangle(x, y, radius):
    slanted = np.abs(x) * np.float32(np.sqrt(3) / 2) + 0.5 * y
    return np.maximum(slanted, -y) - 0.6 * radius


def _cross(x, y, radius):
    wide, narrow = np.maximum(np.abs(x), np.abs(y)), np.minimum(np.abs(x), np.abs(y))
    return np.maximum(wide - radius, narrow - 0.3 * radius)


def _colours(shapes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A colour per image, (N, 1, 1, 3), its hue scattered around the shape's own."""
    count = len(shapes)
    hue = shapes * (2 * np.pi / 5) + rng.normal(0, 0.6, count)
    phases = np.array([0, 2 * np.pi / 3, 4 * np.pi / 3])
    wheel = 0.5 + 0.5 * np.cos(hue[:, None] - phases)
    vividness, value = rng.uniform(0.4, 0.9, (2, count, 1))
    colours = value * (1 - vividness + vividness * wheel)
    return colours.astype(np.float32)[:, None, None, :]


def _textures(striped: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Stripes around 0 where `striped` is 1, (N, 32, 32, 1), of any angle, phase and faintness."""
    count = len(striped)
    x, y = _grid()
    angle, waves = _column(rng, 0, 2 * np.pi, count), _column(rng, 22, 30, count)
    along = np.cos(angle) * x + np.sin(angle) * y
    stripes = np.sin(waves * along + _column(rng, 0, 2 * np.pi, count))
    strength = _column(rng, 0.1, 0.25, count) * striped[:, None, None]
    return (strength * stripes)[..., None].astype(np.float32)


def _blend(canvas: np.ndarray, mask: np.ndarray, colours: np.ndarray) -> np.ndarray:
    return canvas + mask[..., None] * (colours - canvas)
