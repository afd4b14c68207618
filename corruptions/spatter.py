"""Spatter: drops of water or splashes of mud on the lens, for whole batches of uint8 images.

The corruption of Hendrycks & Dietterich, *Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations*, ICLR 2019. A thresholded Gaussian random field lies on the lens.
Mud hides what is behind it; water adds light according to the slope of its surface, found from the
distance to its outline (edge detector: Canny, 1986; chamfer distance: Borgefors, 1986).

The steps follow OpenCV's conventions at borders and ties, so that the same random field gives the
same picture. Private functions work on arrays (H, W, N), the images last: there a neighbouring
pixel is a whole block of memory away, and one NumPy call handles it for all images at full speed.
"""

import numpy as np

# Pale turquoise and mud brown, RGB.
_WATER = (175, 238, 238)
_MUD = (63, 42, 20)
# Pixels that less mud than this would cover stay clear.
_LEAST_MUD = 0.8

_WEAK_EDGE, _STRONG_EDGE = 50, 150
# tan 22.5° and tan 67.5° in units of 2^-15.
_TAN_22, _TAN_67 = 13573, 13573 + 65536

# Steps of the chamfer distance: 1, 1.4 and 2.1969 (a knight's move). In this unit they are whole
# to 0.07, and the longest distance plus one step still fits 16 bits.
_STRAIGHT, _DIAGONAL, _KNIGHT = 2880, 4032, 6327
_LONGEST = 20


def water(
    images: np.ndarray,
    normals: np.ndarray,
    mean: float,
    scale: float,
    sigma: float,
    threshold: float,
    strength: float,
) -> np.ndarray:
    """Lay drops of water on images: min(255, ⌊x + strength · mask / max mask · turquoise⌋).

    The mask is the liquid, mean + scale · normals blurred by a Gaussian and kept where it reaches
    the threshold, times its relief. An image without any liquid stays as it is.

    Args:
        images: uint8 (N, H, W, 3), H and W at least 8.
        normals: float32 or float64 (N, H, W), standard normal; computed in this precision.
        mean, scale: mean and standard deviation of the liquid before the blur.
        sigma: of the blur, in pixels.
        threshold: the least liquid that stays.
        strength: opacity at the maximum of the mask of each image.

    Returns:
        uint8 (N, H, W, 3), a new array.
    """
    layer = _liquid_layer(normals, mean, scale, sigma)
    layer *= layer >= threshold
    layer *= 255
    # Levels above 255 wrap around, as in the published code on x86: a hole in the water.
    liquid = layer.astype(np.int16).astype(np.uint8)
    mask = _images_first(np.multiply(liquid, _relief(liquid), dtype=np.uint16))
    peaks = mask.max(axis=(1, 2), keepdims=True)
    opacity = mask / np.maximum(peaks, 1).astype(np.float32)
    opacity *= strength
    return _add_water(images, opacity)


def mud(
    images: np.ndarray,
    normals: np.ndarray,
    mean: float,
    scale: float,
    sigma: float,
    threshold: float,
    strength: float,
) -> np.ndarray:
    """Lay splashes of mud on images: ⌊(1 - mask) · x + mask · brown⌋.

    The mask is 1 where the liquid, mean + scale · normals blurred by a Gaussian, exceeds the
    threshold; it is blurred by a second Gaussian and then set to 0 where it is below 0.8.

    Args:
        images: uint8 (N, H, W, 3), H and W at least 8.
        normals: float32 or float64 (N, H, W), standard normal; computed in this precision.
        mean, scale: mean and standard deviation of the liquid before the blur.
        sigma: of the first blur, in pixels.
        threshold: the liquid beyond which there is mud.
        strength: sigma of the second blur, in pixels.

    Returns:
        uint8 (N, H, W, 3), a new array.
    """
    dry = _liquid_layer(normals, mean, scale, sigma) <= threshold
    # Blurring what is dry, not what is wet, makes the mask exactly 1 inside a splash.
    clear = _images_first(_gaussian_blur(dry.astype(np.float32), strength))
    muddy = np.flatnonzero(clear <= 1 - _LEAST_MUD)
    mask = 1 - clear.reshape(-1, 1)[muddy]
    result = np.array(images, order="C")
    pixels = result.reshape(-1, 3)
    mixed = (1 - mask) * (pixels[muddy] / np.float32(255))
    mixed += mask * (np.array(_MUD, np.float32) / 255)
    mixed *= 255
    pixels[muddy] = mixed.astype(np.uint8)
    return result


