"""The processes of a run: a single one, or several that MindSpore's launcher msrun has started."""

import abc
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
    from mindspore import Parameter

    from sharpdro.distributed.collectives import Collectives

_PR_SET_PDEATHSIG = 1  # of Linux's prctl


class Processes(abc.ABC):
    """The processes of a run, seen from one of them.

    Args:
        rank: of this process, 0 … size−1; the first keeps the run's directory.
        size: number of processes.
    """

    def __init__(self, rank: int, size: int):
        self.rank, self.size = rank, size

    @property
    def is_first(self) -> bool:
        """Whether this is the first process."""
        return self.rank == 0

    @abc.abstractmethod
    def collectives(self, local_perturbation: bool) -> "Collectives | None":
        """What a training step needs to be a part of the whole; None in a single process."""

    @abc.abstractmethod
    def all_gather(self, array: np.ndarray) -> np.ndarray:
        """The arrays of all processes, (size, …); float32 or int32, of one shape."""

    def average(self, parameters: "Iterable[Parameter]") -> None:
        """Give parameters the mean of the processes' values."""
        if self.size == 1:
            return
        from mindspore import Tensor

        for parameter in parameters:
            mean = self.all_gather(parameter.asnumpy()).mean(0, dtype=np.float64)
            parameter.set_data(Tensor(mean.astype(np.float32)))

    def check_interrupts(self) -> None:
        """Raise what was held back, in all processes if in any.

        Raises:
            KeyboardInterrupt, Terminated: see `interrupts.check_interrupts`.
        """
        if self.all_gather(np.array([is_held()], np.int32)).any():
            stop_all()

    def run_on_first(self, work: Callable[[], object]) -> None:
        """Let the first process work while the others wait.

        Raises:
            RunError: in all processes, if the work fails; OSError in the first.
        """
        failure = None
        if self.is_first:
            try:
                work()
            except (RunError, OSError) as error:
                failure = error
        if self.all_gather(np.array([failure is not None], np.int32))[0, 0]:
            raise failure or RunError("the first process stopped, see its message")

    def check_equal(self, name: str, number: int, advice: str) -> None:
        """Check that all processes have the same int32.

        Args:
            name: of what the number stands for, in the plural.
            number: of this process.
            advice: what to do where they differ.

        Raises:
            RunError: they have not.
        """
        numbers = self.all_gather(np.array([number], np.int32))[:, 0]
        if (numbers != numbers[0]).any():
            listed = ", ".join(map(str, numbers))
            raise RunError(f"{name} differ between the processes ({listed}): {advice}")

    def check_same_parameters(self, parameters: "Iterable[Parameter]", when: str) -> None:
        """Check that all processes have the same parameters, bit by bit.

        Raises:
            RunError: they have not.
        """
        if self.size == 1:
            return
        arrays = (np.ascontiguousarray(parameter.asnumpy()) for parameter in parameters)
        advice = "resume, and if it happens again, do without --distributed"
        self.check_equal(f"the parameters {when}", checksum(*arrays), advice)


class SingleProcess(Processes):
    """A run of one process."""

    def __init__(self):
        super().__init__(rank=0, size=1)

    def collectives(self, local_perturbation: bool) -> None:
        """None: there is nobody to communicate with."""
        return None

    def all_gather(self, array: np.ndarray) -> np.ndarray:
        """The array alone, (1, …)."""
        return array[None]


SINGLE_PROCESS = SingleProcess()


class ProcessGroup(Processes):
    """A run of several processes that msrun has started, this being one of them.

    Raises:
        RunError: they did not find one another.
    """

    def __init__(self):
        from mindspore import communication, ops

        end_with_launcher()
        try:
            communication.init()
        except RuntimeError as error:
            reason = (str(error).strip().splitlines() or ["no reason given"])[0]
            raise RunError(
                f"the processes did not find one another ({reason}): if another run uses the same "
                f"port, choose another, PORT=… for scripts/distributed.sh, --master_port for msrun"
            ) from error
        super().__init__(communication.get_rank(), communication.get_group_size())
        print(f"{self.size} processes have found one another", flush=True)
        self._all_gather = ops.AllGather()

    def collectives(self, local_perturbation: bool) -> "Collectives":
        """The collective operations inside a training step, see `Collectives`."""
        from sharpdro.distributed.collectives import Collectives

        return Collectives(self.rank, self.size, local_perturbation)

    def all_gather(self, array: np.ndarray) -> np.ndarray:
        """The arrays of all processes, (size, …)."""
        from mindspore import Tensor

        return self._all_gather(Tensor(array[None])).asnumpy()


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

    end_with_launcher()
    try:
        communication.init()
    except RuntimeError as error:
        raise RunError(str(error).strip().splitlines()[0]) from error


def end_with_launcher() -> None:
    """Let the system end this process when msrun is gone, which is then not there to do it."""
    with contextlib.suppress(OSError, AttributeError):  # no Linux
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def is_follower() -> bool:
    """Whether msrun has started this process as another than the first that trains."""
    return is_scheduler() or ("MS_ROLE" in os.environ and os.environ.get("RANK_ID") != "0")


def check_launch(is_distributed: bool, batch_size: int) -> None:
    """Check that msrun has started this process if, and only if, the run is to be distributed.

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


def join(is_distributed: bool) -> Processes:
    """The processes of this run, once all of them are there."""
    return ProcessGroup() if is_distributed else SingleProcess()
