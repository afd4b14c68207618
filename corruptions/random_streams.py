"""Randomness that belongs to one image, however the work is divided."""

import zlib

import numpy as np


class RandomStreams:
    """An independent random stream for every image.

    The stream of image i depends on (seed, corruption, severity, split) and i alone: the first
    four make the key of a Philox generator, i the highest word of its counter, so that streams
    never overlap and are reached in about a microsecond.
    """

    def __init__(self, seed: int, corruption: str, severity: int, split: str, first_index: int):
        names = [zlib.crc32(corruption.encode()), zlib.crc32(split.encode())]
        key = np.random.SeedSequence([seed, severity, *names]).generate_state(2, np.uint64)
        self._bits = np.random.Philox(key=key)
        self._state = self._bits.state
        self._generator = np.random.Generator(self._bits)
        self._first_index = first_index

    def generator(self, i: int) -> np.random.Generator:
        """The generator at the start of the stream of image `first_index` + i."""
        self._state["state"]["counter"][:] = (0, 0, 0, self._first_index + i)
        self._bits.state = self._state
        return self._generator
