"""Corrupting whole datasets into .npy files: in parallel, interruptible, never half-written."""

import contextlib
import fcntl
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np
from numpy.lib.format import write_array_header_1_0

from corruptions import corrupt

_CHUNK = 500
# Enough to keep all workers busy, few enough that an interruption need not wait for them.
_CHUNKS_AHEAD = 2 * (os.cpu_count() or 1)


@dataclass(frozen=True)
class Recipe:
    """What is done to the images: the arguments of `corrupt` but the images and their indices."""

    name: str
    severity: int
    variant: str
    seed: int
    split: str


def _corrupt_chunk(images: np.ndarray, recipe: Recipe, first_index: int) -> np.ndarray:
    return corrupt(
        images,
        recipe.name,
        recipe.severity,
        variant=recipe.variant,
        seed=recipe.seed,
        split=recipe.split,
        first_index=first_index,
    )


def _start_worker():
    """End with the parent process, however it ends."""

    def end_with_parent():
        wait([multiprocessing.parent_process().sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


@contextlib.contextmanager
def worker_pool(num_workers: int) -> Iterator[Executor | None]:
    """Processes that corrupt images; None (work in this process) below two workers."""
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


def corrupted_chunks(
    images: np.ndarray, recipe: Recipe, pool: Executor | None
) -> Iterator[np.ndarray]:
    """The corrupted images, uint8, in order, some hundred at a time."""
    waiting = deque()
    for start in range(0, len(images), _CHUNK):
        chunk = np.ascontiguousarray(images[start : start + _CHUNK])
        if pool is None:
            yield _corrupt_chunk(chunk, recipe, start)
            continue
        waiting.append(pool.submit(_corrupt_chunk, chunk, recipe, start))
        if len(waiting) > _CHUNKS_AHEAD:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def write_corrupted(
    path: Path,
    images: np.ndarray,
    recipe: Recipe,
    pool: Executor | None = None,
    on_progress: Callable[[int], object] = lambda count: None,
) -> None:
    """Write the corrupted images to `path` as .npy, uint8 (N, H, W, 3).

    The file appears under its name only once it is complete and on disk. Another process writing
    the same file is waited for, and its result kept.

    Args:
        path: where to write; its folder exists.
        images: uint8 (N, H, W, 3).
        recipe: the corruption.
        pool: of `worker_pool`.
        on_progress: called with the number of images done since the last call.

    Raises:
        OSError: the file cannot be written; what was written of it is removed.
    """
    with exclusive_partial(path) as partial:
        if path.exists():
            on_progress(len(images))
            return
        header = {"descr": "|u1", "fortran_order": False, "shape": images.shape}
        write_array_header_1_0(partial, header)
        for chunk in corrupted_chunks(images, recipe, pool):
            partial.write(chunk.tobytes())
            on_progress(len(chunk))
        complete(partial, path)


def complete(partial, path: Path) -> None:
    """Let a file of `exclusive_partial` appear under its name, once it is on disk."""
    partial.flush()
    os.fsync(partial.fileno())
    os.replace(partial.name, path)


@contextlib.contextmanager
def exclusive_partial(path: Path):
    """An empty file beside `path`, locked; it is gone afterwards unless `complete` was called.

    The lock lies on the partial file itself, so that no lock files are left behind. Who gets the
    lock on a file that its last owner has renamed or removed tries again on a new one.
    """
    name = path.with_name(f".{path.name}.partial")
    while True:
        partial = open(name, "ab")  # noqa: SIM115
        fcntl.flock(partial, fcntl.LOCK_EX)
        try:
            if os.path.samestat(os.stat(name), os.fstat(partial.fileno())):
                break
        except FileNotFoundError:
            pass
        partial.close()
    try:
        partial.truncate(0)
        yield partial
    finally:
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.stat(name), os.fstat(partial.fileno())):
                os.remove(name)
        partial.close()
