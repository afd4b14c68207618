"""What main.py and the scripts share as programs: how they end, and what they then say."""

import sys
from collections.abc import Callable

from sharpdro.errors import RunError
from sharpdro.interrupts import Terminated, hold_interrupts

with hold_interrupts():  # NumPy and SciPy start threads
    from tqdm import tqdm

    from corruptions.command_line import readable, replace_what_cannot_be_printed
    from corruptions.errors import DataError

# Its monitor is a thread that would be started outside of `hold_interrupts`.
tqdm.monitor_interval = 0


def run_program(name: str, work: Callable[[], object], when_stopped: str) -> int:
    """Do a program's work, with Ctrl-C and SIGTERM held back to moments where nothing is lost.

    Args:
        name: the program's.
        work: what it does.
        when_stopped: what one who stopped it should know.

    Returns:
        The exit code: 0; 2 for what the user can mend, told in one line; 130, 143 when stopped.
    """
    replace_what_cannot_be_printed()
    try:
        with hold_interrupts():
            work()
            return 0
    except (DataError, RunError, OSError) as error:
        message, code = f"error: {readable(error)}", 2
    except KeyboardInterrupt:
        message, code = f"interrupted: {when_stopped}", 130
    except Terminated:
        message, code = f"terminated: {when_stopped}", 143
    print(f"{name}: {message}", file=sys.stderr)
    return code
