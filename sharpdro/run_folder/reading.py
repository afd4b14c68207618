"""Reading files of runs, which may come from elsewhere and hold anything."""

import contextlib
import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from corruptions.storage.files import check_file
from sharpdro.errors import RunError

T = TypeVar("T")
RESTORE = "restore it, or choose another --desc"
# What goes wrong where a file does not hold what it should.
BROKEN = (
    *(ValueError, TypeError, LookupError, AttributeError, ArithmeticError),
    *(RecursionError, csv.Error, OSError),
)


@contextlib.contextmanager
def refusing(path: Path, remedy: str) -> Iterator[None]:
    """Say which file cannot be read, why and what to do, where the block finds it broken.

    Raises:
        RunError: it is.
    """
    try:
        check_file(path)
        yield
    except BROKEN as error:
        raise RunError(f"{path} cannot be read ({reason_of(error)}): {remedy}") from error


def reason_of(error: Exception) -> str:
    """The first line of what an error says."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, LookupError):
        return repr(error)
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def parse_json(path: Path) -> dict | list | str | float | bool | None:
    """The content of a JSON file, of which all can be written again.

    Raises:
        ValueError, RecursionError: it is no JSON, too deep, names something twice, or has halves of
            characters.
        OSError: it cannot be read, or is no file.
    """
    check_file(path)
    content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_unique)
    json.dumps(content, ensure_ascii=False).encode("utf-8", "surrogateescape")
    return content


def _unique(pairs: list[tuple[str, T]]) -> dict[str, T]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"it names {twice!r:.80} twice")
    return content


def read_json(path: Path, convert: Callable[[dict], T], remedy: str) -> T:
    """What `convert` makes of a JSON file's content; it fails where that is not as it should be.

    Raises:
        RunError: see `refusing`.
    """
    with refusing(path, remedy):
        return convert(parse_json(path))


def read_rows(
    path: Path, convert: Callable[[dict[str, str]], T], remedy: str | None = None
) -> list[T]:
    """What `convert` makes of each whole line {column: cell} of a run's CSV table.

    Args:
        path: the table.
        convert: fails where a line is not as it should be.
        remedy: what to do where the table cannot be read.

    Raises:
        RunError: see `refusing`.
    """
    remedy = remedy or f"restore it, or choose another --desc than that of {path.parent}"
    with refusing(path, remedy):
        return parse_rows(path, convert)


def parse_rows(path: Path, convert: Callable[[dict[str, str]], T]) -> list[T]:
    """As `read_rows`, for callers that add the name of the file to the error.

    Raises:
        ValueError: it is no such table; names the line, or the column that there is not.
        OSError: it cannot be read, or is no file.
    """
    check_file(path)
    rows = []
    with open(path, encoding="utf-8", newline="") as file:
        lines = csv.reader(line for line in file if line.endswith("\n"))
        heads = next(lines, [])
        for number, cells in enumerate(lines, 2):
            if len(cells) != len(heads):
                raise ValueError(f"line {number}: {len(cells)} cells instead of {len(heads)}")
            try:
                rows.append(convert(dict(zip(heads, cells))))
            except KeyError as error:
                raise ValueError(f"there is no column {error.args[0]}") from error
            except BROKEN as error:
                raise ValueError(f"line {number}: {reason_of(error)}") from error
    return rows
