"""What the programs of this package share: `generate` and `contact_sheet`."""

import argparse
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
    *("one_line", "printable", "read_clean", "readable"),
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


class Parser(argparse.ArgumentParser):
    """Answers bad usage in one line."""

    def error(self, message):
        self.exit(2, f"{self.prog}: error: {one_line(message)} (see {self.prog} --help)\n")


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
