#!/usr/bin/env python3
"""Train or evaluate an image classifier that holds up on photon-limited corruptions."""

import importlib
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
        name = "evaluate" if args.eval_only else "dry_run" if args.dry_run else "train"
        job = importlib.import_module(f"sharpdro.jobs.{name}")
        getattr(job, name)(args)

    return run_program("main.py", work, CONTINUE)


if __name__ == "__main__":
    sys.exit(main())
