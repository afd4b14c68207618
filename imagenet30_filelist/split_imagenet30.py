#!/usr/bin/env python3
"""Share out the photographs of ImageNet-30: write the lists that main.py then goes by.

Which training photograph gets which severity, which are for validation, and the test photographs.
"""

import signal
import sys

if __name__ == "__main__":  # held back, also by the threads of what is imported: see `interrupts`
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})

import os
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from corruptions.command_line import Parser, count
from corruptions.errors import DataError
from corruptions.interrupts import interruptible
from corruptions.program import run_program
from corruptions.storage.files import check_file, write_atomically
from dataset.filelists import list_texts
from dataset.poisson import SEVERITY_LAWS
from dataset.readers import read_splits
from dataset.shares import share_out
from dataset.specs import IMAGENET30

PROG = "split_imagenet30.py"


def create_parser():
    parser = Parser(
        prog=PROG,
        description=__doc__,
        epilog="Writes imagenet30_distribution_0.txt and so on, imagenet30_val.txt and "
        "imagenet30_test.txt, with lines class/file label; the same again for the same flags. "
        "main.py with the same seed, -n, --num_severity and --severity_law shares out in the same "
        "way by itself.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--data_dir", type=Path, default=Path("data"), help="where ImageNet-30/ lies (%(default)s)")
    text = "training photographs per class, shared out by --severity_law (%(default)s)"
    add("-n", "--num_per_class", type=count, default=IMAGENET30.num_per_class, help=text)
    text = "highest severity, 1 to 5 (%(default)s)"
    add("--num_severity", type=int, choices=range(1, 6), default=5, metavar="S", help=text)
    text = "how they are shared out among the severities (%(default)s)"
    add("--severity_law", choices=SEVERITY_LAWS, default="poisson", help=text)
    add("--seed", type=count, default=0, help="fixes who gets what (%(default)s)")
    text = "folder for the lists (default: the one of this script, where main.py looks)"
    own = Path(__file__).resolve().parent
    add("-o", "--output", type=Path, default=own, metavar="DIR", help=text)
    text = "processes that decode photographs, where that was not done yet (%(default)s)"
    add("--num_workers", type=count, default=len(os.sched_getaffinity(0)), help=text)
    return parser


def split(args):
    """The lists' texts by file name, drawn as `prepare_dataset` does."""
    making = {"num_workers": args.num_workers, "show_progress": True, "report": print}
    clean = read_splits(IMAGENET30, args.data_dir, **making)
    law = (args.num_per_class, args.num_severity, args.seed, args.severity_law)
    per_severity, validation = share_out(IMAGENET30, clean["train"].labels, None, None, *law)
    test = np.arange(len(clean["test"].labels))
    files = {name: part.files for name, part in clean.items()}
    return list_texts(IMAGENET30, files, per_severity, validation, test)


def write(folder, texts):
    """Write the lists; those that are there must be the same."""
    contents = {folder / n: t.encode("utf-8", "surrogateescape") for n, t in texts.items()}
    for path, content in contents.items():
        check_file(path)
        if path.exists() and path.read_bytes() != content:
            raise DataError(f"{path} is another list: delete it, or choose another --output")
    folder.mkdir(parents=True, exist_ok=True)
    for path, content in contents.items():
        write_atomically(path, content)
        print(f"{path}: {content.count(10):,} photographs")


def main(argv=None):
    """Run the program; returns its exit code."""

    def work():
        parser = create_parser()
        args = parser.parse_args(argv)
        if args.num_per_class == 0:
            parser.error("-n must be at least 1")
        with interruptible():
            texts = split(args)
        write(args.output, texts)

    return run_program(PROG, work, "the same command goes on")


if __name__ == "__main__":
    sys.exit(main())