def _add_water(images: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    result = np.empty_like(images)
    for channel, level in enumerate(_WATER):
        # Assigning truncates, and the floor of the sum is the pixel plus the floor of the light.
        result[..., channel] = opacity * level
    np.minimum(result, 255 - images, out=result)
    result += images
    return result


def _liquid_layer(normals: np.ndarray, mean: float, scale: float, sigma: float) -> np.ndarray:
    # Transposed in two steps: where images lie a power of two apart, reading the same pixel of
    # them all keeps missing the cache.
    rows = normals.swapaxes(0, 1).copy()
    layer = _gaussian_blur(rows.swapaxes(1, 2), sigma)
    layer *= scale
    layer += mean
    return layer


def _images_first(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array.transpose(2, 0, 1))


def _gaussian_blur(array: np.ndarray, sigma: float) -> np.ndarray:
    """Blur with a kernel cut off at 4 sigma; the border pixels repeat beyond the border."""
    radius = int(4 * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(radius + 1) / sigma) ** 2)
    weights /= 2 * weights.sum() - weights[0]
    for axis in (0, 1):
        size = array.shape[axis]
        padded = _pad(array, radius, "edge", axis)
        array = _slab(padded, axis, radius, size) * float(weights[0])
        pair = np.empty_like(array)
        for offset in range(1, radius + 1):
            before = _slab(padded, axis, radius - offset, size)
            after = _slab(padded, axis, radius + offset, size)
            np.add(before, after, out=pair)
            pair *= float(weights[offset])
            array += pair
    return array


def _slab(array: np.ndarray, axis: int, start: int, size: int) -> np.ndarray:
    return array[start : start + size] if axis == 0 else array[:, start : start + size]


def _pad(array: np.ndarray, width: int, mode: str, axis: int | None = None, **options):
    """Pad one axis of the images, or both."""
    widths = [(width, width) if axis in (None, each) else (0, 0) for each in (0, 1)]
    return np.pad(array, [*widths, (0, 0)], mode, **options)


