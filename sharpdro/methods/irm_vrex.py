"""The steps that penalise differences between groups: IRM and V-REx."""

import mindspore as ms
from mindspore import Parameter, Tensor, nn, ops

from sharpdro.methods import parameters
from sharpdro.methods.base import TrainStep, measured
from sharpdro.methods.group_weights import group_means, group_membership


class PenaltyStep(TrainStep):
    """Descends risk + weight · penalty, both means over the groups present in the batch.

    The weight is 1 for a warm-up. When it changes, the optimizer's momentum starts anew, as in
    DomainBed (Gulrajani & Lopez-Paz, ICLR 2021), which renews its optimizer there.

    Args:
        weight: of the penalty after the warm-up.
        warmup: length of the warm-up, in steps.
        shared: see `TrainStep`.

    Raises:
        ValueError: there is a warm-up, and the optimizer's momentum cannot be started anew.
    """

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
            Tensor(0, ms.int32), name="penalised_steps", requires_grad=False
        )
        self.momentum_buffers = parameters.momentum_buffers(optimizer) if warmup else ()
        self.differentiate_objective = self.gradients_of(self.objective)

    def objective(self, images, labels, groups, weight):
        """risk + weight · penalty, then the logits and per-sample losses."""
        logits, losses = self.forward(images, labels)
        membership = group_membership(groups, self.num_groups)
        risk, penalty = self.risk_and_penalty(logits, losses, labels, membership)
        return risk + weight * penalty, logits, losses

    def construct(self, images, labels, groups):
        finished = self.finished_steps + 0
        weight = ops.where(finished < self.warmup, ops.ones_like(self.weight), self.weight)
        (_, logits, losses), gradients = self.differentiate_objective(
            images, labels, groups, weight
        )
        written = parameters.write((self.finished_steps,), (finished + 1,), after=gradients)
        kept = (finished != self.warmup).astype("float32")
        buffers = parameters.read(self.momentum_buffers, after=gradients)
        written += parameters.write(
            self.momentum_buffers, parameters.scale(buffers, kept), after=gradients
        )
        updated = self.descend(gradients, after=written)
        return measured(logits, losses, labels, gradients, after=updated)


class IRMStep(PenaltyStep):
    """Invariant risk minimisation, IRMv1 (Arjovsky et al., 2019, section 3.1).

    Mean over the groups present of L_s, plus λ times the mean of their penalties (`irm_penalty`).
    """

    def __init__(
        self,
        network: nn.Cell,
        optimizer: nn.Optimizer,
        num_groups: int,
        irm_lambda: float,
        irm_warmup: int,
        **shared,
    ):
        super().__init__(network, optimizer, num_groups, irm_lambda, irm_warmup, **shared)

    def risk_and_penalty(self, logits, losses, labels, membership):
        """Both means over the groups present."""
        slopes = scale_slopes(logits, labels)
        risk = mean_over_present(group_means(losses, membership), membership)
        return risk, mean_over_present(irm_penalty(slopes, membership), membership)


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
        vrex_beta: float,
        vrex_warmup: int,
        **shared,
    ):
        super().__init__(network, optimizer, num_groups, vrex_beta, vrex_warmup, **shared)

    def risk_and_penalty(self, logits, losses, labels, membership):
        """Mean and (population) variance of the group losses."""
        group_losses = group_means(losses, membership)
        mean = mean_over_present(group_losses, membership)
        deviations = group_losses - mean
        return mean, mean_over_present(deviations * deviations, membership)


def scale_slopes(logits, labels):
    """∂ℓ_i(a · logits_i)/∂a at a = 1, which is ⟨softmax − one-hot, logits⟩, float32 (B,)."""
    one_hot = ops.one_hot(labels, logits.shape[1], 1.0, 0.0)
    return ((ops.softmax(logits, 1) - one_hot) * logits).sum(1)


def irm_penalty(slopes, membership):
    """An unbiased estimate of each group's squared mean slope, float32 (G,).

    It is the mean slope of every other sample of the group times that of the remaining ones. (The
    square of the batch's mean slope would be too large by its variance.) A group with a single
    sample in the batch has no second half, and penalty 0.

    Args:
        slopes: see `scale_slopes`, (B,).
        membership: see `group_membership`, (B, G).
    """
    rank = (ops.cumsum(membership, 0) * membership).sum(1) - 1  # of a sample within its group
    is_second = (rank - 2 * ops.floor(rank / 2)).reshape((-1, 1))
    first_half = group_means(slopes, membership * (1 - is_second))
    return first_half * group_means(slopes, membership * is_second)


def mean_over_present(values, membership):
    """Mean of `values` (G,) over the groups that have a sample in the batch."""
    is_present = (membership.sum(0) > 0).astype("float32")
    return (values * is_present).sum() / is_present.sum()
