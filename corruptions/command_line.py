"""What the programs of this package share: `generate` and `contact_sheet`."""

import argparse
import sys

from corruptions import CORRUPTIONS, EXTRA, STANDARD

try:
    from dataset.prepare_dataset import read_clean
    from dataset.specs import DATASETS
except ImportError:  # corruptions/ is used on its own
    DATASETS, read_clean = {}, None

__all__ = ["DATASETS", "SETS", "Parser", "count", "expand", "fail", "read_clean"]

SETS = {"all": CORRUPTIONS, "standard": STANDARD, "extra": EXTRA}


class Parser(argparse.ArgumentParser):
    """Answers bad usage in one line."""

    def error(self, message):
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def count(text: str) -> int:
    """An argparse type: a whole number of at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 0")
    return int(text)


def expand(names: list[str]) -> tuple[str, ...]:
    """The corruptions that are meant by names of corruptions and of sets, in the usual order."""
    meant = {name for item in names for name in SETS.get(item, (item,))}
    return tuple(name for name in CORRUPTIONS if name in meant)


def fail(parser: argparse.ArgumentParser, error: Exception) -> int:
    """Report what the user can mend, in one line; returns the exit code."""
    print(f"{parser.prog}: error: {error}", file=sys.stderr)
    return 2
