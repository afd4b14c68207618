"""Settings that a checkpoint holds: could they have been given as flags?

Names of folders are made of them, and sizes of networks.
"""

import argparse
import os

from corruptions import CORRUPTIONS, MAX_SEVERITY
from dataset.specs import DATASETS
from models import MODELS
from sharpdro.flag_types import description
from sharpdro.methods.specs import METHODS
from sharpdro.own_code import is_place

_CHOICES = {
    "dataset": (*DATASETS,),
    "corruption": CORRUPTIONS,
    "method": (*METHODS,),
    "distribution_agnostic": (False, True),
    "model": MODELS,
    "num_severity": (*range(1, MAX_SEVERITY + 1),),
}
_LOWEST = {"seed": 0, "num_test": 0, "eval_batch_size": 1, "depth": 10, "widen_factor": 1}
_NONE_ALLOWED = ("depth", "widen_factor")
_MAY_BE_OWN = ("model", "method")


def upgraded(settings: dict) -> dict:
    """Settings in today's words: a schedule was once only on or off."""
    words = {True: "step", False: "none"}
    if type(settings.get("scheduler")) is bool:
        return settings | {"scheduler": words[settings["scheduler"]]}
    return settings


def check_settings(settings: dict) -> None:
    """See that settings are possible ones; any may be missing, as earlier versions had fewer.

    Raises:
        ValueError: one is not; names it.
    """
    if type(settings) is not dict:
        raise ValueError("its settings are no table of settings")
    for name in (*_CHOICES, *_LOWEST, "desc"):
        if name in settings and not _fits(name, settings[name]):
            raise ValueError(f"{name} is {settings[name]!r:.80}")


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
