"""Loss, accuracy and calibration per severity."""

from collections.abc import Callable, Iterable

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn
from tqdm import tqdm

from corruptions.interrupts import check_interrupts
from dataset.batches import evaluation_batches, evaluation_steps
from dataset.sets import EvaluationSet
from sharpdro.distributed.process_group import SINGLE_PROCESS, Processes
from sharpdro.evaluation.scores import (
    Score,
    calibration_error,
    confidences,
    worst_class_accuracy,
)
from sharpdro.methods.losses import cross_entropy


class EvaluationGraph(nn.Cell):
    """uint8 (B, H, W, 3) and labels (B,) to losses, correctness (B,), logits (B, C), float32."""

    def __init__(self, network: nn.Cell, normalize: nn.Cell):
        super().__init__(auto_prefix=False)
        self.network = network
        self.normalize = normalize

    def construct(self, images, labels):
        logits = self.network(self.normalize(images))
        losses = cross_entropy(logits, labels)
        return losses, (logits.argmax(1).astype("int32") == labels).astype("float32"), logits


class Evaluator:
    """Measures a network with its running statistics.

    Args:
        network: images float32 (N, 3, H, W) to logits.
        normalize: uint8 (N, H, W, 3) to what the network takes.
        processes: the processes, each of which takes its turn of the batches.
    """

    def __init__(self, network: nn.Cell, normalize: nn.Cell, processes: Processes = SINGLE_PROCESS):
        self._network = network
        self._graph = EvaluationGraph(network, normalize)
        self._processes = processes

    def __call__(
        self,
        batches: Iterable[tuple[np.ndarray, np.ndarray, int]],
        on_step: Callable[[], object] = lambda: None,
        on_logits: Callable[[np.ndarray], object] | None = None,
    ) -> Score:
        """Sum over all batches, divide once.

        Args:
            batches: images uint8 (B, H, W, 3), labels (B,), how many of the rows count; those of
                other processes may be None.
            on_step: called after each batch.
            on_logits: called with the logits of all images, float32 (N, C).
        """
        loss = correct = 0.0
        parts, kept = [], []
        for losses, hits, logits, labels in self._outputs(batches, on_step):
            loss += float(losses.sum(dtype=np.float64))
            correct += float(hits.sum(dtype=np.float64))
            parts.append((hits, confidences(logits), labels))
            if on_logits is not None:
                kept.append(logits)
        if on_logits is not None:
            on_logits(np.concatenate(kept))
        hits, confidence, labels = map(np.concatenate, zip(*parts))
        return Score(
            loss / len(hits),
            correct / len(hits),
            len(hits),
            calibration_error(confidence, hits),
            worst_class_accuracy(hits, labels),
        )

    def predict(self, batches, on_step: Callable[[], object] = lambda: None) -> np.ndarray:
        """The logits of all images, float32 (N, C); arguments as above."""
        return np.concatenate([logits for _, _, logits, _ in self._outputs(batches, on_step)])

    def _outputs(self, batches, on_step):
        """What the graph gives for each batch, and the labels, cut to the rows that count."""
        rank, size = self._processes.rank, self._processes.size
        was_training = self._network.training
        self._graph.set_train(False)
        outputs, num_batches, last = [], 0, None
        for number, batch in enumerate(batches):
            num_batches += 1
            last = last if batch is None else batch
            if number % size == rank:
                outputs.append(self._measure(*batch))
                if size == 1:
                    check_interrupts()
            on_step()
        if not outputs:  # fewer batches than processes: what is too much is cut off
            outputs.append(self._measure(*last))
        self._network.set_train(was_training)
        for *arrays, count in self._in_order(outputs, num_batches):
            yield [array[:count] for array in arrays]

    def _measure(self, images, labels, count):
        outputs = self._graph(Tensor(images), Tensor(labels, ms.int32))
        arrays = [output.asnumpy().copy() for output in outputs]
        return [*arrays, np.array(labels, np.int32), np.array(count, np.int32)]

    def _in_order(self, outputs, num_batches):
        """All batches' outputs, of which each process has every size-th."""
        size = self._processes.size
        if size == 1:
            return outputs
        self._processes.check_interrupts()
        rounds = -(-num_batches // size)
        outputs = outputs + outputs[-1:] * (rounds - len(outputs))  # as many for all
        gathered = [self._processes.all_gather(np.stack(kind)) for kind in zip(*outputs)]
        in_order = (g.swapaxes(0, 1).reshape(-1, *g.shape[2:])[:num_batches] for g in gathered)
        return zip(*in_order)


def for_each_severity(
    function: Callable,
    split: str,
    chosen: EvaluationSet,
    batch_size: int,
    show_progress: bool = False,
    processes: Processes = SINGLE_PROCESS,
) -> list:
    """What a function of batches returns for a set of images at each of its severities.

    Args:
        function: an `Evaluator`, or its `predict`.
        split: what the progress bar calls the set.
        chosen: the set.
        batch_size: images per step.
        show_progress: draw a progress bar on a terminal.
        processes: those among which the function shares out the batches: each reads its own.
    """
    severities = range(len(chosen.arrays))
    total = len(severities) * evaluation_steps(chosen, batch_size)
    disable = None if show_progress else True
    with tqdm(desc=f"{split} set", total=total, unit="step", leave=False, disable=disable) as bar:
        parts = processes.rank, processes.size
        return [
            function(evaluation_batches(chosen, s, batch_size, *parts), bar.update)
            for s in severities
        ]
