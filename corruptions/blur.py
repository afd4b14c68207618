"""Blur. Each function takes uint8 (N, H, W, 3) and returns the same."""

import functools

import numpy as np
from scipy.sparse import csr_array, identity, kron

from corruptions.filters import (
    blur_along,
    centre_zoom,
    correlate,
    gaussian,
    linear_filter,
    truncate,
)
from corruptions.random_streams import RandomStreams


def gaussian_blur(images: np.ndarray, sigma: float, streams: RandomStreams) -> np.ndarray:
    """Gaussian filter of `sigma` pixels. Draws nothing."""
    return _blurred(images, sigma)


def _blurred(images: np.ndarray, sigma: float) -> np.ndarray:
    blurred = gaussian(images / 255, sigma)
    blurred *= 255
    return blurred.astype(np.uint8)


def defocus_blur(images: np.ndarray, strength: tuple, streams: RandomStreams) -> np.ndarray:
    """Filter with a disk of the given radius, its edge smoothed by a Gaussian. Draws nothing."""
    return correlate(images, _defocus_kernel(*strength))


def _defocus_kernel(radius: float, smoothing: float) -> np.ndarray:
    """A disk over the pixel centres, normalised, blurred with a 3×3 Gaussian.

    In single precision, as published: whether its sum rounds to more or less than 1 decides what
    becomes of pixels among equals.
    """
    reach = int(radius)
    y, x = np.ogrid[-reach : reach + 1, -reach : reach + 1]
    disk = (x**2 + y**2 <= radius**2).astype(np.float32)
    disk /= disk.sum()
    edge = np.exp(-0.5 / smoothing**2)
    if edge < 1e-12:
        return disk
    line = (np.array([edge, 1, edge]) / (1 + 2 * edge)).astype(np.float32)
    for _ in range(2):  # along one axis, then along the other
        padded = np.pad(disk, ((2, 2), (0, 0)))
        disk = sum(w * padded[i : i + len(disk) + 2] for i, w in enumerate(line)).T
    return disk


def glass_blur(images: np.ndarray, strength: tuple, streams: RandomStreams) -> np.ndarray:
    """Gaussian filter, pixels copied from near-by places, Gaussian filter."""
    sigma, distance, iterations = strength
    n, height, width, _ = images.shape
    pixels = _blurred(images, sigma).view("V3").ravel()  # whole pixels are faster to move
    first = np.arange(0, len(pixels), height * width)[:, None]
    for _ in range(iterations):
        source = _copied_from(height, width, distance, streams)
        source += first
        pixels = pixels.take(source.ravel())
    return _blurred(pixels.view(np.uint8).reshape(images.shape), sigma)


def _copied_from(height: int, width: int, distance: int, streams: RandomStreams) -> np.ndarray:
    """Which pixel every pixel ends up with after one sweep, intp (N, H·W).

    The sweep goes from the bottom right to the top left and gives each pixel the value of one at
    an offset from [−distance, distance) in both axes. (The published code means to swap the two,
    but what it writes back is a view of the value that it has just overwritten.) The first
    `distance` + 1 rows and columns are left as they are, and so are the last `distance` − 1.
    """
    size = height * width
    position = np.arange(size).reshape(height, width)
    reached = slice(distance + 1, height - distance + 1), slice(distance + 1, width - distance + 1)
    is_reached = np.zeros((height, width), bool)
    is_reached[reached] = True
    shape = position[reached].shape
    down, right = (streams.integers(-distance, distance, *shape) for _ in range(2))
    source = np.empty((len(down), height, width), np.intp)
    source[:] = position
    source[(slice(None), *reached)] += down * width + right
    source = source.reshape(-1, size)

    # What the sweep has passed already, later in the image, holds what it was given: go there.
    position, is_reached = position.ravel(), is_reached.ravel()
    final = source.copy()
    image, pixel = np.nonzero(is_reached[source] & (source > position))
    holder = source[image, pixel]
    while len(image):
        given = source[image, holder]
        final[image, pixel] = given
        on = is_reached[given] & (given > holder)
        image, pixel, holder = image[on], pixel[on], given[on]
    return final


def motion_blur(images: np.ndarray, strength: tuple, streams: RandomStreams) -> np.ndarray:
    """Motion blur along an angle uniform in ±45°."""
    radius, sigma = strength
    return blur_along(images, radius, sigma, streams.uniform(-45, 45))


def zoom_blur(images: np.ndarray, end: float, streams: RandomStreams) -> np.ndarray:
    """Mean of the image and its centre zooms by 1, 1.01, … below `end`. Draws nothing."""
    return linear_filter(images, *_zoom_weights(end, *images.shape[1:3]))


@functools.lru_cache(maxsize=8)
def _zoom_weights(end: float, height: int, width: int) -> tuple[csr_array, np.ndarray]:
    """The weights of `linear_filter` and what becomes of pixels among equals.

    As published: rounding lets `end` in as a factor at severities 1 and 2, and the image itself
    counts once more.
    """
    factors = np.arange(1, end, 0.01)
    weights = identity(height * width, format="csr")
    levels = np.arange(256, dtype=np.float32) / np.float32(255)
    total = np.zeros_like(levels)
    for factor in factors:
        rows, columns = (csr_array(centre_zoom(np.eye(side), factor)) for side in (height, width))
        weights = weights + kron(rows, columns, format="csr")
        total += levels
    flat = truncate((levels + total) / (len(factors) + 1) * 255)
    return csr_array(weights / (len(factors) + 1), dtype=np.float32), flat
