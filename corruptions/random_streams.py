"""Randomness that belongs to one image, however the work is divided.

Everything is made from the raw words of a bit generator, whose stream NumPy guarantees never to
change; what follows is integer work and table look-ups of our own. So random numbers
depend neither on the version of NumPy nor on the processor.
"""

import functools
import math
import zlib

import numpy as np
from scipy.special import ndtr

_NORMAL_STEPS_PER_SIGMA = 4096
# Of the 2¹²⁸ states of the generator. The golden ratio keeps the streams of all draws far apart,
# and, unlike a power of two, does not let them share the lower bits of their states.
_BETWEEN_DRAWS = 0x9E3779B97F4A7C15F39CC0605CEDC835


class RandomStreams:
    """Random numbers for `count` images, those of index `first_index`, first_index + 1, ….

    The numbers of image i depend on (seed, corruption, severity, split), on i, and on which draw of
    which shape it is: each draw has a stream of its own, in which every image has its own place.
    """

    def __init__(
        self, seed: int, corruption: str, severity: int, split: str, first_index: int, count: int
    ):
        names = [zlib.crc32(name.encode()) for name in (corruption, split)]
        self._bits = np.random.PCG64DXSM(np.random.SeedSequence([seed, severity, *names]))
        self._position = 0
        self._num_draws = 0
        self._first_index = first_index
        self.count = count

    def words(self, *shape: int) -> np.ndarray:
        """Uniform uint32 of shape (count, *shape)."""
        size = math.prod(shape)
        pairs = (size + 1) // 2
        start = self._num_draws * _BETWEEN_DRAWS + self._first_index * pairs
        self._bits.advance((start - self._position) % 2**128)
        self._position = start + self.count * pairs
        self._num_draws += 1
        words = self._bits.random_raw(self.count * pairs).astype("<u8", copy=False).view("<u4")
        return words.reshape(self.count, 2 * pairs)[:, :size].reshape(self.count, *shape)

    def uniform(self, low: float, high: float, *shape: int) -> np.ndarray:
        """Uniform float32 in [low, high), of shape (count, *shape)."""
        # 24 bits are what single precision holds; more would round up to `high` at times.
        numbers = (self.words(*shape) >> np.uint32(8)).astype(np.float32)
        numbers *= np.float32((high - low) / 2**24)
        numbers += np.float32(low)
        return numbers

    def integers(self, low: int, high, *shape: int) -> np.ndarray:
        """Uniform int64 in [low, high), of shape (count, *shape); high may be an array of it."""
        scaled = self.words(*shape).astype(np.uint64) * np.asarray(high - low, np.uint64)
        return (scaled >> np.uint64(32)).astype(np.int64) + low

    def standard_normal(self, *shape: int) -> np.ndarray:
        """N(0, 1) rounded to 1/4096, float32 of shape (count, *shape)."""
        drawn = _normal_table().draw(self.words(*shape))
        normal = drawn.astype(np.float32)
        normal -= 2**15
        normal /= _NORMAL_STEPS_PER_SIGMA
        return normal


class AliasTable:
    """Sampling from discrete distributions, one random word and two look-ups a sample.

    Walker's alias method (A. J. Walker, *An efficient method for generating discrete random
    variables with general distributions*, ACM TOMS 3, 1977): the upper bits of a word choose an
    outcome, the lower 16 whether to take it or its alias.

    Args:
        probabilities: (65536,): one distribution over 0 … 65535; or (256, 256): row by row a
            distribution over 0 … 255. Rows sum to one.
    """

    def __init__(self, probabilities: np.ndarray):
        if probabilities.shape not in ((65536,), (256, 256)):
            raise ValueError(f"probabilities must be (65536,) or (256, 256): {probabilities.shape}")
        rows = np.atleast_2d(probabilities)
        tables = [_alias_row(row) for row in rows]
        self._threshold = np.concatenate([threshold for threshold, _ in tables])
        # Kept as the step from the outcome to its alias, modulo the type's range: adding step × 0
        # or 1 is several times faster than np.where.
        dtype = np.uint16 if len(rows) == 1 else np.uint8
        self._step = np.concatenate([alias - np.arange(len(alias)) for _, alias in tables])
        self._step = self._step.astype(dtype)

    def draw(self, words: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """Sample once per word.

        Args:
            words: uniform uint32.
            rows: uint8, shape of words: the distribution to draw from, if there are 256.

        Returns:
            Outcomes of the same shape: uint16 for one distribution, uint8 for 256.
        """
        words = np.ascontiguousarray(words, "<u4")
        fraction, column = (words.view("<u2").reshape(*words.shape, 2)[..., i] for i in (0, 1))
        key = column
        if rows is not None:
            # The row in the upper byte, the upper byte of the word in the lower one.
            column = words.view(np.uint8).reshape(*words.shape, 4)[..., 3]
            key = rows * np.uint16(256) + column
        key = key.astype(np.intp)
        step = self._step.take(key)
        step *= fraction >= self._threshold.take(key)
        step += column
        return step


def _alias_row(probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Thresholds, uint16 in units of 2⁻¹⁶, and aliases of one distribution (Vose's way)."""
    size = len(probabilities)
    share = (probabilities * (size / probabilities.sum())).tolist()
    alias = list(range(size))
    small = [i for i in range(size) if share[i] < 1]
    large = [i for i in range(size) if share[i] >= 1]
    while small and large:
        poor, rich = small.pop(), large[-1]
        alias[poor] = rich
        share[rich] -= 1 - share[poor]
        if share[rich] < 1:
            small.append(large.pop())
    # A column that keeps all of its share is its own alias: the threshold then does not matter.
    threshold = np.minimum(np.rint(np.array(share) * 65536), 65535).astype(np.uint16)
    return threshold, np.array(alias)


@functools.cache
def _normal_table() -> AliasTable:
    """The standard normal, outcome k standing for (k − 2¹⁵) / 4096, that is for −8 … 8."""
    edges = (np.arange(65537) - 2**15 - 0.5) / _NORMAL_STEPS_PER_SIGMA
    return AliasTable(np.diff(ndtr(edges)))
