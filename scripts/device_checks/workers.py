"""Processes of their own for what uses a device: a crash there ends one part, not all."""

import multiprocessing
import pkgutil
import signal
from collections.abc import Iterator

from corruptions.interrupts import interruptible
from sharpdro.errors import RunError

# Longer than a step of any network here takes to compile; a device that hangs answers never.
PATIENCE_SECONDS = 600
_END = ("the end of what a worker yields",)


def _serve(connection, function, args):
    """Send all that a generator function yields; it is named, so that only here it is imported."""
    for item in pkgutil.resolve_name(function)(*args):
        connection.send(item)
    connection.send(_END)


class Worker:
    """A process that computes what a generator function yields.

    Args:
        function: its place, "module:name".
        args: for it.
    """

    def __init__(self, function: str, *args):
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe(duplex=False)
        self._process = context.Process(target=_serve, args=(theirs, function, args), daemon=True)
        self._process.start()
        theirs.close()

    def __iter__(self) -> Iterator:
        """What it yields, as it comes.

        Raises:
            RunError: the process ends before its time, or says nothing for PATIENCE_SECONDS.
        """
        while (item := self._receive()) != _END:
            yield item

    def _receive(self):
        with interruptible():
            try:
                if self._connection.poll(PATIENCE_SECONDS):
                    return self._connection.recv()
            except EOFError:
                self._process.join()
                raise RunError(f"the process {_ending(self._process.exitcode)}") from None
        raise RunError(f"no answer for {PATIENCE_SECONDS} s")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()  # the signals that would ask it to end are held back there, too
        self._process.join()
        self._connection.close()


def _ending(code: int) -> str:
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}: see what it printed above"
