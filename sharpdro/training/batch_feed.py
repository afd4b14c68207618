"""How batches get to the device, and what its steps came to back from it."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np
from mindspore import Tensor

from dataset.batches import Batch
from sharpdro.methods.base import StepCell, StepResult

Batches = Callable[[int], Iterator[Batch]]


class FinishedStep(NamedTuple):
    """A step's number within its epoch, from 1, its images' severities (B,), its result."""

    number: int
    severities: np.ndarray
    result: StepResult


class BatchFeed:
    """Feeds a training graph, and keeps what its steps return until it is fetched.

    A fetch lets the host wait until a GPU or NPU has nothing left to do; so it is for several
    steps at once.

    Args:
        graph: called with images, labels and groups.
        batches: those of an epoch.
    """

    def __init__(self, graph: StepCell, batches: Batches):
        self._graph = graph
        self._batches = batches
        self._pending: list[FinishedStep] = []

    def steps(self, epoch: int, num_finished: int) -> Iterator[int]:
        """Begin an epoch's steps, after those finished already, one after the other.

        Yields:
            The number of the step that was begun.
        """
        batches = islice(self._batches(epoch), num_finished, None)
        for number, (images, labels, groups, severities) in enumerate(batches, num_finished + 1):
            result = self._graph(Tensor(images), Tensor(labels), Tensor(groups))
            self._pending.append(FinishedStep(number, severities, result))
            yield number

    def fetch(self) -> list[FinishedStep]:
        """The steps begun since the last fetch, once they are finished; results as arrays."""
        pending, self._pending = self._pending, []
        return [step._replace(result=step.result.asnumpy()) for step in pending]
