"""Worker processes that leave interruptions to their parent and end with it."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor
from multiprocessing.connection import wait

# Enough to keep all workers busy, few enough that an interruption need not wait for them.
_JOBS_AHEAD = 2 * (os.cpu_count() or 1)
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def _start_worker():
    """End with the parent process, however it ends."""

    def end_with_parent():
        wait([multiprocessing.parent_process().sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _restore(environment: dict[str, str | None]) -> None:
    for name, value in environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@contextlib.contextmanager
def worker_pool(num_workers: int) -> Iterator[Executor | None]:
    """Processes that work on images; None (work in this process) below two workers.

    Raises:
        OSError: a worker was killed.
    """
    if num_workers < 2:
        yield None
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(num_workers, mp_context=context, initializer=_start_worker)
    # One thread of linear algebra each, or there are as many threads as cores in every worker.
    environment = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    # The workers inherit the mask: Ctrl-C and SIGTERM to the whole group are the parent's business.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        for started in [pool.submit(int) for _ in range(num_workers)]:
            started.result()
        _restore(environment)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        yield pool
    except BrokenExecutor as error:
        _stop_writing(pool)
        raise OSError(
            "a process that works on images was killed, perhaps for want of memory: "
            "start again, with a lower --num_workers"
        ) from error
    finally:
        _restore(environment)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        pool.shutdown(wait=True, cancel_futures=True)


def _stop_writing(pool: ProcessPoolExecutor) -> None:
    """Free the thread that writes jobs to workers that are dead; `shutdown` would wait for it.

    Python does so itself from 3.11.5 and 3.12 on (cpython issue 94777).
    """
    queue = getattr(pool, "_call_queue", None)
    if queue is not None:
        with contextlib.suppress(OSError):  # Python has just closed it itself
            queue._reader.close()


def in_order(pool: Executor | None, function: Callable, jobs: Iterable[tuple]) -> Iterator:
    """What `function(*job)` returns for each job, in order; computed by the pool, if there is one.

    The workers are kept some jobs ahead of who takes the results.
    """
    waiting = deque()
    for job in jobs:
        if pool is None:
            yield function(*job)
            continue
        waiting.append(pool.submit(function, *job))
        if len(waiting) > _JOBS_AHEAD:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
