"""One training step per method, each compiled as a single graph.

Every step is called as `step(images, labels, groups)` with normalised float32 (B, 3, H, W),
int32 (B,) and int32 (B,), and returns, all measured at θ before the update,

- per-sample loss, float32 (B,),
- whether the prediction was right, float32 (B,) of 0 and 1,
- norm of the mean loss's gradient over all parameters together, float32 ().
"""

import mindspore as ms
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from sharpdro import state
from sharpdro.group_weights import ascend, group_means, group_membership, sample_weights
from sharpdro.perturbation import global_norm, perturbation


class TrainStep(nn.TrainOneStepCell):
    """What the methods share: the differentiated loss, the group weights, the optimizer.

    Args:
        network: images to logits (B, C).
        optimizer: updates the network's trainable parameters from a tuple of gradients.
        num_groups: number of groups G; groups are 0 … G−1.
    """

    def __init__(self, network: nn.Cell, optimizer: nn.Optimizer, num_groups: int):
        super().__init__(network, optimizer)
        self.num_groups = num_groups
        self.parameters = ParameterTuple(optimizer.parameters)
        self.group_weights = Parameter(
            Tensor([1 / num_groups] * num_groups, ms.float32),
            name="group_weights",
            requires_grad=False,
        )
        self.differentiate = ms.value_and_grad(
            self.weighted_loss, None, self.parameters, has_aux=True
        )

    def weighted_loss(self, images, labels, weights):
        """Σ_i w_i ℓ_i with cross-entropy ℓ, then ℓ (B,) and the logits."""
        logits = self.network(images)
        losses = ops.cross_entropy(logits, labels, reduction="none")
        return (weights * losses).sum(), losses, logits

    def mean_loss_gradients(self, images, labels):
        """Per-sample losses, correctness, and ∇ (1/B) Σ_i ℓ_i."""
        batch_size = labels.shape[0]
        weights = ops.full((batch_size,), 1 / batch_size, dtype=ms.float32)
        (_, losses, logits), gradients = self.differentiate(images, labels, weights)
        correct = (logits.argmax(1).astype("int32") == labels).astype("float32")
        return losses, correct, gradients


class ERMStep(TrainStep):
    """Empirical risk minimisation: descend the mean loss. Groups are not read."""

    uses_group_weights = False

    def construct(self, images, labels, groups):
        losses, correct, gradients = self.mean_loss_gradients(images, labels)
        updated = self.optimizer(gradients)
        return ops.depend((losses, correct, global_norm(gradients)), updated)


class SharpDROStep(TrainStep):
    """Distribution-aware SharpDRO (Huang et al., CVPR 2023): worst-case sharpness minimisation.

    Args:
        rho: radius ρ of the perturbation.
        step_size: step size η of the group weights' ascent.
        is_adaptive: scale the perturbation by the parameters' magnitudes.
    """

    uses_group_weights = True

    def __init__(
        self,
        network: nn.Cell,
        optimizer: nn.Optimizer,
        num_groups: int,
        rho: float = 0.05,
        step_size: float = 0.01,
        is_adaptive: bool = False,
    ):
        super().__init__(network, optimizer, num_groups)
        self.rho = rho
        self.step_size = step_size
        self.is_adaptive = is_adaptive
        self.running_statistics = running_statistics(network)

    def construct(self, images, labels, groups):
        # Pass 1 at θ updates the running statistics.
        losses, correct, gradients = self.mean_loss_gradients(images, labels)

        # Perturb: θ + ε, a step of length ρ along the normalised gradient.
        theta = state.read(self.parameters, after=gradients)
        statistics = state.read(self.running_statistics, after=gradients)
        epsilon = perturbation(theta, gradients, self.rho, self.is_adaptive)
        perturbed = state.write(self.parameters, state.add(theta, epsilon), after=statistics)

        # Worst case: raise the weights of the groups by their losses at θ.
        membership = group_membership(groups, self.num_groups)
        group_weights = ascend(self.group_weights, group_means(losses, membership), self.step_size)
        weights = sample_weights(group_weights, membership)

        # Pass 2 at θ + ε leaves the running statistics as pass 1 left them.
        images = ops.depend(images, perturbed)
        _, perturbed_gradients = self.differentiate(images, labels, weights)
        restored = (
            state.write(self.parameters, theta, after=perturbed_gradients)
            + state.write(self.running_statistics, statistics, after=perturbed_gradients)
            + state.write((self.group_weights,), (group_weights,), after=perturbed_gradients)
        )

        # Update: descend the sum of both gradients from θ.
        descent = ops.depend(state.add(gradients, perturbed_gradients), restored)
        updated = self.optimizer(descent)
        return ops.depend((losses, correct, global_norm(gradients)), updated)


def running_statistics(network):
    """The batch norms' running means and variances, in the network's order."""
    return ParameterTuple(
        [p for p in network.get_parameters() if p.name.endswith(("moving_mean", "moving_variance"))]
    )


_STEPS = {"sharpdro": SharpDROStep, "erm": ERMStep}
METHODS = tuple(_STEPS)


def create_train_step(
    method: str, network: nn.Cell, optimizer: nn.Optimizer, num_groups: int, **settings
) -> TrainStep:
    """The method's training step; `settings` are the keyword arguments of its class.

    Raises:
        ValueError: unknown method.
    """
    if method not in _STEPS:
        raise ValueError(f"unknown method {method!r}; choose one of {', '.join(METHODS)}")
    step = _STEPS[method](network, optimizer, num_groups, **settings)
    return step.set_train()
