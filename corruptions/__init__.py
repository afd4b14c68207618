"""The common corruptions of Hendrycks & Dietterich (ICLR 2019) on batches of uint8 images."""

import numpy as np

from corruptions.digital import jpeg_compression
from corruptions.noise import gaussian_noise
from corruptions.parameters import CORRUPTIONS, EXTRA, MAX_SEVERITY, PARAMETERS, STANDARD, VARIANTS
from corruptions.random_streams import RandomStreams

__all__ = ["CORRUPTIONS", "EXTRA", "IMPLEMENTED", "MAX_SEVERITY", "STANDARD", "VARIANTS", "corrupt"]

_FUNCTIONS = {"gaussian_noise": gaussian_noise, "jpeg_compression": jpeg_compression}
IMPLEMENTED = tuple(name for name in CORRUPTIONS if name in _FUNCTIONS)

_CHUNK = 1000


def corrupt(
    images: np.ndarray,
    name: str,
    severity: int,
    *,
    variant: str = "cifar",
    seed: int = 0,
    split: str = "",
    first_index: int = 0,
) -> np.ndarray:
    """Corrupt a batch of images.

    What happens to an image depends on (seed, name, severity, split) and its index alone, not on
    how many images there are or how the work is divided.

    Args:
        images: uint8 (N, H, W, 3).
        name: one of CORRUPTIONS.
        severity: 1 (weakest) … 5; 0 returns a copy of the images.
        variant: strengths for 32×32 images ("cifar") or for 64×64 ("imagenet64").
        seed: fixes the randomness, at least 0.
        split: "train", "test" or any other name: images of different splits get different noise.
        first_index: index of images[0].

    Returns:
        uint8 (N, H, W, 3), a new array.

    Raises:
        TypeError: images are not uint8.
        ValueError: wrong shape, unknown name or variant, severity out of range.
        NotImplementedError: a corruption of CORRUPTIONS that this version cannot make.
    """
    if images.dtype != np.uint8:
        raise TypeError(f"images must be uint8, not {images.dtype}")
    if images.ndim != 4 or images.shape[3] != 3:
        raise ValueError(f"images must be (N, H, W, 3), not {images.shape}")
    if name not in CORRUPTIONS:
        raise ValueError(f"unknown corruption {name!r}; choose one of {', '.join(CORRUPTIONS)}")
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant {variant!r}; choose one of {', '.join(VARIANTS)}")
    if severity not in range(MAX_SEVERITY + 1):
        raise ValueError(f"severity must be 0 … {MAX_SEVERITY}, not {severity}")
    if name not in _FUNCTIONS:
        raise NotImplementedError(
            f"{name} cannot be made yet; this version makes {', '.join(IMPLEMENTED)}"
        )
    corrupted = np.array(images)
    if severity == 0:
        return corrupted
    strength = PARAMETERS[variant][name][severity - 1]
    for start in range(0, len(images), _CHUNK):
        streams = RandomStreams(seed, name, severity, split, first_index + start)
        chunk = np.ascontiguousarray(images[start : start + _CHUNK])
        corrupted[start : start + _CHUNK] = _FUNCTIONS[name](chunk, strength, streams)
    return corrupted
