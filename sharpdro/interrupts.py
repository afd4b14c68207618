"""Stopping at Ctrl-C and SIGTERM between two steps, never inside one.

Each run of a compiled graph replaces the handler of SIGINT by one of MindSpore's own, which sends
the process SIGTERM. So both signals are held back and asked for after every step.
"""

import contextlib
import os
import signal

_SIGNALS = {signal.SIGINT, signal.SIGTERM}


class Terminated(BaseException):
    """SIGTERM arrived."""


@contextlib.contextmanager
def hold_interrupts():
    """Hold Ctrl-C and SIGTERM back during the block, but for where `interruptible` lets them in.

    Threads started in the block hold them back too, which is why NumPy and MindSpore should be
    imported inside one.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        # What arrived after the last step finds nothing to stop any more.
        while signal.sigtimedwait(_SIGNALS, 0):
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def check_interrupts() -> None:
    """Raise what was held back. Called after every step.

    Raises:
        KeyboardInterrupt: for Ctrl-C.
        Terminated: for SIGTERM from elsewhere.
    """
    if not _SIGNALS & signal.sigpending():
        return
    info = signal.sigtimedwait(_SIGNALS, 0)
    if info is None:
        return
    if info.si_signo == signal.SIGINT or info.si_pid == os.getpid():
        raise KeyboardInterrupt
    raise Terminated


@contextlib.contextmanager
def interruptible():
    """Let Ctrl-C and SIGTERM raise during the block, at any moment."""
    check_interrupts()
    handlers = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler),
        signal.SIGTERM: signal.signal(signal.SIGTERM, _terminate),
    }
    before = signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _terminate(*_):
    raise Terminated
