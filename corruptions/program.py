"""What all programs share: how they end, and what they then say."""

import errno
import signal
import sys
from collections.abc import Callable

from tqdm import tqdm

from corruptions.command_line import readable
from corruptions.errors import DataError
from corruptions.interrupts import Terminated, check_interrupts, drop_interrupts, hold_interrupts
from corruptions.output import lasting_output, take_losses

_WORDS = {signal.SIGTERM: "terminated", signal.SIGHUP: "hung up"}


def run_program(
    name: str,
    work: Callable[[], int | None],
    when_stopped: str | Callable[[], str],
    refusals: tuple[type[Exception], ...] = (DataError, OSError),
) -> int:
    """Do a program's work, with Ctrl-C, SIGTERM and SIGHUP held back, see `interrupts`.

    Args:
        name: the program's.
        work: what it does; returns the exit code, or None for 0.
        when_stopped: what one who stopped it should know, or returns it.
        refusals: the errors that the user can mend, whose text names the flag or file.

    Returns:
        The exit code: what `work` returned; 2 for what the user can mend, told in one line; 130,
        143, 129 when stopped by Ctrl-C, SIGTERM, SIGHUP.
    """
    # Its monitor is a thread that would be started where interrupts are let in.
    tqdm.monitor_interval = 0
    with hold_interrupts(), lasting_output():
        message = None
        try:
            check_interrupts()
            code = work() or 0
            check_interrupts()
            sys.stdout.flush()
            _check_output()
        except refusals as error:
            message, code = f"error: {readable(error)}", 2
        except KeyboardInterrupt:
            message, code = f"interrupted: {_text(when_stopped)}", 130
        except Terminated as stop:
            message, code = f"{_WORDS[stop.number]}: {_text(when_stopped)}", 128 + stop.number
        if message is not None:
            print(f"{name}: {message}", file=sys.stderr)
        drop_interrupts()
    return code


def _text(text: str | Callable[[], str]) -> str:
    return text if isinstance(text, str) else text()


def _check_output() -> None:
    """Check that all that was printed has arrived, unless whoever read it wanted no more.

    Raises:
        OSError: it has not.
    """
    for stream, error in take_losses():
        if stream == "stdout" and error.errno != errno.EPIPE:
            raise OSError(f"{stream} cannot be written: {error.strerror}")
