"""Additive noise. Each function takes uint8 (N, H, W, 3) and returns the same."""

import numpy as np

from corruptions.random_streams import RandomStreams


def gaussian_noise(images: np.ndarray, scale: float, streams: RandomStreams) -> np.ndarray:
    """x + N(0, scale²), independent per channel value, x in [0, 1]; truncated to uint8."""
    noisy = np.empty(images.shape, np.float32)
    for i in range(len(images)):
        streams.generator(i).standard_normal(dtype=np.float32, out=noisy[i])
    noisy *= scale * 255
    noisy += images
    return np.clip(noisy, 0, 255, out=noisy).astype(np.uint8)
