#!/usr/bin/env python3
"""Train or evaluate an image classifier that holds up on photon-limited corruptions."""

import sys

from sharpdro.startup import start_program

if __name__ == "__main__":
    start_program()

from sharpdro.command_line.settings import parse
from sharpdro.program import run_program

CONTINUE = "it goes on after what is finished with the same command and --resume"


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

    return run_program("main.py", work, CONTINUE)


if __name__ == "__main__":
    sys.exit(main())
