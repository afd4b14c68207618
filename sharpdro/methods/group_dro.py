"""Distributionally robust optimisation over groups."""

from mindspore import ops

from sharpdro.methods import parameters
from sharpdro.methods.base import TrainStep, measured
from sharpdro.methods.group_weights import GroupAscent, group_membership, sample_weights


class GroupAscentStep(TrainStep):
    """A step that raises the weights of groups by their losses.

    Args:
        step_size, absent_groups, group_adjustment, group_sizes: see `GroupAscent`.
        shared: see the class that comes next, such as `TrainStep`.
    """

    outputs = (*TrainStep.outputs, "group_weights")

    def __init__(
        self,
        network,
        optimizer,
        num_groups: int,
        *,
        step_size: float,
        absent_groups: str,
        group_adjustment: float,
        group_sizes=None,
        **shared,
    ):
        super().__init__(network, optimizer, num_groups, group_sizes=group_sizes, **shared)
        self.ascent = GroupAscent(
            num_groups, step_size, absent_groups, group_adjustment, group_sizes
        )
        self.group_state = self.ascent.state(self.group_weights)


class GroupDROStep(GroupAscentStep):
    """Group DRO (Sagawa et al., ICLR 2020, algorithm 1): descend Σ_s q_s L_s at θ.

    Args: as of `GroupAscentStep`.
    """

    def __init__(self, network, optimizer, num_groups: int, **settings):
        super().__init__(network, optimizer, num_groups, **settings)
        self.differentiate_worst_case = self.gradients_of(self.worst_case_loss)

    def worst_case_loss(self, images, labels, groups):
        """Σ_s q_s L_s with q raised by the losses L_s and then taken as a constant."""
        logits, losses = self.forward(images, labels)
        membership = group_membership(groups, self.num_groups)
        raised, known = self.ascent(self.group_weights, ops.stop_gradient(losses), membership)
        weights = ops.stop_gradient(sample_weights(raised, membership))
        return (weights * losses).sum(), logits, losses, raised, known

    def construct(self, images, labels, groups):
        (_, logits, losses, raised, known), gradients = self.differentiate_worst_case(
            images, labels, groups
        )
        written = parameters.write(self.group_state, (raised, known), after=gradients)
        updated = self.descend(gradients, after=written)
        return measured(logits, losses, labels, gradients, after=updated) + (raised,)
