"""A stdout and stderr that may die while a program is at work: a closed pipe, a full disk."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator

_NAMES = ("stdin", "stdout", "stderr")
_losses: list[tuple[str, OSError]] = []


class _Output(io.FileIO):
    """An open descriptor; once it cannot be written to, what is written is dropped."""

    _is_lost = False

    def write(self, data):
        if not self._is_lost:
            try:
                return super().write(data)
            except OSError as error:
                self._is_lost = True
                _losses.append((_NAMES[self.fileno()], error))
        return memoryview(data).nbytes


@contextlib.contextmanager
def lasting_output() -> Iterator[None]:
    """Let a program go on where stdout or stderr is closed, or cannot be written to any more."""
    for number in range(3):  # else the next file that is opened would be taken for stderr
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    before = sys.stdout, sys.stderr
    if sys.stdout is sys.__stdout__:  # and not a notebook's
        sys.stdout = _lasting(sys.stdout, 1)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _lasting(sys.stderr, 2)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before


def _lasting(stream, number):
    if stream is not None:
        stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Output(number, "w", closefd=False)),
        encoding=getattr(stream, "encoding", "utf-8"),
        errors="replace",  # not every character of a message is in every terminal's encoding
        line_buffering=getattr(stream, "line_buffering", True),
        write_through=getattr(stream, "write_through", False),
    )


def take_losses() -> list[tuple[str, OSError]]:
    """Which of stdout and stderr were lost since this was asked last, and why."""
    losses = _losses[:]
    _losses.clear()
    return losses
