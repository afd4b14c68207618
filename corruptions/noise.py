"""Noise that is independent per channel value.

The result of such noise is one of 256 values, so each severity is a table: for every value of the
clean image the probability of every value of the result, truncation and clipping included. Drawing
from the table gives exactly the distribution of the formula, for the price of two look-ups.

Each function takes uint8 (N, H, W, 3) and returns the same. x is the image in [0, 1].
"""

import functools

import numpy as np
from scipy.special import ndtr, pdtr

from corruptions.random_streams import AliasTable, RandomStreams

_LEVELS = np.arange(256)


def gaussian_noise(images: np.ndarray, scale: float, streams: RandomStreams) -> np.ndarray:
    """x + N(0, scale²)."""
    return _draw(images, _normal_noise(scale, 0.0), streams)


def speckle_noise(images: np.ndarray, scale: float, streams: RandomStreams) -> np.ndarray:
    """x + x·N(0, scale²)."""
    return _draw(images, _normal_noise(0.0, scale), streams)


def shot_noise(images: np.ndarray, photons: float, streams: RandomStreams) -> np.ndarray:
    """Poisson(x·photons) / photons."""
    return _draw(images, _poisson_noise(photons), streams)


def impulse_noise(images: np.ndarray, share: float, streams: RandomStreams) -> np.ndarray:
    """A share of the values set to 0 or 1, half each."""
    words = streams.words(*images.shape[1:])
    half = round(share / 2 * 2**32)
    # Arithmetic instead of masked assignment, which takes several times as long.
    noisy = images * (words >= 2 * half)
    noisy |= (words < half) * np.uint8(255)
    return noisy


def _draw(images: np.ndarray, table: AliasTable, streams: RandomStreams) -> np.ndarray:
    return table.draw(streams.words(*images.shape[1:]), images)


@functools.lru_cache(maxsize=8)
def _normal_noise(additive: float, multiplicative: float) -> AliasTable:
    """The table of x + N(0, (additive + multiplicative·x)²)."""
    sigma = np.maximum(255 * additive + multiplicative * _LEVELS, 1e-9)[:, None]
    # The result is below k, k > 0, if what is truncated is: clipping moves nothing across.
    return _table(ndtr((_LEVELS[1:] - _LEVELS[:, None]) / sigma))


@functools.lru_cache(maxsize=8)
def _poisson_noise(photons: float) -> AliasTable:
    """The table of Poisson(x·photons) / photons."""
    counts = np.arange(int(photons) + 1)
    results = (np.clip(counts / photons, 0, 1) * 255).astype(np.uint8)
    most_below = np.searchsorted(results, _LEVELS[1:]) - 1
    return _table(pdtr(most_below, _LEVELS[:, None] / 255 * photons))


def _table(below: np.ndarray) -> AliasTable:
    """From the probabilities (256, 255) that a value of the image ends up below 1, 2, … 255."""
    cumulative = np.pad(below, ((0, 0), (1, 1)), constant_values=((0, 0), (0, 1)))
    return AliasTable(np.diff(cumulative))
