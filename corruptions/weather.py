"""Weather. Each function takes uint8 (N, H, W, 3) and returns the same; x is in [0, 1]."""

import functools
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from corruptions.filters import between, blur_along, centre_zoom, truncate
from corruptions.frost_photographs import frost_photographs
from corruptions.random_streams import RandomStreams
from corruptions.spatter import mud, water


def snow(images: np.ndarray, strength: tuple, streams: RandomStreams) -> np.ndarray:
    """b·x + (1 − b)·max(x, 1.5·grey(x) + 0.5) + a layer of snow + the layer turned by 180°.

    The layer is N(mean, spread²), zoomed, values under the threshold set to 0, motion-blurred along
    an angle uniform in [−135°, −45°], with 8 bits before and after the blur.
    """
    mean, spread, zoom, threshold, radius, sigma, b = strength
    n, height, width, _ = images.shape
    layer = mean + spread * streams.standard_normal(height, width)
    if zoom != 1:
        layer = _zoomed(_zoomed(layer, zoom, axis=1), zoom, axis=2)
    layer[layer < threshold] = 0
    flakes = truncate(layer * 255)[..., None]
    flakes = blur_along(flakes, radius, sigma, streams.uniform(-135, -45))[..., 0]
    flakes = flakes + flakes[:, ::-1, ::-1].astype(np.float32)
    red, green, blue = (images[..., channel].astype(np.float32) for channel in range(3))
    # b·x + (1 − b)·max(x, w) is the larger of x and b·x + (1 − b)·w.
    lift = (0.299 * red + 0.587 * green + 0.114 * blue) * ((1 - b) * 1.5) + (1 - b) * 127.5
    snowy = np.empty_like(images)
    for channel, x in enumerate((red, green, blue)):
        lifted = b * x
        lifted += lift
        np.maximum(lifted, x, out=lifted)
        lifted += flakes
        snowy[..., channel] = truncate(lifted)
    return snowy


def frost(
    images: np.ndarray, strength: tuple, streams: RandomStreams, folder: Path | None = None
) -> np.ndarray:
    """share·x + frost_share·(a random part of one of five pictures of frost).

    The pictures are drawn, or the published photographs in `folder`, see `frost_photographs`.
    """
    share, frost_share, scale = strength
    n, height, width, _ = images.shape
    pictures = frost_photographs(scale, folder)
    which = streams.integers(0, len(pictures))
    sizes = np.array([picture.shape[:2] for picture in pictures])
    if (sizes < (height, width)).any():
        least = " × ".join(map(str, sizes.min(axis=0)))
        raise ValueError(
            f"images of {height} × {width} are larger than the pictures of frost, the smallest of "
            f"which is {least} once shrunk to {scale} of its size: use larger ones (--frost_dir)"
        )
    # As published: the last possible place is never taken.
    rows, columns = (
        streams.integers(0, np.maximum(sizes[which, axis] - side, 1))
        for axis, side in enumerate((height, width))
    )
    ice = np.empty_like(images)
    for number, picture in enumerate(pictures):
        here = which == number
        windows = sliding_window_view(picture, (height, width), axis=(0, 1))
        ice[here] = windows[rows[here], columns[here]].transpose(0, 2, 3, 1)
    return _frost_table(share, frost_share).take(images.astype(np.uint16) * 256 + ice)


@functools.lru_cache(maxsize=8)
def _frost_table(share: float, frost_share: float) -> np.ndarray:
    """share·image + frost_share·ice, truncated; uint8 (65536,), index 256 · image + ice."""
    levels = np.arange(256.0)
    return truncate(share * levels[:, None] + frost_share * levels).ravel()


def _zoomed(layer: np.ndarray, factor: float, axis: int) -> np.ndarray:
    """Zoom into the middle of one axis of (N, H, W), see `centre_zoom`."""
    # Zooming the coordinates themselves says where each value of the result comes from.
    places = centre_zoom(np.arange(layer.shape[axis], dtype=float), factor)
    before = np.minimum(places.astype(int), layer.shape[axis] - 2)
    share = (places - before).astype(layer.dtype)[(slice(None),) + (None,) * (2 - axis)]
    return between(layer.take(before, axis), layer.take(before + 1, axis), share)


def fog(images: np.ndarray, strength: tuple, streams: RandomStreams) -> np.ndarray:
    """(x + thickness·heightmap) · max(x) / (max(x) + thickness), max over the whole image."""
    thickness, decay = strength
    n, height, width, _ = images.shape
    side = 1 << (max(height, width) - 1).bit_length()
    heights = _heightmaps(side, decay, streams)[:, :height, :width]
    brightest = images.reshape(n, -1).max(axis=1).astype(np.float32)
    scale = (brightest / (brightest + 255 * thickness))[:, None, None]
    heights = heights * (255 * thickness * scale)
    foggy = np.empty_like(images)
    for channel in range(3):
        foggy[..., channel] = (images[..., channel] * scale + heights).astype(np.uint8)
    return foggy


def _heightmaps(side: int, decay: float, streams: RandomStreams) -> np.ndarray:
    """Fractal heightmaps in [0, 1] by the diamond-square algorithm, float32 (N, side, side).

    They wrap around. A new point is the mean of the four around it plus U(−w², w²), where w is 100
    at first and is divided by `decay` each time the grid gets finer. side is a power of two.
    """
    # Images last: neighbouring pixels are whole rows of memory then.
    random = np.ascontiguousarray(streams.uniform(-1, 1, side, side).transpose(1, 2, 0))
    maps = np.zeros_like(random)
    step, wibble = side, 100.0
    while step > 1:
        half = step // 2
        corners = maps[::step, ::step]
        right, below = np.roll(corners, -1, axis=1), np.roll(corners, -1, axis=0)
        places = slice(half, None, step), slice(half, None, step)
        centres = (corners + right + below + np.roll(right, -1, axis=0)) / 4
        centres += random[places] * wibble**2
        maps[places] = centres
        above, left = np.roll(centres, 1, axis=0), np.roll(centres, 1, axis=1)
        places = slice(0, None, step), slice(half, None, step)
        maps[places] = (corners + right + centres + above) / 4 + random[places] * wibble**2
        places = slice(half, None, step), slice(0, None, step)
        maps[places] = (corners + below + centres + left) / 4 + random[places] * wibble**2
        step, wibble = half, wibble / decay
    maps -= maps.min(axis=(0, 1))
    maps /= maps.max(axis=(0, 1))
    return np.ascontiguousarray(maps.transpose(2, 0, 1))


def spatter(images: np.ndarray, strength: tuple, streams: RandomStreams) -> np.ndarray:
    """Drops of water or splashes of mud on the lens, see `corruptions.spatter`."""
    kind, *settings = strength
    lay = {"water": water, "mud": mud}[kind]
    return lay(images, streams.standard_normal(*images.shape[1:3]), *settings)
