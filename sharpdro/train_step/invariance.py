"""The steps that penalise differences between groups: IRM and V-REx."""

import mindspore as ms
from mindspore import Parameter, Tensor, nn, ops

from sharpdro.group_weights import group_means, group_membership
from sharpdro.train_step.base import TrainStep, measured


class PenaltyStep(TrainStep):
    """Descends risk + weight · penalty, divided by the weight where that is above 1.

    The weight is 1 for a warm-up, as in the papers' code, which also divides, so that the gradient
    keeps its size when the weight rises.

    Args:
        weight: of the penalty after the warm-up.
        warmup: length of the warm-up, in steps.
        shared: see `TrainStep`.
    """

    reads_groups = True

    def __init__(
        self,
        network: nn.Cell,
        optimizer: nn.Optimizer,
        num_groups: int,
        weight: float,
        warmup: int,
        **shared,
    ):
        super().__init__(network, optimizer, num_groups, **shared)
        self.weight = Tensor(weight, ms.float32)
        self.warmup = warmup
        self.finished_steps = Parameter(
            Tensor(0, ms.int32), name="finished_steps", requires_grad=False
        )
        self.differentiate_objective = self.gradients_of(self.objective)

    def objective(self, images, labels, groups, weight):
        """(risk + weight · penalty) / max(weight, 1), then the logits and per-sample losses."""
        logits, losses = self.forward(images, labels)
        membership = group_membership(groups, self.num_groups)
        risk, penalty = self.risk_and_penalty(logits, losses, labels, membership)
        return (risk + weight * penalty) / ops.maximum(weight, 1.0), logits, losses

    def construct(self, images, labels, groups):
        finished = self.finished_steps + 0
        weight = ops.where(finished < self.warmup, ops.ones_like(self.weight), self.weight)
        (_, logits, losses), gradients = self.differentiate_objective(
            images, labels, groups, weight
        )
        counted = ops.assign(self.finished_steps, ops.depend(finished + 1, gradients))
        updated = self.descend(gradients, after=counted)
        return measured(logits, losses, labels, gradients, after=updated)


class IRMStep(PenaltyStep):
    """Invariant risk minimisation, IRMv1 (Arjovsky et al., 2019, section 3.1).

    Σ over the groups present of L_s + λ · (∂L_s(a · logits)/∂a at a = 1)². The derivative is the
    mean over the group of ⟨softmax − one-hot, logits⟩.
    """

    def __init__(
        self,
        network: nn.Cell,
        optimizer: nn.Optimizer,
        num_groups: int,
        irm_lambda: float = 100.0,
        irm_warmup: int = 500,
        **shared,
    ):
        super().__init__(network, optimizer, num_groups, irm_lambda, irm_warmup, **shared)

    def risk_and_penalty(self, logits, losses, labels, membership):
        """Both sums over groups; a group without a sample adds 0 to both."""
        one_hot = ops.one_hot(labels, logits.shape[1], 1.0, 0.0)
        slopes = ((ops.softmax(logits, 1) - one_hot) * logits).sum(1)
        group_slopes = group_means(slopes, membership)
        return group_means(losses, membership).sum(), (group_slopes * group_slopes).sum()


class VRExStep(PenaltyStep):
    """Risk extrapolation, V-REx (Krueger et al., ICML 2021, section 3.2).

    Mean of L_s + β · variance of L_s, over the groups present (the paper writes the risks' sum; the
    mean is what β and the learning rate are set for in DomainBed).
    """

    def __init__(
        self,
        network: nn.Cell,
        optimizer: nn.Optimizer,
        num_groups: int,
        vrex_beta: float = 10.0,
        vrex_warmup: int = 500,
        **shared,
    ):
        super().__init__(network, optimizer, num_groups, vrex_beta, vrex_warmup, **shared)

    def risk_and_penalty(self, logits, losses, labels, membership):
        """Mean and (population) variance of the group losses."""
        is_present = (membership.sum(0) > 0).astype("float32")
        num_present = is_present.sum()
        group_losses = group_means(losses, membership)
        mean = group_losses.sum() / num_present  # absent groups have 0
        deviations = (group_losses - mean) * is_present
        return mean, (deviations * deviations).sum() / num_present
