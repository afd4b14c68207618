"""The rows of a run's tables for a function of the user's own, which tells a tracker."""

import traceback
from collections.abc import Callable

from sharpdro import own_code
from sharpdro.errors import RunError

Rows = list[dict[str, str]]
# Called as function(name, settings, table, rows).
OnRows = Callable[[str, dict, str, Rows], object]


def load_function(place: str) -> OnRows:
    """The function that --on_rows names.

    Args:
        place: "package.module:name".

    Raises:
        RunError: it is not there, or is none.
    """
    function = own_code.load(place, "--on_rows")
    if not callable(function):
        raise RunError(f"--on_rows {place} is no function but of type {type(function).__name__}")
    return function


class Tracker:
    """Hands on the rows of one training's tables. A function that fails is not called again.

    Args:
        place: of the function.
        name: of the run, with a first stage's folder behind it.
        settings: of the run, as settings.json has them.
        say: called with a text if the function fails.
    """

    def __init__(self, place: str, name: str, settings: dict, say: Callable[[str], object]):
        self._place, self._name, self._settings, self._say = place, name, settings, say
        self._function: OnRows | None = load_function(place)

    def __call__(self, table: str, rows: Rows) -> None:
        """Hand on rows.

        Args:
            table: train.csv, val.csv or test.csv.
            rows: {column: cell} as in the file: those that it begins with, or that are added.
        """
        if self._function is None or not rows:
            return
        try:
            self._function(self._name, dict(self._settings), table, [*map(dict, rows)])
        except Exception as error:
            self._function = None
            last = traceback.extract_tb(error.__traceback__)[-1]
            self._say(
                f"--on_rows {self._place} raises {own_code.describe(error)} ({last.filename}, line "
                f"{last.lineno}): the run goes on without it"
            )
