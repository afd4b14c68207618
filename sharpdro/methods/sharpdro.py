"""SharpDRO (Huang et al., CVPR 2023): worst-case sharpness minimisation, in both settings."""

from mindspore import nn, ops

from sharpdro.methods import parameters
from sharpdro.methods.base import equal_weights, measured
from sharpdro.methods.group_weights import GroupAscent, group_membership, sample_weights
from sharpdro.methods.ood_scores import OF_IMAGES, min_max, score_function
from sharpdro.methods.sam import TwoPassStep


class SharpDROStep(TwoPassStep):
    """Distribution-aware SharpDRO (Huang et al., CVPR 2023): worst-case sharpness minimisation.

    Args:
        step_size, absent_groups, group_adjustment, group_sizes: see `GroupAscent`.
        shared: see `TrainStep`.
    """

    reads_groups = True
    uses_group_weights = True

    def __init__(
        self,
        network: nn.Cell,
        optimizer: nn.Optimizer,
        num_groups: int,
        rho: float,
        is_adaptive: bool,
        step_size: float,
        absent_groups: str,
        group_adjustment: float,
        group_sizes=None,
        **shared,
    ):
        super().__init__(
            network, optimizer, num_groups, rho, is_adaptive, group_sizes=group_sizes, **shared
        )
        self.ascent = GroupAscent(
            num_groups, step_size, absent_groups, group_adjustment, group_sizes
        )
        self.group_state = self.ascent.state(self.group_weights)

    def construct(self, images, labels, groups):
        # Pass 1 at θ updates the running statistics.
        logits, losses, gradients = self.differentiate_mean_loss(images, labels)

        # Worst case: raise the weights of the groups by their losses at θ.
        membership = group_membership(groups, self.num_groups)
        group_state = self.ascent(self.group_weights, losses, membership)
        weights = sample_weights(group_state[0], membership)

        # Pass 2 at θ + ε, with the worst case's weights.
        before, perturbed = self.perturb(gradients)
        images = ops.depend(images, perturbed)
        _, perturbed_gradients = self.differentiate(images, labels, weights)
        restored = self.restore(before, after=perturbed_gradients)
        restored += parameters.write(self.group_state, group_state, after=perturbed_gradients)

        # Update: descend the sum of both gradients from θ.
        updated = self.descend(parameters.add(gradients, perturbed_gradients), after=restored)
        return measured(logits, losses, labels, gradients, after=updated)


class AgnosticSharpDROStep(TwoPassStep):
    """Distribution-agnostic SharpDRO: samples are weighted by a score. Groups are not read.

    Args:
        ood_score: which score, see `ood_scores`.
        shared: see `TrainStep`.
    """

    has_scores = True

    def __init__(
        self,
        network: nn.Cell,
        optimizer: nn.Optimizer,
        num_groups: int,
        rho: float,
        is_adaptive: bool,
        ood_score: str,
        **shared,
    ):
        super().__init__(network, optimizer, num_groups, rho, is_adaptive, **shared)
        self.score = score_function(ood_score)
        self.gathers_scores = self.collectives is not None and ood_score in OF_IMAGES
        self.differentiate_scored_loss = self.gradients_of(self.scored_loss)

    def scored_loss(self, images, labels, first_logits, first_losses):
        """(1/B) Σ_i w_i ℓ_i with w the scores in [0, 1], taken as constants; then the scores."""
        logits, losses = self.forward(images, labels)
        scores = self.score(images, first_logits, first_losses, logits)
        if self.gathers_scores:
            scores = self.collectives.gather(scores)
        scores = ops.stop_gradient(scores)
        return (equal_weights(labels) * min_max(scores) * losses).sum(), scores

    def construct(self, images, labels, groups):
        # Pass 1 at θ updates the running statistics.
        logits, losses, gradients = self.differentiate_mean_loss(images, labels)

        # Pass 2 at θ + ε: forward, scores, weights, gradient.
        before, perturbed = self.perturb(gradients)
        images = ops.depend(images, perturbed)
        (_, scores), perturbed_gradients = self.differentiate_scored_loss(
            images, labels, logits, losses
        )
        restored = self.restore(before, after=perturbed_gradients)

        # Update: descend the sum of both gradients from θ.
        updated = self.descend(parameters.add(gradients, perturbed_gradients), after=restored)
        return measured(logits, losses, labels, gradients, after=updated) + (scores,)