def _relief(liquid: np.ndarray) -> np.ndarray:
    """How bright the surface of the liquid shines in light from the upper left, uint8."""
    height = _equalized(_mean_distance(_distance_to(_canny_edges(liquid))))
    return ((_sum_3x3(_emboss(height)) + 4) // 9).astype(np.uint8)


def _canny_edges(grey: np.ndarray) -> np.ndarray:
    """Canny's edges of uint8 images, bool."""
    dx, dy = _sobel(grey)
    magnitude = np.abs(dx) + np.abs(dy)
    ridges = _ridges(dx, dy, magnitude)
    return _connected(ridges & (magnitude > _STRONG_EDGE), ridges & (magnitude > _WEAK_EDGE))


def _sobel(grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    padded = _pad(grey.astype(np.int16), 1, "edge")
    smooth = padded[:-2] + padded[2:] + 2 * padded[1:-1]
    dx = smooth[:, 2:] - smooth[:, :-2]
    smooth = padded[:, :-2] + padded[:, 2:] + 2 * padded[:, 1:-1]
    dy = smooth[2:] - smooth[:-2]
    return dx, dy


def _ridges(dx: np.ndarray, dy: np.ndarray, magnitude: np.ndarray) -> np.ndarray:
    """Where the magnitude of the gradient is a maximum along its direction, bool.

    Along rows and columns the first of two equal pixels counts; along diagonals neither does.
    """
    run, rise = np.abs(dx).astype(np.int32), np.abs(dy).astype(np.int32) << 15
    horizontal, vertical = rise < run * _TAN_22, rise > run * _TAN_67
    opposite = (dx ^ dy) < 0
    padded = _pad(magnitude, 1, "constant")
    # Bitwise, for np.where takes twenty times as long on random booleans.
    ridges = opposite & (magnitude > padded[:-2, 2:]) & (magnitude > padded[2:, :-2])
    ridges |= ~opposite & (magnitude > padded[:-2, :-2]) & (magnitude > padded[2:, 2:])
    ridges &= ~(horizontal | vertical)
    grows = padded[1:-1, 1:] > padded[1:-1, :-1]
    ridges |= horizontal & grows[:, :-1] & ~grows[:, 1:]
    grows = padded[1:, 1:-1] > padded[:-1, 1:-1]
    ridges |= vertical & grows[:-1] & ~grows[1:]
    return ridges


def _connected(seeds: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """The allowed pixels that a chain of allowed 8-neighbours links to a seed, bool."""
    before = 0
    while (count := np.count_nonzero(seeds)) > before:
        before = count
        columns = seeds.copy()
        columns[1:] |= seeds[:-1]
        columns[:-1] |= seeds[1:]
        seeds = columns.copy()
        seeds[:, 1:] |= columns[:, :-1]
        seeds[:, :-1] |= columns[:, 1:]
        seeds &= allowed
    return seeds


def _distance_to(edges: np.ndarray) -> np.ndarray:
    """Chamfer distance to the nearest edge, uint16 in units of 1 / _STRAIGHT, at most _LONGEST.

    After the distances within each row, the rest of a shortest path needs only steps that leave
    the row: whole rows can be handled at once, downwards and upwards.
    """
    steps = _pad(_steps_within_row(edges), 2, "constant", axis=1, constant_values=_LONGEST)
    distance = np.multiply(steps, _STRAIGHT, dtype=np.uint16)
    # The images upside down count as further images: one sweep for both directions.
    both_ways = np.concatenate((distance, distance[::-1]), axis=2)
    _sweep(both_ways)
    count = edges.shape[2]
    return np.minimum(both_ways[:, 2:-2, :count], both_ways[::-1, 2:-2, count:])


def _steps_within_row(edges: np.ndarray) -> np.ndarray:
    """Straight steps to the nearest edge in the same row, uint8, at most _LONGEST."""
    steps = np.multiply(~edges, _LONGEST, dtype=np.uint8)
    # Shifts by powers of two add up to any distance below 32.
    for shift in (1, 2, 4, 8, 16):
        farther = steps + np.uint8(shift)
        np.minimum(steps[:, shift:], farther[:, :-shift], out=steps[:, shift:])
        np.minimum(steps[:, :-shift], farther[:, shift:], out=steps[:, :-shift])
    return steps


def _sweep(rows: np.ndarray):
    """Lower the distances in each row, padded by two, to those by way of the two rows before."""
    beside_two_before = np.full_like(rows[0, 2:-2], _LONGEST * _STRAIGHT)
    for before, here in zip(rows, rows[1:, 2:-2]):
        beside = np.minimum(before[1:-3], before[3:-1])
        nearest = np.minimum(before[:-4], before[4:])
        np.minimum(nearest, beside_two_before, out=nearest)
        # The additions from here on give each candidate the length of its own step.
        nearest += _KNIGHT - _DIAGONAL
        np.minimum(nearest, beside, out=nearest)
        nearest += _DIAGONAL - _STRAIGHT
        np.minimum(nearest, before[2:-2], out=nearest)
        nearest += _STRAIGHT
        np.minimum(here, nearest, out=here)
        beside_two_before = beside


def _mean_distance(distance: np.ndarray) -> np.ndarray:
    """Mean over 3×3 pixels, in whole straight steps, uint8."""
    return (_sum_3x3(distance.astype(np.uint32)) // (9 * _STRAIGHT)).astype(np.uint8)


def _sum_3x3(array: np.ndarray) -> np.ndarray:
    padded = _pad(array, 1, "reflect")
    columns = padded[:-2] + padded[1:-1] + padded[2:]
    return columns[:, :-2] + columns[:, 1:-1] + columns[:, 2:]


def _equalized(levels: np.ndarray) -> np.ndarray:
    """Histogram equalisation of each image with levels up to _LONGEST, uint8.

    The lowest level becomes 0, the highest 255; an image of one level stays as it is.
    """
    count = levels.shape[2]
    bins = np.multiply(levels, count, dtype=np.intp)
    bins += np.arange(count)
    histogram = np.bincount(bins.ravel(), minlength=(_LONGEST + 1) * count)
    histogram = histogram.reshape(_LONGEST + 1, count)
    lowest = levels.min(axis=(0, 1))
    pixels_at_lowest = histogram[lowest, np.arange(count)]
    above = np.cumsum(histogram, axis=0) - pixels_at_lowest
    scale = np.float32(255) / np.maximum(above[-1], 1).astype(np.float32)
    table = np.rint(above.astype(np.float32) * scale)
    # Below the lowest level the table is meaningless, and never read.
    table = np.where(above[-1] == 0, lowest, np.maximum(table, 0)).astype(np.uint8)
    return table.take(bins)


def _emboss(grey: np.ndarray) -> np.ndarray:
    """Correlate with ((-2, -1, 0), (-1, 1, 1), (0, 1, 2)), clipped to 0 … 255, uint16."""
    padded = _pad(grey.astype(np.int16), 1, "reflect")
    light = padded[2:, 2:] - padded[:-2, :-2]
    light *= 2
    light += padded[1:-1, 2:] - padded[1:-1, :-2]
    light += padded[2:, 1:-1] - padded[:-2, 1:-1]
    light += padded[1:-1, 1:-1]
    return np.clip(light, 0, 255).astype(np.uint16)
