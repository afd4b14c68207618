"""What the programs of this package share: `generate` and `contact_sheet`."""

import argparse
import difflib
import sys
from collections.abc import Iterable
from pathlib import Path

from corruptions import CORRUPTIONS, EXTRA, STANDARD
from corruptions.frost_photographs import PUBLISHED

try:
    from dataset.specs import DATASETS
except ModuleNotFoundError as error:
    if error.name != "dataset":
        raise
    DATASETS = {}  # corruptions/ is used on its own

__all__ = [
    *("DATASETS", "FROST_DIR_HELP", "SETS"),
    *("Parser", "check_frost_dir", "count", "expand"),
    *("hint_for", "invalid_choice", "one_line", "printable", "read_clean", "readable"),
]

FROST_DIR_HELP = (
    f"folder with {', '.join(PUBLISHED)}, the photographs of the published frost or others; "
    f"otherwise frost is drawn"
)
SETS = {"all": CORRUPTIONS, "standard": STANDARD, "extra": EXTRA}


def read_clean(spec, data_dir: Path, num_workers: int, splits: tuple[str, ...]) -> dict:
    """The clean images and labels of a dataset's splits, see `dataset.prepare_dataset`."""
    from dataset.prepare_dataset import read_clean

    return read_clean(spec, data_dir, num_workers, show_progress=True, report=print, splits=splits)


def readable(error: Exception) -> str:
    """An error's text in one line; for those of the system the file and what is wrong with it.

    What is quoted from files, and their names, may hold line breaks and worse for a terminal.
    """
    text = str(error)
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        text = f"{error.filename}: {error.strerror}"
    return one_line(text)


def one_line(text: str) -> str:
    """The text with backslashes for what cannot be printed."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def printable(text: str) -> str:
    """The text for a terminal, its lines as they are; what is quoted in it may hold anything."""
    return "\n".join(map(one_line, text.split("\n")))


_LIKE = 0.65  # from which ratio of difflib on a name may be meant


def hint_for(name: str, known: Iterable[str], otherwise: str) -> str:
    """What to say of a name that is unknown: the known one that it is like, or something else."""
    like = _like(name, known)
    return otherwise if like is None else f"did you mean {like}?"


def _like(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like another; capitals, and - for _, make no difference."""
    by_plain = {_plain(each): each for each in known}
    close = difflib.get_close_matches(_plain(name), by_plain, 1, _LIKE)
    return by_plain[close[0]] if close else None


def _plain(name):
    return name.lower().replace("-", "_").strip("_")  # all flags have dashes in front in common


class Parser(argparse.ArgumentParser):
    """Answers bad usage in one line, with the flag or value that was probably meant.

    `other_flags` are flags that are not the parser's, but may be meant, and what to give then.
    """

    def __init__(self, **settings):
        super().__init__(**settings)
        self.other_flags: dict[str, str] = {}
        self._words: list[str] = []

    def parse_known_args(self, args=None, namespace=None):
        self._words = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args(self._words, namespace)

    def _check_value(self, action, value):
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            error.message = invalid_choice(value, [*map(str, action.choices)])
            raise

    def add_file_output(self, **options) -> None:
        """A flag --output for files; -o, elsewhere a folder, is understood as it once was."""
        self.add_argument("--output", type=Path, **options)
        hidden = {"default": argparse.SUPPRESS, "help": argparse.SUPPRESS}
        self.add_argument("-o", dest="output", type=Path, **options | hidden)

    def error(self, message):
        """End the program, with exit code 2."""
        if message.startswith(("unrecognized arguments", "the following arguments are required")):
            meant = ", ".join(self._meant_flags())
            message += f": did you mean {meant}?" if meant else ""
        self.exit(2, f"{self.prog}: error: {one_line(message)} (see {self.prog} --help)\n")

    def _meant_flags(self) -> list[str]:
        """For flags of the command line that there are not, those that are like them."""
        own = self._option_string_actions
        known = {**{flag: flag for flag in own}, **self.other_flags}
        typed = dict.fromkeys(word.split("=")[0] for word in self._words if word.startswith("-"))
        unknown = (flag for flag in typed if flag not in own and flag[:2] not in own)
        likes = (_like(flag, known) for flag in unknown)
        return list(dict.fromkeys(known[like] for like in likes if like is not None))


def invalid_choice(value, choices: Iterable[str], further: str = "") -> str:
    """What to say of a value that is none of those that there are, in argparse's words.

    Args:
        value: the value.
        choices: those that there are.
        further: what can be given besides.
    """
    hint = hint_for(value, choices, "") if isinstance(value, str) else ""
    meant, others = f", {hint}" if hint else "", ", ".join(choices)
    return f"invalid choice: {value!r}{meant} (choose from {others}{further})"


def count(text: str) -> int:
    """An argparse type: a whole number of at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 0")
    return int(text)


def expand(names: list[str]) -> tuple[str, ...]:
    """The corruptions that are meant by names of corruptions and of sets, in the usual order."""
    meant = {name for item in names for name in SETS.get(item, (item,))}
    return tuple(name for name in CORRUPTIONS if name in meant)


def check_frost_dir(parser: Parser, frost_dir: Path | None, names: list[str]) -> None:
    """Refuse a folder with frost that would not be used."""
    if frost_dir is not None and "frost" not in expand(names):
        parser.error("--frost_dir goes with frost alone: leave it out")
