"""How batches get to the device: each is handed over when it is its turn."""

from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np
from mindspore import Tensor, nn

from dataset.batches import Batch

Batches = Callable[[int], Iterator[Batch]]


class BatchFeed:
    """Runs the graph on batch after batch.

    Args:
        graph: called with images, labels and groups.
        batches: those of an epoch.
    """

    def __init__(self, graph: nn.Cell, batches: Batches):
        self._graph = graph
        self._batches = batches

    def steps(self, epoch: int, done: int) -> Iterator[tuple[np.ndarray, tuple[Tensor, ...]]]:
        """Severities (B,) and the graph's outputs, step by step, after those done already."""
        for images, labels, groups, severities in islice(self._batches(epoch), done, None):
            yield severities, self._graph(Tensor(images), Tensor(labels), Tensor(groups))
