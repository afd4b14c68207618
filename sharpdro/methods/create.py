"""One training step per method, each compiled as a single graph.

Every step is called as `step(images, labels, groups)` with normalised float32 (B, 3, H, W),
int32 (B,) and int32 (B,) (in a distributed run with a part of the images, see `collectives`), and
returns a `StepResult`.
"""

import pkgutil

from mindspore import nn

from sharpdro.methods.base import TrainStep
from sharpdro.methods.specs import METHODS, variant


def create_train_step(
    method: str,
    network: nn.Cell,
    optimizer: nn.Optimizer,
    num_groups: int,
    distribution_agnostic: bool = False,
    **settings,
) -> TrainStep:
    """The method's training step.

    Args:
        method: key into `specs.METHODS`.
        network: images float32 (B, 3, H, W) to logits (B, C).
        optimizer: of the network's trainable parameters, as `create_sgd` makes it.
        num_groups: number of groups G; groups are 0 … G−1.
        distribution_agnostic: makes `sharpdro` the same as `sharpdro_agnostic`.
        settings: those of the method's spec that are not to be the defaults, and of `TrainStep`.

    Raises:
        ValueError: unknown method, or one that is never distribution-agnostic.
    """
    name = variant(method, distribution_agnostic)
    if name not in METHODS:
        raise ValueError(f"unknown method {name!r}; choose one of {', '.join(METHODS)}")
    spec = METHODS[name]
    settings = {**spec.step_settings, "reads_groups": spec.reads_groups, **settings}
    step = pkgutil.resolve_name(spec.step)
    return step(network, optimizer, num_groups, **settings).set_train()
