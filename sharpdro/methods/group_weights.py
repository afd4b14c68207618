"""Group means and the worst-case group weights (Sagawa et al., ICLR 2020, algorithm 1).

A *group* is what the SharpDRO paper calls a distribution: all training images of one severity.
"""

import warnings

import mindspore as ms
import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from sharpdro.methods.specs import ABSENT_GROUPS

DECAY = 0.9  # of the running mean of a group's loss
_UNSEEN = -1.0  # no cross-entropy is near it
# In float32 a weight could become 0, from which nothing raises it again.
_LEAST_WEIGHT = 1e-30


def group_membership(groups, num_groups):
    """Group of each sample, int32 (B,), as a 0/1 matrix, float32 (B, G)."""
    return (groups.reshape((-1, 1)) == ops.arange(num_groups)).astype("float32")


def group_means(values, membership):
    """Mean of `values` (B,) over each group, float32 (G,); 0 for a group absent from the batch."""
    return ops.matmul(values, membership) / ops.maximum(membership.sum(0), 1.0)


def sample_weights(group_weights, membership):
    """Weights w (B,) with Σ_i w_i ℓ_i = Σ_s q_s · (mean of ℓ_i over group s)."""
    per_member = group_weights / ops.maximum(membership.sum(0), 1.0)
    return ops.matmul(membership, per_member)


def initial_weights(num_groups, group_sizes=None):
    """Equal weights of all groups that have training images (of all, if the sizes are unknown)."""
    sizes = np.ones(num_groups) if group_sizes is None else np.asarray(group_sizes)
    return ((sizes > 0) / (sizes > 0).sum()).astype(np.float32)


def ascend(group_weights, exponents, takes_part):
    """One exponentiated-gradient ascent step: q_s ∝ q_s · exp(x_s) for the groups that take part.

    The total share of those stays what it was, and so does each other group's own.

    Args:
        group_weights: q, float32 (G,), on the simplex.
        exponents: x, float32 (G,).
        takes_part: bool (G,), at least one.
    """
    group_weights = ops.maximum(group_weights, _LEAST_WEIGHT)
    shares = ops.where(takes_part, group_weights, 0.0)
    # A common factor cancels; this one keeps exp from overflowing.
    exponents = ops.where(takes_part, exponents, exponents.min())
    raised = shares * ops.exp(exponents - exponents.max())
    raised = raised * (shares.sum() / raised.sum())
    ascended = ops.where(takes_part, raised, group_weights)
    return ascended / ascended.sum()


def _absent_zero(group_losses, is_present, known_losses):
    return group_losses, ops.ones_like(is_present), known_losses


def _absent_keep(group_losses, is_present, known_losses):
    return group_losses, is_present, known_losses


def _absent_ema(group_losses, is_present, known_losses):
    moved = DECAY * known_losses + (1 - DECAY) * group_losses
    newest = ops.where(_is_known(known_losses), moved, group_losses)
    known_losses = ops.where(is_present, newest, known_losses)
    return known_losses, _is_known(known_losses), known_losses


def _is_known(losses):
    return losses > _UNSEEN / 2


# What a group that is absent from the batch counts with. Each function takes the group losses
# (G,), which groups are present (G,) and the known losses (G,), and returns the losses to ascend
# with, the groups that take part, and the new known losses.
_ABSENT_GROUPS = dict(zip(ABSENT_GROUPS, (_absent_zero, _absent_keep, _absent_ema), strict=True))


class GroupAscent(nn.Cell):
    """Raises the weights of the groups by their losses: q_s ← q_s · exp(η (L_s + C/√n_s)) / Σ.

    Args:
        num_groups: G.
        step_size: η.
        absent_groups: what happens to a group s without a sample in the batch: `zero` counts it
            with L_s = 0 (the authors' published loop); `keep` leaves its weight as it is; `ema`
            uses the running mean of its loss (decay 0.9), known since it was seen first.
        group_adjustment: C of Sagawa et al. (ICLR 2020, section 3.3), which favours small groups.
        group_sizes: n_s, the groups' training images, needed with C; an empty group's C/√n_s is 0.
            Without them a warning says what that means for empty groups.

    `known_losses` is a Parameter for `ema`, which remembers; else a constant that is not used.

    Raises:
        ValueError: unknown `absent_groups`, or C without the groups' sizes.
    """

    def __init__(
        self,
        num_groups: int,
        step_size: float,
        absent_groups: str,
        group_adjustment: float,
        group_sizes=None,
    ):
        super().__init__()
        if absent_groups not in _ABSENT_GROUPS:
            raise ValueError(
                f"unknown absent_groups {absent_groups!r}; choose one of {', '.join(ABSENT_GROUPS)}"
            )
        if group_adjustment and group_sizes is None:
            raise ValueError("group_adjustment needs group_sizes")
        if group_sizes is None:
            warnings.warn(
                "no group_sizes: every group starts with an equal weight, also one without a "
                "training image, which then keeps some of it; give np.bincount(groups, "
                "minlength=num_groups) of the training images",
                stacklevel=2,
            )
        sizes = np.zeros(num_groups) if group_sizes is None else np.asarray(group_sizes)
        adjustments = np.where(sizes > 0, group_adjustment / np.sqrt(np.maximum(sizes, 1)), 0.0)
        self.step_size = step_size
        self.adjustments = Tensor(adjustments, ms.float32)
        self.treat_absent = _ABSENT_GROUPS[absent_groups]
        unseen = Tensor([_UNSEEN] * num_groups, ms.float32)
        self.remembers = absent_groups == "ema"
        self.known_losses = (
            Parameter(unseen, name="known_group_losses", requires_grad=False)
            if self.remembers
            else unseen
        )

    def state(self, group_weights: Parameter) -> ParameterTuple:
        """The parameters that the values of `construct` are for; a value too many is not kept."""
        return ParameterTuple([group_weights] + [self.known_losses] * self.remembers)

    def construct(self, group_weights, losses, membership):
        """The raised weights (G,) and the losses known then (G,); nothing is written."""
        is_present = membership.sum(0) > 0
        group_losses, takes_part, known_losses = self.treat_absent(
            group_means(losses, membership), is_present, self.known_losses
        )
        exponents = self.step_size * (group_losses + self.adjustments)
        return ascend(group_weights, exponents, takes_part), known_losses
