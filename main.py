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
LOST = "with --no-save_last nothing is kept to continue from: choose another --desc to start again"


def main(argv=None):
    """Run the program; returns its exit code."""

    when_stopped = CONTINUE

    def work():
        nonlocal when_stopped
        args = parse(argv)  # bad usage is answered before the job imports MindSpore
        if args.eval_only:
            from sharpdro.jobs.evaluate import evaluate as job
        elif args.dry_run:
            when_stopped = NOTHING
            from sharpdro.jobs.dry_run import dry_run as job
        else:
            when_stopped = CONTINUE if args.save_last else LOST
            from sharpdro.jobs.train import train as job
        job(args)

    return run_program("main.py", work, lambda: when_stopped)


if __name__ == "__main__":
    sys.exit(main())
