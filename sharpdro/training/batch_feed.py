"""How batches get to the device: handed over step by step, or fetched by it from a queue."""

from collections.abc import Callable, Iterator
from itertools import chain, islice

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from dataset.batches import Batch

Batches = Callable[[int], Iterator[Batch]]


class HostFeed:
    """Hands each batch over when it is its turn.

    Args:
        graph: called with images, labels and groups.
        batches: those of an epoch.
        steps_per_epoch: their number.
        total_epoch: number of the last epoch.
    """

    def __init__(self, graph: nn.Cell, batches: Batches, steps_per_epoch: int, total_epoch: int):
        self._graph = graph
        self._batches = batches

    def steps(self, epoch: int, done: int) -> Iterator[tuple[np.ndarray, tuple[Tensor, ...]]]:
        """Severities (B,) and the graph's outputs, step by step, after those done already."""
        for images, labels, groups, severities in islice(self._batches(epoch), done, None):
            yield severities, self._graph(Tensor(images), Tensor(labels), Tensor(groups))


class SinkFeed:
    """Lets the device fetch its batches from a queue, which another thread fills (data sinking).

    For GPU and Ascend. Arguments as of `HostFeed`.
    """

    def __init__(self, graph: nn.Cell, batches: Batches, steps_per_epoch: int, total_epoch: int):
        self._graph = graph
        self._batches = batches
        self._steps_per_epoch = steps_per_epoch
        self._total_epoch = total_epoch
        self._sunk = None

    def steps(self, epoch: int, done: int) -> Iterator[tuple[np.ndarray, tuple[Tensor, ...]]]:
        """As of `HostFeed`; after the first call all epochs and their steps in turn."""
        if self._sunk is None:
            epochs = range(epoch, self._total_epoch + 1)
            source = _AllBatches(self._batches, epochs, self._steps_per_epoch, done)
            columns = list(Batch._fields)
            dataset = ms.dataset.GeneratorDataset(
                source, columns, shuffle=False, num_parallel_workers=1
            )
            self._sunk = ms.data_sink(self._run, dataset)
        for _ in range(done, self._steps_per_epoch):
            severities, outputs = self._sunk()
            yield severities.asnumpy(), outputs

    def _run(self, images, labels, groups, severities):
        return severities, self._graph(images, labels, groups)


class _AllBatches:
    """The batches of several epochs as one: MindSpore iterates more often than it takes epochs.

    The first of them is begun after the steps that are done.
    """

    def __init__(self, batches: Batches, epochs: range, steps_per_epoch: int, done: int):
        self._batches = batches
        self._epochs = epochs
        self._steps_per_epoch = steps_per_epoch
        self._done = done

    def __len__(self):
        return len(self._epochs) * self._steps_per_epoch - self._done

    def __iter__(self):
        return islice(chain.from_iterable(map(self._batches, self._epochs)), self._done, None)
