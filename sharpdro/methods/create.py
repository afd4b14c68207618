"""One training step per method, each compiled as a single graph.

Every step is called as `step(images, labels, groups)` with normalised float32 (B, 3, H, W),
int32 (B,) and int32 (B,) (in a distributed run with a part of the images, see `collectives`), and
returns a `StepResult`.
"""

import pkgutil

from mindspore import nn

from sharpdro.device import prepare_kernels
from sharpdro.errors import RunError
from sharpdro.methods.base import TrainStep
from sharpdro.methods.own import method_spec
from sharpdro.methods.specs import variant
from sharpdro.own_code import describe


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
        method: key into `specs.METHODS`, or "package.module:Class" of one of your own.
        network: images float32 (B, 3, H, W) to logits (B, C).
        optimizer: of the network's trainable parameters, as `create_sgd` makes it.
        num_groups: number of groups G; groups are 0 … G−1.
        distribution_agnostic: makes `sharpdro` the same as `sharpdro_agnostic`.
        settings: those of the method's spec that are not to be the defaults, and of `TrainStep`.

    Raises:
        ValueError: unknown method, or one that is never distribution-agnostic.
        RunError: a method of your own that is not there, or that cannot be made.
    """
    prepare_kernels()  # for training loops other than this program's
    name = variant(method, distribution_agnostic)
    spec = method_spec(name)
    settings = {**spec.step_settings, "reads_groups": spec.reads_groups, **settings}
    step = pkgutil.resolve_name(spec.step)
    try:
        return step(network, optimizer, num_groups, **settings).set_train()
    except Exception as error:
        if not spec.is_own:
            raise
        raise RunError(f"--method {name}: making it raises {describe(error)}") from error
