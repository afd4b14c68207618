"""Empirical risk minimisation."""

from sharpdro.methods.base import TrainStep, measured


class ERMStep(TrainStep):
    """Descend the mean loss. Groups are not read."""

    def construct(self, images, labels, groups):
        logits, losses, gradients = self.differentiate_mean_loss(images, labels)
        updated = self.descend(gradients)
        return measured(logits, losses, labels, gradients, after=updated)
