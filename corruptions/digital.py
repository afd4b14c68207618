"""Changes of colour, geometry and resolution.

Each function takes uint8 (N, H, W, 3) and returns the same. x is the image in [0, 1].
"""

import functools

import numpy as np
from scipy.ndimage import gaussian_filter1d

from corruptions.filters import between, truncate
from corruptions.random_streams import RandomStreams

_LEVELS = np.arange(256)


def brightness(images: np.ndarray, added: float, streams: RandomStreams) -> np.ndarray:
    """HSV value + added, hue and saturation kept. Draws nothing.

    All channels of a pixel are scaled by new value / value, so that what a channel becomes depends
    on itself and on the value, the largest of the three, alone: a table of 256 × 256.
    """
    table = _brightness_table(added)
    row = _largest(images).astype(np.uint16) * 256
    bright = np.empty_like(images)
    for channel in range(3):
        bright[..., channel] = table.take(row + images[..., channel])
    return bright


@functools.lru_cache(maxsize=8)
def _brightness_table(added: float) -> np.ndarray:
    """What a channel becomes, uint8 (65536,), index 256 · value + channel."""
    value, channel = _LEVELS[:, None] / 255, np.minimum(_LEVELS, _LEVELS[:, None]) / 255
    saturation = (value - channel) / np.maximum(value, 1 / 255)
    return truncate(np.clip(value + added, 0, 1) * (1 - saturation) * 255).ravel()


def saturate(images: np.ndarray, strength: tuple, streams: RandomStreams) -> np.ndarray:
    """HSV saturation · factor + added, hue and value kept. Draws nothing.

    The largest channel stays, the smallest becomes value · (1 − new saturation), the middle one
    stays where it is between the two. Grey pixels have hue 0: added saturation makes them red.
    """
    value, smallest = _largest(images), _smallest(images)
    pair = value.astype(np.uint16) * 256 + smallest
    saturation, low = (table.take(pair) for table in _saturation_tables(*strength))
    middle = 1 - _way_down(images, value, smallest) * saturation
    middle *= value / 255
    middle *= 255
    middle = middle.astype(np.uint8)
    saturated = np.empty_like(images)
    for channel in range(3):
        x = images[..., channel]
        is_largest = x == value
        if channel > 0:
            is_largest &= value != smallest
        saturated[..., channel] = _choose(is_largest, value, _choose(x == smallest, low, middle))
    return saturated


@functools.lru_cache(maxsize=8)
def _saturation_tables(factor: float, added: float) -> tuple[np.ndarray, np.ndarray]:
    """(65536,), index 256 · value + smallest: new saturation, float64; new smallest, uint8."""
    value, smallest = _LEVELS[:, None] / 255, np.minimum(_LEVELS, _LEVELS[:, None]) / 255
    saturation = (value - smallest) / np.maximum(value, 1 / 255)
    saturation = np.clip(saturation * factor + added, 0, 1)
    return saturation.ravel(), truncate(value * (1 - saturation) * 255).ravel()


def _way_down(images: np.ndarray, value: np.ndarray, smallest: np.ndarray) -> np.ndarray:
    """Where the middle channel is between the largest, 0, and the smallest, 1; float64 (N, H, W).

    By way of the hue, as published: with whole-number factors the exact result is a whole number,
    and the rounding of this detour decides whether truncation takes one away.
    """
    red, green, blue = (images[..., channel] / 255 for channel in range(3))
    span = (value / 255) - (smallest / 255)
    span += value == smallest
    is_blue = images[..., 2] == value
    is_green = (images[..., 1] == value) & ~is_blue
    is_red = ~(is_blue | is_green)
    # Products with masks, not np.where: several times faster on masks without order.
    hue = (red - green) * is_blue
    hue += (blue - red) * is_green
    hue += (green - blue) * is_red
    hue /= span
    hue += is_green * np.float64(2) + is_blue * np.float64(4)
    hue /= 6
    hue += hue < 0
    hue *= 6
    sixth = np.floor(hue)
    hue -= sixth
    # In sixths 0, 2, 4 the middle channel rises from the smallest, in the others it falls.
    rises = 1 - (sixth.astype(np.uint8) & 1)
    return np.abs(rises - hue)


def _choose(mask: np.ndarray, if_true: np.ndarray, if_false: np.ndarray) -> np.ndarray:
    """np.where for uint8, several times faster on masks without order."""
    return if_false + (if_true - if_false) * mask


def _largest(images: np.ndarray) -> np.ndarray:
    return np.maximum(np.maximum(images[..., 0], images[..., 1]), images[..., 2])


def _smallest(images: np.ndarray) -> np.ndarray:
    return np.minimum(np.minimum(images[..., 0], images[..., 1]), images[..., 2])


def contrast(images: np.ndarray, factor: float, streams: RandomStreams) -> np.ndarray:
    """(x − m)·factor + m, m the mean of the channel over the image. Draws nothing."""
    x = images.reshape(len(images), -1, 3) / 255
    # Unlike x.mean, einsum adds up in order, as the published code does: where the exact result is
    # a whole number, the rounding of the mean decides whether truncation takes one away.
    mean = np.einsum("npc->cn", x)[..., None] / x.shape[1]
    flattened = np.empty_like(images)
    for channel in range(3):
        values = x[..., channel] - mean[channel]
        values *= factor
        values += mean[channel]
        values *= 255
        flattened[..., channel] = values.reshape(images.shape[:3])
    return flattened


