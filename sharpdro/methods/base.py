"""What the training steps share."""

from typing import NamedTuple

import mindspore as ms
import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from sharpdro.distributed.collectives import Collectives
from sharpdro.methods import parameters
from sharpdro.methods.group_weights import initial_weights
from sharpdro.methods.losses import cross_entropy
from sharpdro.methods.perturbation import global_norm


class StepResult(NamedTuple):
    """What a training step returns, all of it measured at θ before the update.

    Args:
        per_sample_loss: ℓ, float32 (B,), in nats.
        is_correct: whether the prediction was right, float32 (B,) of 0 and 1.
        gradient_norm: over all parameters together, float32 (): of the mean loss, or of the
            method's own objective where that is all that is differentiated (groupdro, irm, vrex).
        group_weights: q after the step, float32 (G,); None: the method raises none.
        ood_scores: each sample's out-of-distribution score, float32 (B,); None: it has none.
        was_applied: bool () of a step that may be taken back, see `NanGuard`; None: it may not.
        loss_scale: after the step, float32 (); None: losses are not scaled.
    """

    per_sample_loss: Tensor
    is_correct: Tensor
    gradient_norm: Tensor
    group_weights: Tensor | None = None
    ood_scores: Tensor | None = None
    was_applied: Tensor | None = None
    loss_scale: Tensor | None = None

    def asnumpy(self) -> "StepResult":
        """The same as NumPy arrays, once the device has computed them."""
        return StepResult(*(value if value is None else value.asnumpy() for value in self))


class StepCell(nn.Cell):
    """A cell that is called with images, labels and groups, and returns a `StepResult`.

    Its `construct` returns a plain tuple, the fields named by `outputs`: a compiled graph that
    makes named tuples itself returns to Python for them, which takes 3 ms and more per step.
    """

    outputs = ("per_sample_loss", "is_correct", "gradient_norm")
    _num_calls = 0  # at work: in PyNative mode a step inside another one is called, too

    def __call__(self, images, labels, groups) -> StepResult:
        StepCell._num_calls += 1
        try:
            values = super().__call__(images, labels, groups)
        finally:
            StepCell._num_calls -= 1
        if StepCell._num_calls:
            return values  # to the other's construct, as in a graph
        return StepResult(**dict(zip(self.outputs, values, strict=True)))


class TrainStep(StepCell, nn.TrainOneStepCell):
    """The differentiated loss, the group weights, the optimizer.

    Args:
        network: images to logits (B, C).
        optimizer: updates the network's trainable parameters from a tuple of gradients.
        num_groups: number of groups G; groups are 0 … G−1.
        group_sizes: the groups' training images; an empty group starts with weight 0.
        loss_scaler: keeps small gradients from vanishing in float16 (`nan_guard`); None: float32.
        collectives: with the other processes of a distributed run, whose images are then a part of
            the batch that labels and groups are of; None: there are none.
        clip_grad: length to which a longer gradient is shortened before the optimizer has it; None:
            it is left as it is.
        reads_groups: whether a call checks the groups; where they are not read, fetching them
            would only let the host wait for the device.
    """

    def __init__(
        self,
        network: nn.Cell,
        optimizer: nn.Optimizer,
        num_groups: int,
        group_sizes=None,
        loss_scaler: ms.amp.LossScaler | None = None,
        collectives: Collectives | None = None,
        reads_groups: bool = False,
        clip_grad: float | None = None,
    ):
        super().__init__(network, optimizer)
        self.num_groups = num_groups
        self.loss_scaler = loss_scaler
        self.collectives = collectives
        self.reads_groups = reads_groups
        self.clip_grad = clip_grad
        self.parameters = ParameterTuple(optimizer.parameters)
        self.group_weights = Parameter(
            Tensor(initial_weights(num_groups, group_sizes)),
            name="group_weights",
            requires_grad=False,
        )
        self.differentiate = self.gradients_of(self.weighted_loss)

    def __call__(self, images, labels, groups) -> StepResult:
        """One step; as a part of another graph only `construct` is called, and nothing checked.

        Raises:
            ValueError: a group is not one of 0 … num_groups−1.
        """
        self.check_groups(groups)
        return super().__call__(images, labels, groups)

    def check_groups(self, groups) -> None:
        """See that the groups are possible ones, if the method reads them.

        Args:
            groups: int32 (B,).

        Raises:
            ValueError: a group is not one of 0 … num_groups−1.
        """
        if not self.reads_groups:
            return
        groups = np.asarray(groups)
        if ((groups < 0) | (groups >= self.num_groups)).any():
            raise ValueError(
                f"groups are 0 … {self.num_groups - 1}, not {groups.min()} … {groups.max()}: raise "
                f"num_groups"
            )

    def gradients_of(self, objective):
        """A function that returns what `objective` does, and the gradients of its first value.

        What is scaled on the way is not scaled any more in what it returns.
        """
        differentiate = ms.value_and_grad(objective, None, self.parameters, has_aux=True)
        if self.loss_scaler is not None:
            differentiate = self._scaled(objective, self.loss_scaler)
        if self.collectives is not None and not self.collectives.local_perturbation:
            differentiate = self._summed(differentiate, self.collectives)
        return differentiate

    def _scaled(self, objective, scaler):
        def scaled(*inputs):
            value, *others = objective(*inputs)
            return scaler.scale(value), *others

        differentiate_scaled = ms.value_and_grad(scaled, None, self.parameters, has_aux=True)

        def differentiate(*inputs):
            (value, *others), gradients = differentiate_scaled(*inputs)
            return (scaler.unscale(value), *others), scaler.unscale(gradients)

        return differentiate

    def _summed(self, differentiate_own, collectives):
        def differentiate(*inputs):
            outputs, gradients = differentiate_own(*inputs)
            return outputs, collectives.sum(gradients)

        return differentiate

    def forward(self, images, labels):
        """Logits (B, C) and per-sample cross-entropy ℓ (B,)."""
        logits = self.network(images)
        if self.collectives is not None:
            logits = self.collectives.gather(logits)
        return logits, cross_entropy(logits, labels)

    def weighted_loss(self, images, labels, weights):
        """Σ_i w_i ℓ_i, then the logits and ℓ."""
        logits, losses = self.forward(images, labels)
        return (weights * losses).sum(), logits, losses

    def differentiate_mean_loss(self, images, labels):
        """Logits, per-sample losses, and ∇ (1/B) Σ_i ℓ_i."""
        (_, logits, losses), gradients = self.differentiate(images, labels, equal_weights(labels))
        return logits, losses, gradients

    def descend(self, gradients, after=None):
        """One step of the optimizer, once `after` has been computed."""
        if self.collectives is not None and self.collectives.local_perturbation:
            gradients = self.collectives.sum(gradients)
        if self.clip_grad is not None:
            gradients = clip(gradients, self.clip_grad)
        return self.optimizer(gradients if after is None else ops.depend(gradients, after))


def clip(gradients, length):
    """g · min(1, length / ‖g‖) with ‖g‖ over all gradients together (Pascanu et al., ICML 2013)."""
    return parameters.scale(gradients, ops.minimum(length / (global_norm(gradients) + 1e-12), 1.0))


def equal_weights(labels):
    """1/B for each of B samples, float32 (B,)."""
    batch_size = labels.shape[0]
    return ops.full((batch_size,), 1 / batch_size, dtype=ms.float32)


def measured(logits, losses, labels, gradients, after):
    """What every step returns (`StepCell.outputs`), once `after` has been computed."""
    correct = (logits.argmax(1).astype("int32") == labels).astype("float32")
    return ops.depend((losses, correct, global_norm(gradients)), after)
