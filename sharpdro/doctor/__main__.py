"""Say what there is here to train with, what is missing, and what to do about it.

Exit code 0: training would work; 1: it would not, for the reasons under "to mend".
"""

import argparse
import sys
from pathlib import Path

from sharpdro.device import DEVICE_TARGETS
from sharpdro.doctor.examination import examine


class _Parser(argparse.ArgumentParser):
    """Answers bad usage in one line; the other programs' parser imports what may be missing."""

    def error(self, message):
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def create_parser() -> argparse.ArgumentParser:
    """The flags."""
    parser = _Parser(prog="python -m sharpdro.doctor", description=__doc__, allow_abbrev=False)
    text = "what is to compute: missing, it counts as a reason not to train (default: %(default)s)"
    parser.add_argument("--device_target", choices=DEVICE_TARGETS, default="auto", help=text)
    text = "where datasets lie, or would (default: %(default)s)"
    parser.add_argument("--data_dir", type=Path, default=Path("data"), metavar="DIR", help=text)
    return parser


def main(argv=None) -> int:
    """Run the program; returns its exit code."""
    args = create_parser().parse_args(argv)
    try:
        findings = examine(args.device_target, args.data_dir)
    except KeyboardInterrupt:
        print("sharpdro.doctor: interrupted", file=sys.stderr)
        return 130
    print("\n".join(findings.lines()))
    return 1 if findings.hindrances else 0


if __name__ == "__main__":
    sys.exit(main())
