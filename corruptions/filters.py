"""What several corruptions share: truncation, linear filters, motion blur, zooms."""

import math

import numpy as np
from numpy.lib.stride_tricks import as_strided
from scipy.ndimage import correlate1d, zoom
from scipy.sparse import csr_array

# Grey levels; more than the rounding error of a weighted mean in single precision. A mean nearer
# than this to a whole number is taken for the whole number.
_ROUNDING = 1e-4
# Values of one block of motion blur, so that it stays in the processor's cache.
_BLOCK_VALUES = 1_000_000
# exp(−k²/2σ²) below e⁻²⁵: such taps cannot change a result of 16 bits.
_NEGLIGIBLE = 25.0
# More than single precision errs in a mean of some tens of values 0 … 255.
_SINGLE_PRECISION_ERROR = 5e-4


def truncate(values: np.ndarray) -> np.ndarray:
    """Clip to 0 … 255, in place, and drop the fraction; returns uint8.

    Where nothing can leave 0 … 255, as in a mean of pixels, astype alone does the same faster.
    """
    return np.clip(values, 0, 255, out=values).astype(np.uint8)


def gaussian(images: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian filter over height and width of (N, H, W, 3), ending at 4σ, edge values repeated.

    The arithmetic of scipy.ndimage.gaussian_filter, but the weights are correctly rounded: those of
    np.exp, in the last bit, depend on the processor, and with them what truncation leaves of pixels
    among equals.
    """
    radius = int(4 * sigma + 0.5)
    weights = np.array([math.exp(-0.5 / sigma**2 * k**2) for k in range(-radius, radius + 1)])
    weights /= weights.sum()
    for axis in (1, 2):
        images = correlate1d(images, weights, axis, mode="nearest")
    return images


def between(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    """The point `share` of the way from first to second; overwrites second."""
    second -= first
    second *= share
    second += first
    return second


def linear_filter(images: np.ndarray, weights: csr_array, flat: np.ndarray) -> np.ndarray:
    """Every pixel a weighted mean of pixels, truncated.

    Args:
        images: uint8 (N, H, W, 3).
        weights: float32 (H·W, H·W), rows sum to one.
        flat: (256,), what a pixel among equals becomes. In exact numbers that is its own value; the
            rounding of the published code makes it that or one less, depending on the value.

    Returns:
        uint8 (N, H, W, 3).
    """
    n, height, width, channels = images.shape
    means = weights @ _transposed(images.reshape(n, height * width, channels)).astype(np.float32)
    means += np.float32(_ROUNDING)
    filtered = means.astype(np.uint8)
    means -= filtered
    whole = means < 2 * _ROUNDING
    filtered[whole] = flat[filtered[whole]]
    return _transposed(filtered.reshape(height * width, n, channels)).reshape(images.shape)


def _transposed(pixels: np.ndarray) -> np.ndarray:
    """uint8 (A, B, 3) as (B, A · 3), contiguous."""
    a, b, channels = pixels.shape
    # Pixel by pixel, which takes half the time that byte by byte does.
    whole = np.ascontiguousarray(pixels).view(f"V{channels}")[..., 0]
    return np.ascontiguousarray(whole.T).view(np.uint8).reshape(b, a * channels)


def correlate(images: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Correlation with a square kernel of few different weights, truncated; borders reflect-101.

    Pixels of equal weight are added up as whole numbers first, which is fast and exact.

    Args:
        images: uint8 (N, H, W, 3).
        kernel: (K, K), K odd; fewer than 257 entries of a weight.

    Returns:
        uint8 (N, H, W, 3).
    """
    border = (len(kernel) // 2, len(kernel) // 2)
    padded = np.pad(images.astype(np.uint16), ((0, 0), border, border, (0, 0)), mode="reflect")
    means = 0
    for weight in np.unique(kernel[kernel > 0]):
        means += _sum_where(kernel == weight, padded, images.shape) * float(weight)
    return means.astype(np.uint8)


def _sum_where(mask: np.ndarray, padded: np.ndarray, shape: tuple) -> np.ndarray:
    """The sum of the pixels that a mask selects around each pixel, uint16 of the given shape."""
    n, height, width, channels = shape
    total = np.zeros(shape, np.uint16)
    # Rows of the mask that select the same columns share their sums, and rows that select more
    # columns go on from those that select fewer.
    rows = np.zeros((n, padded.shape[1], width, channels), np.uint16)
    added = np.zeros(len(mask), bool)
    for columns in sorted({tuple(row) for row in mask if row.any()}, key=sum):
        columns = np.array(columns)
        if (added & ~columns).any():
            rows[:], added = 0, np.zeros(len(mask), bool)
        for column in np.flatnonzero(columns & ~added):
            rows += padded[:, :, column : column + width]
        added = columns
        for row in np.flatnonzero((mask == columns).all(axis=1)):
            total += rows[:, row : row + height]
    return total


def centre_zoom(lines: np.ndarray, factor: float) -> np.ndarray:
    """Zoom into the middle of axis 0 with linear interpolation, its length kept.

    As published: the ceil(length / factor) middle values are stretched, first on first and last on
    last, and what is too long is cut off, so that the result sits up to a pixel off centre.
    """
    length = len(lines)
    cropped = int(np.ceil(length / factor))
    top = (length - cropped) // 2
    factors = (factor,) + (1,) * (lines.ndim - 1)
    stretched = zoom(lines[top : top + cropped], factors, order=1)
    trim = (len(stretched) - length) // 2
    return stretched[trim : trim + length]


def blur_along(images: np.ndarray, radius: int, sigma: float, degrees: np.ndarray) -> np.ndarray:
    """Motion blur as ImageMagick's MotionBlur does it, each image along its own angle.

    2·radius + 1 taps, weights exp(−k²/2σ²), k = 0 … 2·radius, normalised; tap k reads the pixel
    ceil(k·cos − ½) to the right and ceil(k·sin − ½) down, edge values repeated. The sum is rounded
    to 16 bits and truncated to 8.

    Args:
        images: uint8 (N, H, W, C).
        radius, sigma: in pixels.
        degrees: (N,).

    Returns:
        uint8 (N, H, W, C).
    """
    k = np.arange(2 * radius + 1)
    weights = np.exp(-(k**2) / (2 * sigma**2))
    weights /= weights.sum()
    kept = k**2 / (2 * sigma**2) < _NEGLIGIBLE
    k, weights = k[kept], weights[kept]
    right, down = (
        np.ceil(k * direction(np.deg2rad(degrees, dtype=float))[:, None] - 0.5).astype(int)
        for direction in (np.cos, np.sin)
    )
    blurred = np.empty_like(images)
    block = max(1, _BLOCK_VALUES // (len(k) * images[:1].size))
    for start in range(0, len(images), block):
        part = slice(start, start + block)
        blurred[part] = _weighted_mean(_shifted(images[part], down[part], right[part]), weights)
    return blurred


def _shifted(images: np.ndarray, down: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Copies of the images, [n, k] image n shifted by down[n, k], right[n, k]; edges repeated."""
    n, height, width, channels = images.shape
    above, left = -min(down.min(), 0), -min(right.min(), 0)
    below, beyond = max(down.max(), 0), max(right.max(), 0)
    rows = np.arange(-above, height + below).clip(0, height - 1)
    columns = np.arange(-left, width + beyond).clip(0, width - 1)
    padded = np.take(np.take(images, rows, axis=1), columns, axis=2)
    of_image, of_row, of_pixel, of_channel = padded.strides
    windows = as_strided(
        padded,
        (n, above + below + 1, left + beyond + 1, height, width * channels),
        (of_image, of_row, of_pixel, of_row, of_channel),
        writeable=False,
    )
    shifted = windows[np.arange(n)[:, None], above + down, left + right]
    return shifted.reshape(n, -1, height, width, channels)


def _weighted_mean(taps: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean of uint8 (N, K, H, W, C) over axis 1, rounded to 16 bits and truncated to 8.

    Single precision is enough for all but the few results that lie on the edge between two values;
    those are computed again in double precision.
    """
    n, num_taps = taps.shape[:2]
    flat = taps.reshape(n, num_taps, -1)
    # Rounding in steps of 1/257 before truncating makes half a step count as the next value.
    sums = np.matmul(weights.astype(np.float32), flat.astype(np.float32))
    sums += np.float32(0.5 / 257 - _SINGLE_PRECISION_ERROR)
    means = sums.astype(np.uint8)
    sums -= means
    unsure = np.flatnonzero(sums.ravel() > 1 - 2 * _SINGLE_PRECISION_ERROR)
    image, value = np.divmod(unsure, flat.shape[2])
    exact = weights @ flat[image, :, value].T.astype(np.float64)
    means[image, value] = np.floor(np.floor(exact * 257 + 0.5) / 257)
    return means.reshape(n, *taps.shape[2:])
