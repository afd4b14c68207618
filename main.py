#!/usr/bin/env python3
"""Train or evaluate an image classifier that holds up on photon-limited corruptions."""

import sys

from sharpdro.startup import start_program

if __name__ == "__main__":
    start_program()

from sharpdro.command_line.settings import parse
from sharpdro.program import run_program

CONTINUE = "run the same command with --resume to continue"
NOTHING = "a dry run writes nothing"


def main(argv=None):
    """Run the program; returns its exit code."""

    def work():
        args = parse(argv)  # bad usage is answered before the job imports MindSpore
        if args.eval_only:
            from sharpdro.jobs.evaluate import evaluate as job
        elif args.dry_run:
            from sharpdro.jobs.dry_run import dry_run as job
        else:
            from sharpdro.jobs.train import train as job
        job(args)

    words = sys.argv[1:] if argv is None else argv
    return run_program("main.py", work, NOTHING if "--dry_run" in words else CONTINUE)


if __name__ == "__main__":
    sys.exit(main())
