"""The steps of two passes: the gradient at θ, and one at θ + ε, where the loss is higher."""

from mindspore import nn, ops

from sharpdro import state
from sharpdro.batch_norm import running_statistics
from sharpdro.group_weights import GroupAscent, group_membership, sample_weights
from sharpdro.perturbation import perturbation
from sharpdro.train_step.base import TrainStep, equal_weights, measured
from sharpdro.worst_case import min_max, score_function


class TwoPassStep(TrainStep):
    """Perturbs and restores the parameters.

    Args:
        rho: radius ρ of the perturbation.
        is_adaptive: scale the perturbation by the parameters' magnitudes.
        shared: see `TrainStep`.
    """

    def __init__(
        self,
        network: nn.Cell,
        optimizer: nn.Optimizer,
        num_groups: int,
        rho: float = 0.05,
        is_adaptive: bool = False,
        **shared,
    ):
        super().__init__(network, optimizer, num_groups, **shared)
        self.rho = rho
        self.is_adaptive = is_adaptive
        self.running_statistics = running_statistics(network)

    def perturb(self, gradients):
        """θ ← θ + ε, a step of length ρ along the gradient; returns what to restore, a token."""
        theta = state.read(self.parameters, after=gradients)
        statistics = state.read(self.running_statistics, after=gradients)
        epsilon = perturbation(theta, gradients, self.rho, self.is_adaptive)
        perturbed = state.write(self.parameters, state.add(theta, epsilon), after=statistics)
        return (theta, statistics), perturbed

    def restore(self, before, after):
        """Put back the parameters, and the running statistics as pass 1 left them."""
        theta, statistics = before
        return state.write(self.parameters, theta, after=after) + state.write(
            self.running_statistics, statistics, after=after
        )


class SAMStep(TwoPassStep):
    """Sharpness-aware minimisation (Foret et al., ICLR 2021, algorithm 1). Groups are not read."""

    def construct(self, images, labels, groups):
        # Pass 1 at θ updates the running statistics.
        logits, losses, gradients = self.differentiate_mean_loss(images, labels)

        # Pass 2 at θ + ε.
        before, perturbed = self.perturb(gradients)
        images = ops.depend(images, perturbed)
        _, _, perturbed_gradients = self.differentiate_mean_loss(images, labels)
        restored = self.restore(before, after=perturbed_gradients)

        # Update: descend the gradient at θ + ε, from θ.
        updated = self.descend(perturbed_gradients, after=restored)
        return measured(logits, losses, labels, gradients, after=updated)


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
        rho: float = 0.05,
        is_adaptive: bool = False,
        step_size: float = 0.01,
        absent_groups: str = "zero",
        group_adjustment: float = 0.0,
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
        restored += state.write(self.group_state, group_state, after=perturbed_gradients)

        # Update: descend the sum of both gradients from θ.
        updated = self.descend(state.add(gradients, perturbed_gradients), after=restored)
        return measured(logits, losses, labels, gradients, after=updated)


class AgnosticSharpDROStep(TwoPassStep):
    """Distribution-agnostic SharpDRO: samples are weighted by a score. Groups are not read.

    Args:
        ood_score: which score, see `worst_case`.
        shared: see `TrainStep`.
    """

    has_scores = True

    def __init__(
        self,
        network: nn.Cell,
        optimizer: nn.Optimizer,
        num_groups: int,
        rho: float = 0.05,
        is_adaptive: bool = False,
        ood_score: str = "confidence_drop",
        **shared,
    ):
        super().__init__(network, optimizer, num_groups, rho, is_adaptive, **shared)
        self.score = score_function(ood_score)
        self.differentiate_scored_loss = self.gradients_of(self.scored_loss)

    def scored_loss(self, images, labels, first_logits, first_losses):
        """(1/B) Σ_i w_i ℓ_i with w the scores in [0, 1], taken as constants; then the scores."""
        logits, losses = self.forward(images, labels)
        scores = ops.stop_gradient(self.score(first_logits, first_losses, logits))
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
        updated = self.descend(state.add(gradients, perturbed_gradients), after=restored)
        return measured(logits, losses, labels, gradients, after=updated) + (scores,)
