"""SharpDRO (Huang et al., CVPR 2023): worst-case sharpness minimisation, in both settings."""

from mindspore import ops

from sharpdro.methods import parameters
from sharpdro.methods.base import TrainStep, equal_weights, measured
from sharpdro.methods.group_dro import GroupAscentStep
from sharpdro.methods.group_weights import group_membership, sample_weights
from sharpdro.methods.ood_scores import find_score, min_max
from sharpdro.methods.sam import TwoPassStep


class SharpDROStep(GroupAscentStep, TwoPassStep):
    """Distribution-aware SharpDRO; the paper's "distribution" is called a group here.

    Args: as of `GroupAscentStep` and `TwoPassStep`.
    """

    def construct(self, images, labels, groups):
        # Pass 1 at θ, which updates the running statistics.
        logits, losses, gradients = self.differentiate_mean_loss(images, labels)

        # Worst case: raise the weights of the groups by their losses at θ.
        membership = group_membership(groups, self.num_groups)
        group_state = self.ascent(self.group_weights, losses, membership)
        weights = sample_weights(group_state[0], membership)

        # Perturb: θ + ε.
        before, perturbed = self.perturb(gradients)

        # Pass 2 at θ + ε, with the worst case's weights.
        images = ops.depend(images, perturbed)
        _, perturbed_gradients = self.differentiate(images, labels, weights)

        # Restore θ and the running statistics; write the weights of the groups.
        restored = self.restore(before, after=perturbed_gradients)
        restored += parameters.write(self.group_state, group_state, after=perturbed_gradients)

        # Update: descend the sum of both gradients from θ.
        updated = self.descend(parameters.add(gradients, perturbed_gradients), after=restored)
        return measured(logits, losses, labels, gradients, after=updated) + (group_state[0],)


class AgnosticSharpDROStep(TwoPassStep):
    """Distribution-agnostic SharpDRO: samples are weighted by a score. Groups are not read.

    Args:
        ood_score: which score, see `ood_scores`.
        settings: as of `TwoPassStep`.
    """

    outputs = (*TrainStep.outputs, "ood_scores")

    def __init__(self, network, optimizer, num_groups: int, *, ood_score: str, **settings):
        super().__init__(network, optimizer, num_groups, **settings)
        score = find_score(ood_score)
        self.score = score.function
        self.gathers_scores = self.collectives is not None and score.is_of_images
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
        # Pass 1 at θ, which updates the running statistics.
        logits, losses, gradients = self.differentiate_mean_loss(images, labels)

        # Perturb: θ + ε.
        before, perturbed = self.perturb(gradients)

        # Pass 2 at θ + ε; the worst case: weights that rise with the scores.
        images = ops.depend(images, perturbed)
        (_, scores), perturbed_gradients = self.differentiate_scored_loss(
            images, labels, logits, losses
        )

        # Restore θ and the running statistics.
        restored = self.restore(before, after=perturbed_gradients)

        # Update: descend the sum of both gradients from θ.
        updated = self.descend(parameters.add(gradients, perturbed_gradients), after=restored)
        return measured(logits, losses, labels, gradients, after=updated) + (scores,)
