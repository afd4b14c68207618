"""Sharpness-aware minimisation, and what every method of two passes shares."""

from mindspore import nn, ops

from sharpdro.methods import parameters
from sharpdro.methods.base import TrainStep, measured
from sharpdro.methods.batch_norm import running_statistics
from sharpdro.methods.perturbation import perturbation


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
        rho: float,
        is_adaptive: bool,
        **shared,
    ):
        super().__init__(network, optimizer, num_groups, **shared)
        self.rho = rho
        self.is_adaptive = is_adaptive
        self.running_statistics = running_statistics(network)

    def perturb(self, gradients):
        """θ ← θ + ε, a step of length ρ along the gradient; returns what to restore, a token."""
        theta = parameters.read(self.parameters, after=gradients)
        statistics = parameters.read(self.running_statistics, after=gradients)
        epsilon = perturbation(theta, gradients, self.rho, self.is_adaptive)
        perturbed = parameters.write(
            self.parameters, parameters.add(theta, epsilon), after=statistics
        )
        return (theta, statistics), perturbed

    def restore(self, before, after):
        """Put back the parameters, and the running statistics as pass 1 left them."""
        theta, statistics = before
        return parameters.write(self.parameters, theta, after=after) + parameters.write(
            self.running_statistics, statistics, after=after
        )


class SAMStep(TwoPassStep):
    """Sharpness-aware minimisation (Foret et al., ICLR 2021, algorithm 1). Groups are not read."""

    def construct(self, images, labels, groups):
        # Pass 1 at θ, which updates the running statistics.
        logits, losses, gradients = self.differentiate_mean_loss(images, labels)

        # Perturb: θ + ε.
        before, perturbed = self.perturb(gradients)

        # Pass 2 at θ + ε.
        images = ops.depend(images, perturbed)
        _, _, perturbed_gradients = self.differentiate_mean_loss(images, labels)

        # Restore θ and the running statistics.
        restored = self.restore(before, after=perturbed_gradients)

        # Update: descend the gradient at θ + ε, from θ.
        updated = self.descend(perturbed_gradients, after=restored)
        return measured(logits, losses, labels, gradients, after=updated)
