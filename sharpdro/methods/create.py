"""One training step per method, in graph mode each compiled as a single graph.

Every step is called as `step(images, labels, groups)` with normalised float32 (B, 3, H, W),
int32 (B,) and int32 (B,) (in a distributed run with a part of the images, see `collectives`), and
returns a `StepResult`.
"""

import argparse
import inspect
import numbers
import pkgutil

import numpy as np
from mindspore import nn

from sharpdro.device import prepare_kernels
from sharpdro.errors import RunError
from sharpdro.methods.base import TrainStep
from sharpdro.methods.own import method_spec
from sharpdro.methods.specs import MethodSpec, Setting, variant
from sharpdro.own_code import describe

# What every step takes besides its method's settings.
_OF_ALL = inspect.signature(TrainStep.__init__).parameters.keys()


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
        method: key into `specs.METHODS`, or "package.module:Class" of one of your own. `jtt` and
            `eiil` are those of their second stage alone: ERM's, Group DRO's on the given groups.
        network: images float32 (B, 3, H, W) to logits (B, C).
        optimizer: of the network's trainable parameters, as `create_sgd` makes it.
        num_groups: number of groups G; groups are 0 … G−1.
        distribution_agnostic: makes `sharpdro` the same as `sharpdro_agnostic`.
        settings: those of the method's spec that are not to be the defaults, and of `TrainStep`.

    Raises:
        ValueError: unknown method or setting, a value that it does not take, or a method that is
            never distribution-agnostic.
        RunError: a method of your own that is not there, or that cannot be made.
    """
    prepare_kernels()  # for training loops other than this program's
    name = variant(method, distribution_agnostic)
    spec = method_spec(name)
    _check(name, spec, num_groups, settings)
    settings = {**spec.step_settings, "reads_groups": spec.reads_groups, **settings}
    step = pkgutil.resolve_name(spec.step)
    try:
        return step(network, optimizer, num_groups, **settings).set_train()
    except Exception as error:
        if not spec.is_own:
            raise
        raise RunError(f"--method {name}: making it raises {describe(error)}") from error


def _check(method: str, spec: MethodSpec, num_groups: int, settings: dict) -> None:
    """Check settings as the command line does.

    Raises:
        ValueError: one is unknown, or its value is none that it takes.
    """
    if not num_groups >= 1:
        raise ValueError(f"num_groups is {num_groups}: give the number of groups, at least 1")
    known = {setting.name: setting for setting in spec.step_flags}
    unknown = sorted(settings.keys() - known.keys() - _OF_ALL)
    if unknown and not spec.is_own:
        names = ", ".join(known) or "none of its own"
        raise ValueError(f"{method} has no setting {unknown[0]!r}; it has {names}")
    for name in known.keys() & settings.keys():
        # What the setting of one's own method makes of a text need not be text or number.
        if not spec.is_own or isinstance(settings[name], numbers.Real):
            _check_value(known[name], settings[name])
    if settings.get("clip_grad") is not None and not settings["clip_grad"] > 0:
        raise ValueError(f"clip_grad is {settings['clip_grad']}: give a positive number, or None")
    if settings.get("group_sizes") is not None:
        sizes = np.asarray(settings["group_sizes"])
        if sizes.shape != (num_groups,) or sizes.min() < 0 or sizes.max() <= 0:
            raise ValueError(
                f"group_sizes are {sizes.tolist()}: give the number of training images of each of "
                f"the {num_groups} groups"
            )


def _check_value(setting: Setting, value) -> None:
    if setting.parse is None:
        if not isinstance(value, (bool, np.bool_)):
            raise ValueError(f"{setting.name} is {value!r}: give True or False")
        return
    is_text = isinstance(value, str)
    try:
        if is_text != (setting.parse is str) or isinstance(value, (bool, np.bool_)):
            raise argparse.ArgumentTypeError(f"{value!r} is of the wrong type")
        setting.parse(str(value))
    except argparse.ArgumentTypeError as error:
        raise ValueError(f"{setting.name}: {error}") from error
    if setting.choices and value not in setting.choices:
        choices = ", ".join(map(str, setting.choices))
        raise ValueError(f"{setting.name} is {value!r}: choose one of {choices}")
