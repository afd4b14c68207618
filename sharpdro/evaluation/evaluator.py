"""Loss and accuracy per severity."""

from collections.abc import Callable, Iterable

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn
from tqdm import tqdm

from corruptions.interrupts import check_interrupts
from dataset.batches import evaluation_batches, evaluation_steps
from dataset.prepare_dataset import EvaluationSet
from sharpdro.distributed.process_group import SINGLE_PROCESS, Processes
from sharpdro.evaluation.scores import Score
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
    ) -> Score:
        """Sum over all batches, divide once.

        Args:
            batches: images uint8 (B, H, W, 3), labels (B,), how many of the rows count.
            on_step: called after each batch.
        """
        loss = correct = 0.0
        total = 0
        for losses, hits, _ in self._outputs(batches, on_step):
            loss += float(losses.sum(dtype=np.float64))
            correct += float(hits.sum(dtype=np.float64))
            total += len(losses)
        return Score(loss / total, correct / total, total)

    def predict(self, batches, on_step: Callable[[], object] = lambda: None) -> np.ndarray:
        """The logits of all images, float32 (N, C); arguments as above."""
        return np.concatenate([logits for _, _, logits in self._outputs(batches, on_step)])

    def _outputs(self, batches, on_step):
        """What the graph gives for each batch, cut to the rows that count."""
        was_training = self._network.training
        self._graph.set_train(False)
        counts, own = [], []
        for number, (images, labels, count) in enumerate(batches):
            counts.append(count)
            last = Tensor(images), Tensor(labels, ms.int32)
            if number % self._processes.size == self._processes.rank:
                outputs = self._graph(*last)
                own.append([output.asnumpy().copy() for output in outputs])
                if self._processes.size == 1:
                    check_interrupts()
            on_step()
        self._network.set_train(was_training)
        if not own:  # fewer batches than processes
            own = [[output.asnumpy().copy() for output in self._graph(*last)]]
        for outputs, count in zip(self._in_order(own, len(counts)), counts):
            yield [output[:count] for output in outputs]

    def _in_order(self, own, number):
        """All batches' outputs, of which each process has every size-th."""
        size = self._processes.size
        if size == 1:
            return own
        self._processes.check_interrupts()
        rounds = -(-number // size)
        own = own + own[-1:] * (rounds - len(own))  # as many for all; what is too many is cut off
        stacked = [self._processes.all_gather(np.stack(kind)) for kind in zip(*own)]
        return zip(*(kind.swapaxes(0, 1).reshape(-1, *kind.shape[2:])[:number] for kind in stacked))


def for_each_severity(
    function: Callable,
    split: str,
    chosen: EvaluationSet,
    batch_size: int,
    show_progress: bool = False,
) -> list:
    """What a function of batches returns for a set of images at each of its severities.

    Args:
        function: an `Evaluator`, or its `predict`.
        split: what the progress bar calls the set.
        chosen: the set.
        batch_size: images per step.
        show_progress: draw a progress bar on a terminal.
    """
    severities = range(len(chosen.arrays))
    total = len(severities) * evaluation_steps(chosen, batch_size)
    disable = None if show_progress else True
    with tqdm(desc=f"{split} set", total=total, unit="step", leave=False, disable=disable) as bar:
        return [function(evaluation_batches(chosen, s, batch_size), bar.update) for s in severities]
