"""The processes of a run: one alone, or several that MindSpore's launcher msrun has started."""

import contextlib
import ctypes
import os
import signal
import zlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np

from corruptions.interrupts import Terminated, check_interrupts, is_held
from sharpdro.errors import RunError

if TYPE_CHECKING:
    from sharpdro.distributed.collectives import Exchange

_PR_SET_PDEATHSIG = 1  # of Linux's prctl


class Alone:
    """A run of one process."""

    rank, size, is_first = 0, 1, True

    def exchange(self, sums_late: bool) -> "Exchange | None":
        """What a training step needs to be a part of the whole; None alone."""
        return None

    def gather(self, mine: np.ndarray) -> np.ndarray:
        """The arrays of all processes, (size, …); float32 or int32, of one shape."""
        return mine[None]

    def average(self, parameters: Iterable) -> None:
        """Give parameters the mean of the processes' values."""

    def check_interrupts(self) -> None:
        """Raise what was held back, in all processes if in any.

        Raises:
            KeyboardInterrupt, Terminated: see `interrupts.check_interrupts`.
        """
        check_interrupts()

    def first_does(self, work: Callable[[], object]) -> None:
        """Let the first process work while the others wait.

        Raises:
            RunError: in all processes, if the work fails.
        """
        work()

    def check_equal(self, what: str, number: int, advice: str) -> None:
        """See that all processes have the same int32.

        Args:
            what: the number says.
            number: of this process.
            advice: what to do where they differ.

        Raises:
            RunError: they have not.
        """

    def check_same(self, parameters: Iterable, when: str) -> None:
        """See that all processes have the same parameters, bit by bit.

        Raises:
            RunError: they have not.
        """


ALONE = Alone()


class Team(Alone):
    """A run of several processes, this being one of them."""

    def __init__(self):
        from mindspore import communication, ops

        _end_with_launcher()
        try:
            communication.init()
        except RuntimeError as error:
            reason = (str(error).strip().splitlines() or ["no reason given"])[0]
            raise RunError(
                f"the processes did not find one another ({reason}): if another run uses the same "
                f"port, choose another, PORT=… for scripts/distributed.sh, --master_port for msrun"
            ) from error
        self.rank, self.size = communication.get_rank(), communication.get_group_size()
        self.is_first = self.rank == 0
        print(f"{self.size} processes have found one another", flush=True)
        self._all_gather = ops.AllGather()

    def exchange(self, sums_late: bool) -> "Exchange":
        from sharpdro.distributed.collectives import Exchange

        return Exchange(self.rank, self.size, sums_late)

    def gather(self, mine: np.ndarray) -> np.ndarray:
        from mindspore import Tensor

        return self._all_gather(Tensor(mine[None])).asnumpy()

    def average(self, parameters: Iterable) -> None:
        from mindspore import Tensor

        for parameter in parameters:
            mean = self.gather(parameter.asnumpy()).mean(0, dtype=np.float64)
            parameter.set_data(Tensor(mean.astype(np.float32)))

    def check_interrupts(self) -> None:
        if self.gather(np.array([is_held()], np.int32)).any():
            stop_all()

    def first_does(self, work: Callable[[], object]) -> None:
        failure = None
        if self.is_first:
            try:
                work()
            except (RunError, OSError) as error:
                failure = error
        if self.gather(np.array([failure is not None], np.int32))[0, 0]:
            raise failure or RunError("the first process stopped, see its message")

    def check_equal(self, what: str, number: int, advice: str) -> None:
        found = self.gather(np.array([number], np.int32))[:, 0]
        if (found != found[0]).any():
            numbers = ", ".join(map(str, found))
            raise RunError(f"{what} differ between the processes ({numbers}): {advice}")

    def check_same(self, parameters: Iterable, when: str) -> None:
        arrays = (np.ascontiguousarray(parameter.asnumpy()) for parameter in parameters)
        advice = "resume, and if it happens again, do without --distributed"
        self.check_equal(f"the parameters {when}", checksum(*arrays), advice)


def stop_all() -> None:
    """Raise what was held back, or what another process had held back.

    Raises:
        KeyboardInterrupt, Terminated: one of them.
    """
    check_interrupts()
    raise Terminated


def checksum(*contents) -> int:
    """A checksum of buffers that fits into an int32."""
    value = 0
    for content in contents:
        value = zlib.crc32(content, value)
    return value - 2**31


def is_scheduler() -> bool:
    """Whether msrun has started this process to bring the others together, not to train."""
    return os.environ.get("MS_ROLE") == "MS_SCHED"


def schedule() -> None:
    """Bring the others together, and stay until they have ended.

    Raises:
        RunError: one of them is gone.
    """
    from mindspore import communication

    _end_with_launcher()
    try:
        communication.init()
    except RuntimeError as error:
        raise RunError(str(error).strip().splitlines()[0]) from error


def _end_with_launcher() -> None:
    """Let the system end this process when msrun is gone, which is then not there to do it."""
    with contextlib.suppress(OSError, AttributeError):  # no Linux
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def is_follower() -> bool:
    """Whether msrun has started this process as another than the first that trains."""
    return is_scheduler() or ("MS_ROLE" in os.environ and os.environ.get("RANK_ID") != "0")


def check_launch(is_distributed: bool, batch_size: int) -> None:
    """See that msrun has started this process if, and only if, the run is to be distributed.

    Raises:
        RunError: it has not, or batches cannot be shared out evenly.
    """
    launched = int(os.environ.get("MS_WORKER_NUM", "0")) if "MS_ROLE" in os.environ else 0
    if is_distributed and not launched:
        raise RunError(
            "--distributed needs MindSpore's launcher: scripts/distributed.sh N …, or msrun "
            "--worker_num=N --local_worker_num=N --join=True main.py --distributed …"
        )
    if launched and not is_distributed:
        raise RunError("msrun has started this process: add --distributed")
    if launched and batch_size % launched:
        raise RunError(
            f"-b {batch_size} cannot be shared out evenly among {launched} processes: choose a "
            f"multiple of {launched}"
        )


def join(is_distributed: bool) -> Alone:
    """The processes of this run, once all of them are there."""
    return Team() if is_distributed else ALONE
