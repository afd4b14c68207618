"""What a user can mend about a run."""

import contextlib
import csv
from collections.abc import Iterator
from pathlib import Path

# What Python's readers of JSON and CSV, and what is done with their results, may raise about a
# file that holds something else: wrong bytes, missing columns, numbers that are none, lists nested
# too deeply.
_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError)


class RunError(Exception):
    """A run cannot be started or continued; the message names the flag or file and the fix."""


@contextlib.contextmanager
def reading(path: Path, advice: str) -> Iterator[None]:
    """Let what goes wrong in the block be said in one line about the file that is read there.

    Args:
        path: the file.
        advice: what to do about it.

    Raises:
        RunError: the file cannot be read, or holds something else than it should.
    """
    try:
        yield
    except (OSError, csv.Error, *_UNREADABLE) as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())[:200]
        kind = type(error).__name__
        raise RunError(f"{path} cannot be read ({kind}: {reason}): {advice}") from error
