"""Stopping at Ctrl-C, SIGTERM and SIGHUP (a lost terminal) at moments where nothing is lost.

A program holds the three back from its first line on, in every thread that it starts, and asks for
them: before its work, after every step, after its work. For one thing, each run of a compiled graph
replaces the handler of SIGINT by one of MindSpore's own, which sends the process SIGTERM.
"""

import contextlib
import os
import signal

SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


class Terminated(BaseException):
    """SIGTERM or SIGHUP arrived; like KeyboardInterrupt no Exception, as it is no error.

    Args:
        number: which of them.
    """

    def __init__(self, number: int = signal.SIGTERM):
        super().__init__(number)
        self.number = signal.Signals(number)


@contextlib.contextmanager
def hold_interrupts():
    """Hold the signals back during the block, except where `interruptible` lets them in."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def check_interrupts() -> None:
    """Raise what was held back.

    Raises:
        KeyboardInterrupt: for Ctrl-C.
        Terminated: for SIGTERM from elsewhere, and SIGHUP unless `nohup` has it ignored.
    """
    while SIGNALS & signal.sigpending() and (info := signal.sigtimedwait(SIGNALS, 0)):
        is_own = info.si_signo == signal.SIGTERM and info.si_pid == os.getpid()  # MindSpore's
        if info.si_signo == signal.SIGINT or is_own:
            raise KeyboardInterrupt
        if info.si_signo != signal.SIGHUP or not _is_hangup_ignored():
            raise Terminated(info.si_signo)


def is_held() -> bool:
    """Whether there is something for `check_interrupts` to raise."""
    ignored = {signal.SIGHUP} if _is_hangup_ignored() else set()
    return bool((SIGNALS - ignored) & signal.sigpending())


def drop_interrupts() -> None:
    """Forget what was held back: the program ends anyway."""
    while signal.sigtimedwait(SIGNALS, 0):
        pass


@contextlib.contextmanager
def interruptible():
    """Let the signals raise during the block, at any moment; see `check_interrupts`."""
    check_interrupts()
    handlers = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: _terminate,
        signal.SIGHUP: signal.SIG_IGN if _is_hangup_ignored() else _terminate,
    }
    replaced = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    before = signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for number, handler in replaced.items():
            signal.signal(number, handler)


def _is_hangup_ignored():
    return signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def _terminate(number, _):
    raise Terminated(number)
