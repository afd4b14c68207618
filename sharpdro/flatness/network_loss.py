"""A network's mean loss over a set of images, and its gradient, as functions of the parameters."""

import contextlib
from collections.abc import Callable

import mindspore as ms
import numpy as np
from mindspore import ParameterTuple, Tensor, nn

from corruptions.interrupts import check_interrupts
from dataset.batches import evaluation_batches, evaluation_steps
from dataset.sets import EvaluationSet
from sharpdro.methods.losses import cross_entropy


class WeightedLoss(nn.Cell):
    """uint8 (B, H, W, 3), labels (B,), weights w (B,) to Σ_i w_i ℓ_i, ℓ the cross-entropy."""

    def __init__(self, network: nn.Cell, normalize: nn.Cell):
        super().__init__(auto_prefix=False)
        self.network = network
        self.normalize = normalize

    def construct(self, images, labels, weights):
        logits = self.network(self.normalize(images))
        return (weights * cross_entropy(logits, labels)).sum()


class WeightedLossGradient(nn.Cell):
    """The gradient of a `WeightedLoss`, one tensor per parameter."""

    def __init__(self, loss: WeightedLoss, parameters: ParameterTuple):
        super().__init__(auto_prefix=False)
        self.loss = loss
        self.parameters = parameters
        self.differentiate = ms.grad(loss, None, parameters)

    def construct(self, images, labels, weights):
        return self.differentiate(images, labels, weights)


class NetworkLoss:
    """The mean loss of a network in evaluation mode over one severity of a set of images.

    The running statistics of batch norm are used and stay as they are: only so is the loss a
    function of the parameters alone, whatever the batches. Parameters are one vector, float64
    (P,), all trainable ones in the network's order; the network itself computes in float32. After
    each call the network has its own parameters again.

    Args:
        network: images float32 (N, 3, H, W) to logits.
        normalize: uint8 (N, H, W, 3) to what the network takes.
        images: the set.
        severity: which of its severities `loss` and `gradient` see; may be set anew.
        batch_size: images per step; it changes rounding alone.
        on_step: called after each batch; may be set anew.

    `num_images` and `num_steps` are the images of a severity, and their batches.
    """

    def __init__(
        self,
        network: nn.Cell,
        normalize: nn.Cell,
        images: EvaluationSet,
        severity: int = 0,
        batch_size: int = 128,
        on_step: Callable[[], object] = lambda: None,
    ):
        self.severity, self.on_step = severity, on_step
        self.num_images = len(images.indices)
        self.num_steps = evaluation_steps(images, batch_size)
        self._network, self._images, self._batch_size = network, images, batch_size
        self._parameters = ParameterTuple(network.trainable_params())
        self._loss = WeightedLoss(network, normalize)
        self._gradient = WeightedLossGradient(self._loss, self._parameters)

    def parameters(self) -> list[np.ndarray]:
        """Copies of the parameters as they are, float64, each in its shape."""
        return [p.asnumpy().astype(np.float64) for p in self._parameters]

    def loss(self, theta: np.ndarray) -> float:
        """L(θ), the mean loss in nats."""
        return sum(float(value.asnumpy()) for value in self._per_batch(self._loss, theta))

    def gradient(self, theta: np.ndarray) -> np.ndarray:
        """∇L(θ), float64 (P,): that of the mean over all images, summed batch by batch."""
        total = np.zeros(len(theta))
        for gradients in self._per_batch(self._gradient, theta):
            total += np.concatenate([g.asnumpy().ravel() for g in gradients])
        return total

    def _per_batch(self, graph, theta):
        """What a graph returns for each batch, every image weighted by one over their number."""
        with self._parameters_set_to(theta):
            for images, labels, count in evaluation_batches(
                self._images, self.severity, self._batch_size
            ):
                weights = (np.arange(len(labels)) < count).astype(np.float32) / np.float32(
                    self.num_images
                )
                yield graph(Tensor(images), Tensor(labels, ms.int32), Tensor(weights))
                check_interrupts()
                self.on_step()

    @contextlib.contextmanager
    def _parameters_set_to(self, theta):
        was_training = self._network.training
        before = [p.asnumpy().copy() for p in self._parameters]
        self._gradient.set_train(False)
        try:
            self._assign(np.split(theta, np.cumsum([p.size for p in self._parameters])[:-1]))
            yield
        finally:
            self._assign(before)
            self._network.set_train(was_training)

    def _assign(self, values):
        for parameter, value in zip(self._parameters, values):
            value = value.reshape(parameter.shape).astype(np.float32)
            parameter.set_data(Tensor(value))