def pixelate(images: np.ndarray, scale: float, streams: RandomStreams) -> np.ndarray:
    """Resize to int(side · scale) and back, averaging over boxes. Draws nothing.

    As Pillow's BOX does it: one axis after the other, the width first, each with rounding.
    """
    height, width = images.shape[1:3]
    small = images
    for axis, side in ((2, width), (1, height)):
        small = _box_means(small, *_boxes(side, int(side * scale)), axis)
    rows, columns = (_boxes(int(side * scale), side)[0] for side in (height, width))
    pixels = small.view("V3").take(columns, axis=2).take(rows, axis=1)
    return pixels.view(np.uint8).reshape(images.shape)


def _boxes(before: int, after: int) -> tuple[np.ndarray, np.ndarray]:
    """The first pixel in the box of each new pixel and how many there are, (after,) each.

    A box is before / after pixels wide, but at least 1, and has in it the pixels whose centres it
    covers. Where one lies on its edge, rounding decides: the steps are those of Pillow.
    """
    step = before / after
    size = max(step, 1.0)
    middle = (np.arange(after) + 0.5) * step
    first = np.maximum((middle - 0.5 * size + 0.5).astype(int), 0)
    last = np.minimum((middle + 0.5 * size + 0.5).astype(int), before) - 1
    first += (first - middle + 0.5) * (1 / size) <= -0.5
    last -= (last - middle + 0.5) * (1 / size) > 0.5
    return first, last - first + 1


def _box_means(images: np.ndarray, first: np.ndarray, count: np.ndarray, axis: int) -> np.ndarray:
    """Means of boxes along an axis of uint8 (N, H, W, 3), rounded; boxes do not overlap."""
    if count.max() > 2:
        shape = [1] * 4
        shape[axis] = -1
        weights = (0.5 + 2**22 / count).astype(np.uint32).reshape(shape)
        sums = np.add.reduceat(images.astype(np.uint32), first, axis=axis)
        return ((sums * weights + 2**21) >> 22).astype(np.uint8)
    pixels = images.view("V3")  # whole pixels are faster to move
    a, b = (pixels.take(place, axis).view(np.uint8) for place in (first, first + count - 1))
    # The mean of two bytes, halves rounded up, without leaving the bytes.
    return (a | b) - ((a ^ b) >> 1)


def elastic_transform(images: np.ndarray, strength: tuple, streams: RandomStreams) -> np.ndarray:
    """A random affine map, then random smooth displacements, bilinear sampling both times.

    strength: size and smoothness σ of the displacements and size of the affine map, in units of
    the height of the image.
    """
    size, sigma, affine = (value * images.shape[1] for value in strength)
    n, height, width, _ = images.shape
    planes = np.ascontiguousarray(images.transpose(3, 0, 1, 2)).astype(np.float32)
    planes = _sample(planes, *_affine_source(height, width, affine, streams), "reflect")
    if size:
        y, x = np.mgrid[:height, :width].astype(np.float32)
        right, down = (
            _smooth(streams.uniform(-size, size, height, width), sigma) for _ in range(2)
        )
        planes = _sample(planes, y + down, x + right, "symmetric")
    return np.ascontiguousarray(planes.astype(np.uint8).transpose(1, 2, 3, 0))


def _affine_source(height: int, width: int, size: float, streams: RandomStreams):
    """Where each pixel comes from, rows and columns float32 (N, H, W).

    The affine map takes three points of a square in the middle to where each coordinate has moved
    by U(−size, size). Source places are rounded to 1/32 pixel, as published (OpenCV does).
    """
    third = min(height, width) // 3
    points = np.array([(third, third), (third, -third), (-third, -third)], float)
    points += width // 2, height // 2
    moved = points + streams.uniform(-size, size, 3, 2)
    moved = np.concatenate([moved, np.ones((len(moved), 3, 1))], axis=2)
    inverse = 32 * np.linalg.solve(moved, np.broadcast_to(points, (len(moved), 3, 2)))
    y, x = np.ogrid[:height, :width]
    for axis in (1, 0):
        along_x, along_y, start = inverse[:, :, axis].T[..., None, None].astype(np.float32)
        yield (
            np.rint(along_x * x.astype(np.float32) + (along_y * y.astype(np.float32) + start)) / 32
        )


def _smooth(fields: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian filter of (N, H, W) over H and W, ending at 3σ, borders reflected; float32.

    Computed in double precision: what single precision rounds depends on the processor and on how
    many threads it uses.
    """
    down, right = (_smoothing(side, sigma) for side in fields.shape[1:])
    return np.matmul(np.matmul(down, fields), right.T).astype(np.float32)


@functools.lru_cache(maxsize=8)
def _smoothing(side: int, sigma: float) -> np.ndarray:
    return gaussian_filter1d(np.eye(side), sigma, axis=0, mode="reflect", truncate=3)


def _sample(planes: np.ndarray, rows: np.ndarray, columns: np.ndarray, border: str) -> np.ndarray:
    """Bilinear samples of float32 (3, N, H, W) at float32 rows and columns (N, H, W).

    What lies beyond the border is mirrored as np.pad's mode `border` says.
    """
    height, width = planes.shape[2:]
    top, left = np.floor(rows), np.floor(columns)
    down, right = rows - top, columns - left
    top, left = top.astype(np.intp), left.astype(np.intp)
    margin = max(-top.min(), top.max() + 2 - height, -left.min(), left.max() + 2 - width, 0)
    padded = np.pad(planes, ((0, 0), (0, 0), (margin, margin), (margin, margin)), mode=border)
    n, height, width = padded.shape[1:]
    corner = np.arange(n)[:, None, None] * (height * width) + (top + margin) * width
    corner += left + margin
    sampled = np.empty_like(planes)
    for plane, target in zip(padded.reshape(3, -1), sampled):
        upper, lower = (
            between(plane[start:].take(corner), plane[start + 1 :].take(corner), right)
            for start in (0, width)
        )
        target[:] = between(upper, lower, down)
    return sampled
