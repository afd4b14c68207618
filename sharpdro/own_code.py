"""Classes and functions of the user's own, which are named as "package.module:Name"."""

import importlib
import os
import re
import sys

from sharpdro.errors import RunError

_PLACE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)


class MissingError(RunError):
    """A module of the user's own, or a name in it, is not there or cannot be imported."""


def is_place(text: str) -> bool:
    """Whether a text has the form "package.module:Name"."""
    return _PLACE.fullmatch(text) is not None


def load(place: str, flag: str):
    """What is called Name in a module that is installed or lies in the current folder.

    Args:
        place: "package.module:Name".
        flag: which names it, for messages.

    Raises:
        MissingError: there is no such module or name, or the module fails when it is imported.
    """
    module_name, name = place.split(":")
    if not {"", os.getcwd()} & {*sys.path}:
        sys.path.append(os.getcwd())  # behind what is installed, which no file here may replace
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise MissingError(
                f"{flag} {place}: {module_name} cannot be imported: {error}"
            ) from error
        raise MissingError(
            f"{flag} {place}: there is no module {error.name} in {os.getcwd()} nor among the "
            f"installed ones: start this where the module lies, install it, or add its folder to "
            f"PYTHONPATH"
        ) from error
    except (Exception, SystemExit) as error:
        raise MissingError(
            f"{flag} {place}: {module_name} cannot be imported: {describe(error)}"
        ) from error
    if not hasattr(module, name):
        raise MissingError(
            f"{flag} {place}: {module_name} ({_file_of(module)}) has no {name}: "
            f"correct one of the two names"
        )
    return getattr(module, name)


def _file_of(module) -> str:
    return getattr(module, "__file__", None) or "no file"


def describe(error: BaseException) -> str:
    """The kind of an error and the first line of what it says."""
    text = next(filter(None, map(str.strip, str(error).splitlines())), "")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
