"""The common corruptions of Hendrycks & Dietterich (ICLR 2019) on batches of uint8 images."""

import signal
import sys

if sys.argv[:1] == ["-m"] and any(name.startswith("corruptions.") for name in sys.orig_argv):
    # A program of this package is being started: see `interrupts`.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})

import functools
import operator
from pathlib import Path

import numpy as np

from corruptions import blur, digital, jpeg, noise, weather
from corruptions.parameters import (
    CORRUPTIONS,
    EXTRA,
    MAX_SEVERITY,
    PARAMETERS,
    STANDARD,
    VARIANTS,
    variant_of_size,
)
from corruptions.random_streams import RandomStreams

__all__ = ["CORRUPTIONS", "EXTRA", "MAX_SEVERITY", "STANDARD", "VARIANTS", "corrupt"]

_FUNCTIONS = {
    "gaussian_noise": noise.gaussian_noise,
    "shot_noise": noise.shot_noise,
    "impulse_noise": noise.impulse_noise,
    "defocus_blur": blur.defocus_blur,
    "glass_blur": blur.glass_blur,
    "motion_blur": blur.motion_blur,
    "zoom_blur": blur.zoom_blur,
    "snow": weather.snow,
    "frost": weather.frost,
    "fog": weather.fog,
    "brightness": digital.brightness,
    "contrast": digital.contrast,
    "elastic_transform": digital.elastic_transform,
    "pixelate": digital.pixelate,
    "jpeg_compression": jpeg.jpeg_compression,
    "speckle_noise": noise.speckle_noise,
    "gaussian_blur": blur.gaussian_blur,
    "spatter": weather.spatter,
    "saturate": digital.saturate,
}
# Enough for NumPy to be at full speed, little enough for the processor's cache.
_CHUNK_PIXELS = 2**18


def corrupt(
    images: np.ndarray,
    name: str,
    severity: int,
    *,
    variant: str | None = None,
    seed: int = 0,
    split: str = "",
    first_index: int = 0,
    frost_dir: str | Path | None = None,
) -> np.ndarray:
    """Corrupt a batch of images.

    What happens to an image depends on (seed, name, severity, split) and its index alone, not on
    how many images there are or how the work is divided.

    Args:
        images: uint8 (N, H, W, 3), H and W at least 8.
        name: one of CORRUPTIONS.
        severity: 1 (weakest) … 5; 0 returns a copy of the images.
        variant: strengths for 32×32 images ("cifar") or for 64×64 ("imagenet64"); None: those for
            the images' size, which then must be one of the two.
        seed: fixes the randomness, at least 0.
        split: "train", "test" or any other name: images of different splits get different noise.
        first_index: index of images[0], at least 0.
        frost_dir: folder with the published photographs of frost; None: frost is drawn.

    Returns:
        uint8 (N, H, W, 3), a new array.

    Raises:
        TypeError: images are not uint8; severity, seed or first_index is not a whole number.
        ValueError: wrong shape, unknown name or variant, images of another size without a variant,
            severity, seed or index out of range; images larger than the pictures of frost.
        OSError: `frost_dir` lacks a photograph, or it cannot be read.
    """
    images = np.asarray(images)
    severity, seed, first_index = map(operator.index, (severity, seed, first_index))
    _check_images(images)
    _check_choices(name, severity, seed, first_index)
    height, width = images.shape[1:3]
    variant = _chosen_variant(variant, height, width)
    corrupted = np.array(images)
    if severity == 0:
        return corrupted
    _keep_freed_memory()
    apply = _FUNCTIONS[name]
    if name == "frost":
        apply = functools.partial(apply, folder=frost_dir and Path(frost_dir))
    strength = PARAMETERS[variant][name][severity - 1]
    chunk = max(1, _CHUNK_PIXELS // (height * width))
    for start in range(0, len(images), chunk):
        part = np.ascontiguousarray(images[start : start + chunk])
        streams = RandomStreams(seed, name, severity, split, first_index + start, len(part))
        corrupted[start : start + chunk] = apply(part, strength, streams)
    return corrupted


def _check_images(images: np.ndarray) -> None:
    if images.dtype != np.uint8:
        raise TypeError(f"images must be uint8, not {images.dtype}")
    if images.ndim != 4 or images.shape[3] != 3 or min(images.shape[1:3]) < 8:
        raise ValueError(f"images must be (N, H, W, 3), H, W ≥ 8, not {images.shape}")


def _check_choices(name: str, severity: int, seed: int, first_index: int) -> None:
    if name not in CORRUPTIONS:
        raise ValueError(f"unknown corruption {name!r}; choose one of {', '.join(CORRUPTIONS)}")
    if severity not in range(MAX_SEVERITY + 1):
        raise ValueError(f"severity must be 0 … {MAX_SEVERITY}, not {severity}")
    if seed < 0 or first_index < 0:
        raise ValueError(f"seed and first_index must be at least 0, not {seed}, {first_index}")


def _chosen_variant(variant: str | None, height: int, width: int) -> str:
    if variant is not None and variant not in VARIANTS:
        raise ValueError(f"unknown variant {variant!r}; choose one of {', '.join(VARIANTS)}")
    variant = variant or variant_of_size(height, width)
    if variant is None:
        raise ValueError(
            f"images of {height} × {width} are neither 32 × 32 nor 64 × 64: choose the strengths "
            f"with variant, {' or '.join(VARIANTS)}"
        )
    return variant


@functools.cache
def _keep_freed_memory() -> None:
    """Have the C library keep the memory of freed temporary arrays.

    By default glibc gives arrays of this size back to the system each time, and fetching fresh
    pages for the next one takes as long as the arithmetic. Freeing one larger array, once, raises
    its threshold. Elsewhere this does nothing.
    """
    np.empty(31 * 2**20, np.uint8)
