#!/usr/bin/env python3
"""Train or evaluate an image classifier that holds up on photon-limited corruptions."""

import signal
import sys

if __name__ == "__main__":  # held back, also by the threads of what is imported: see `interrupts`
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})

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
