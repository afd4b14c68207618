"""Methods of the user's own: a training step that lies elsewhere, by its place."""

import argparse
import shlex
from dataclasses import replace

from corruptions.command_line import hint_for
from sharpdro import own_code
from sharpdro.errors import RunError
from sharpdro.methods.specs import METHODS, MethodSpec, Setting

_SWITCH = {"true": True, "false": False}


def method_spec(method: str) -> MethodSpec:
    """What a method is, and which settings it has.

    Args:
        method: key into METHODS, or "package.module:Class" of a subclass of `TrainStep`, which may
            have its own description as the attribute `spec`.

    Raises:
        ValueError: there is no such method.
        RunError: the class is not there, or no training step.
    """
    if method in METHODS:
        return METHODS[method]
    if not own_code.is_place(method):
        raise ValueError(f"unknown method {method!r}; choose one of {', '.join(METHODS)}")
    from sharpdro.methods.base import TrainStep  # MindSpore is for whoever needs it

    step = own_code.load(method, "--method")
    if not (isinstance(step, type) and issubclass(step, TrainStep)):
        raise RunError(f"--method {method} is no subclass of sharpdro.methods.base.TrainStep")
    spec = getattr(step, "spec", None) or MethodSpec(step.__name__, "", method)
    if not isinstance(spec, MethodSpec):
        raise RunError(f"--method {method}: its spec is no sharpdro.methods.specs.MethodSpec")
    if spec.stage_flags or spec.first_stage or spec.warmup or spec.stage_epochs:
        raise RunError(
            f"--method {method}: stages and warm-ups are for methods in sharpdro/methods/specs.py"
        )
    return replace(spec, step=method, is_own=True)


def read_settings(method: str, text: str) -> dict:
    """The settings of a method of the user's own.

    Args:
        method: its place.
        text: "name=value name=value …", of settings of its spec.

    Raises:
        RunError: a setting is none of the method's, or its value none that it takes.
    """
    flags = {setting.name: setting for setting in method_spec(method).step_flags}
    settings = {}
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise RunError(f"--method_settings {text!r} cannot be read: {error}") from error
    for word in words:
        name, equals, value = word.partition("=")
        if name not in flags:
            hint = hint_for(name, flags, f"it has {', '.join(flags) or 'none'}")
            raise RunError(f"--method_settings: {method} has no setting {name!r}: {hint}")
        if not equals:
            raise RunError(f"--method_settings: {name} has no value: give {name}=VALUE")
        settings[name] = _value(flags[name], value)
    return settings


def _value(setting: Setting, text: str):
    try:
        value = _SWITCH[text] if setting.parse is None else setting.parse(text)
    except (ValueError, KeyError, argparse.ArgumentTypeError) as error:
        reason = "give true or false" if setting.parse is None else error
        raise RunError(f"--method_settings {setting.name}={text}: {reason}") from error
    if setting.choices and value not in setting.choices:
        choices = ", ".join(map(str, setting.choices))
        raise RunError(f"--method_settings {setting.name}={text}: choose from {choices}")
    return value
