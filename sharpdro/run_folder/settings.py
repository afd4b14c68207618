"""Settings that a checkpoint holds: could they have been given as flags?

Names of folders are made of them, and sizes of networks.
"""

import argparse
import os
import re

from corruptions import CORRUPTIONS, MAX_SEVERITY
from dataset.specs import DATASETS, MAX_SIDE, MIN_SIDE, OWN
from models import MODELS
from sharpdro.flag_types import description
from sharpdro.methods.specs import METHODS
from sharpdro.own_code import is_place

_CHOICES = {
    "dataset": (*DATASETS, *OWN),
    "corruption": CORRUPTIONS,
    "method": (*METHODS,),
    "distribution_agnostic": (False, True),
    "model": MODELS,
    "num_severity": (*range(1, MAX_SEVERITY + 1),),
}
_LOWEST = {"seed": 0, "num_test": 0, "eval_batch_size": 1, "depth": 10, "widen_factor": 1}
_FINGERPRINT = "[0-9a-f]{8}-[0-9a-f]{8}"
_NONE_ALLOWED = ("depth", "widen_factor")
_MAY_BE_OWN = ("model", "method")
# Where the names of these are registered, of which another copy of the program may have further
# ones. A checkpoint's network needs the first two; the others are named with it.
_REGISTERED = {
    "dataset": "dataset/specs.py",
    "model": "models/__init__.py",
    "corruption": "corruptions/parameters.py",
    "method": "sharpdro/methods/specs.py",
}
_NEEDED = ("dataset", "model")
_PLAIN = re.compile(r"[A-Za-z_]\w{0,79}", re.ASCII)


class NotHereError(ValueError):
    """A dataset, network, corruption or method that this copy of the program does not have."""


def not_here(name: str, value: str) -> NotHereError:
    """What to say of a setting that would be possible with another copy of the program.

    Args:
        name: dataset, model, corruption or method.
        value: its name.
    """
    word = "network" if name == "model" else name
    return NotHereError(
        f"has the {word} {value!r}, which is not registered here: use the copy of this program "
        f"that it was trained with, or register the {word} in {_REGISTERED[name]}"
    )


def may_be_registered(name: str, value) -> bool:
    """Whether a setting could be one that another copy of the program knows."""
    return name in _REGISTERED and type(value) is str and _PLAIN.fullmatch(value) is not None


def upgraded(settings: dict) -> dict:
    """Settings in today's words: a schedule was once only on or off."""
    words = {True: "step", False: "none"}
    if type(settings.get("scheduler")) is bool:
        return settings | {"scheduler": words[settings["scheduler"]]}
    return settings


def check_settings(settings: dict) -> None:
    """Check that settings are possible ones; any may be missing, as earlier versions had fewer.

    Raises:
        NotHereError: the dataset or network is another copy's.
        ValueError: one is not possible; names it.
    """
    if type(settings) is not dict:
        raise ValueError("its settings are no table of settings")
    for name in (*_CHOICES, *_LOWEST, "desc"):
        if name not in settings or _fits(name, settings[name]):
            continue
        if not may_be_registered(name, settings[name]):
            raise ValueError(f"{name} is {settings[name]!r:.80}")
        if name in _NEEDED:
            raise not_here(name, settings[name])
    if settings.get("dataset") in OWN:
        _check_own_data(settings)


def _check_own_data(settings: dict) -> None:
    """See that what a run has found of the user's own data is possible."""
    side, names = settings.get("side"), settings.get("class_names")
    if type(side) is not int or not MIN_SIDE <= side <= MAX_SIDE:
        raise ValueError(f"side is {side!r:.80}")
    if type(names) is not list or not all(_is_class_name(name) for name in names):
        raise ValueError(f"class_names is {names!r:.80}")
    if len(names) < 2 or len(set(names)) < len(names):
        raise ValueError(f"class_names is {names!r:.80}")
    mark = settings.get("fingerprint")
    if mark is not None and not (type(mark) is str and re.fullmatch(_FINGERPRINT, mark)):
        raise ValueError(f"fingerprint is {mark!r:.80}")


def _is_class_name(name) -> bool:
    return type(name) is str and name.isprintable() and "/" not in name and name != ""


def _fits(name: str, value) -> bool:
    if name == "desc":
        return type(value) is str and _is_description(value)
    if name in _MAY_BE_OWN and type(value) is str and is_place(value):
        return True
    if name in _CHOICES:
        return any(type(value) is type(known) and value == known for known in _CHOICES[name])
    if value is None:
        return name in _NONE_ALLOWED
    return type(value) is int and _LOWEST[name] <= value < 2**32


def _is_description(text: str) -> bool:
    try:
        return bool(os.fsencode(description(text)))
    except (argparse.ArgumentTypeError, UnicodeEncodeError):
        return False
