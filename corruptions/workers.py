"""Worker processes that leave interruptions to their parent and end with it."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor
from multiprocessing.connection import wait


def _start_worker():
    """End with the parent process, however it ends."""

    def end_with_parent():
        wait([multiprocessing.parent_process().sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


@contextlib.contextmanager
def worker_pool(num_workers: int) -> Iterator[Executor | None]:
    """Processes that corrupt images; None (work in this process) below two workers.

    Raises:
        OSError: a worker was killed.
    """
    if num_workers < 2:
        yield None
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(num_workers, mp_context=context, initializer=_start_worker)
    # The workers inherit the mask: Ctrl-C and SIGTERM to the whole group are the parent's business.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        for started in [pool.submit(int) for _ in range(num_workers)]:
            started.result()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        yield pool
    except BrokenExecutor as error:
        raise OSError(
            "a process that makes corrupted images was killed, perhaps for want of memory: "
            "start again, with a lower --num_workers"
        ) from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        pool.shutdown(wait=True, cancel_futures=True)
