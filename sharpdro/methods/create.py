"""One training step per method, each compiled as a single graph.

Every step is called as `step(images, labels, groups)` with normalised float32 (B, 3, H, W),
int32 (B,) and int32 (B,) (in a distributed run with a part of the images, see `exchange`), and
returns, all measured at θ before the update,

- per-sample loss, float32 (B,),
- whether the prediction was right, float32 (B,) of 0 and 1,
- norm of the gradient over all parameters together, float32 (): of the mean loss, or of the
  method's own objective where that is all that is differentiated (groupdro, irm, vrex),
- with `has_scores` also each sample's out-of-distribution score, float32 (B,).
"""

from mindspore import nn

from sharpdro.methods.base import TrainStep
from sharpdro.methods.erm import ERMStep
from sharpdro.methods.group_dro import GroupDROStep
from sharpdro.methods.irm_vrex import IRMStep, VRExStep
from sharpdro.methods.sam import SAMStep
from sharpdro.methods.sharpdro import AgnosticSharpDROStep, SharpDROStep

# The methods of two stages differ from their last stage's step in the data that it is given.
_STEPS = {
    "sharpdro": SharpDROStep,
    "sharpdro_agnostic": AgnosticSharpDROStep,
    "erm": ERMStep,
    "sam": SAMStep,
    "groupdro": GroupDROStep,
    "irm": IRMStep,
    "vrex": VRExStep,
    "jtt": ERMStep,
    "eiil": GroupDROStep,
}
METHODS = tuple(_STEPS)


def create_train_step(
    method: str,
    network: nn.Cell,
    optimizer: nn.Optimizer,
    num_groups: int,
    distribution_agnostic: bool = False,
    **settings,
) -> TrainStep:
    """The method's training step; `settings` are the keyword arguments of its class.

    `distribution_agnostic` makes `sharpdro` the same as `sharpdro_agnostic`.

    Raises:
        ValueError: unknown method, or one that is never distribution-agnostic.
    """
    variant = f"{method}_agnostic" if distribution_agnostic else method
    if variant not in _STEPS:
        raise ValueError(f"unknown method {variant!r}; choose one of {', '.join(METHODS)}")
    step = _STEPS[variant](network, optimizer, num_groups, **settings)
    return step.set_train()
