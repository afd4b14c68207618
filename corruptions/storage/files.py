"""Files that are there whole or not at all, whoever else is writing them."""

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, BinaryIO


def check_file(path: Path) -> None:
    """Check that what lies under a name is a file: reading a pipe or a device may never end.

    Raises:
        OSError: it is something else; nothing at all is fine.
    """
    if path.exists() and not path.is_file():
        problem = "it is a folder, pipe or device, not a file: put the file there"
        raise OSError(errno.EINVAL, problem, str(path))


def open_in_place(path: Path, mode: str, **how) -> IO:
    """As `open`, but in this very place: no link is followed, no pipe waited for.

    Folders that come from elsewhere may hold a link under the name of a file that is written.

    Raises:
        OSError: a link or a pipe is there, or it cannot be opened.
    """
    safe = os.O_NOFOLLOW | os.O_NONBLOCK  # for files the second means nothing
    return open(path, mode, opener=lambda name, flags: os.open(name, flags | safe, 0o666), **how)


def partial_path(path: Path) -> Path:
    """Where a file is while it is being written."""
    return path.with_name(f".{path.name}.partial")


def free_bytes(folder: Path) -> int:
    """How much can be written into a folder, which need not be there yet."""
    return shutil.disk_usage(_existing(folder)).free


def memory_bytes() -> int:
    """How much memory this machine has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def check_space(folder: Path, needed: int) -> None:
    """Check that a folder, which need not be there yet, has room for arrays.

    Raises:
        OSError: fewer than `needed` bytes are free.
    """
    free = free_bytes(folder)
    if free < needed:
        raise OSError(
            f"{folder}: the arrays take {needed / 1e6:,.0f} MB and {free / 1e6:,.0f} MB are free: "
            f"make room, or use another folder"
        )


def check_writable(folder: Path) -> None:
    """Check that a folder can be made and written, without making it.

    Raises:
        OSError: it cannot.
    """
    for path in (folder.absolute(), *folder.absolute().parents):
        if path.is_symlink() and not path.exists():
            problem = "it is a link to nothing: mend it, or use another folder"
            raise NotADirectoryError(errno.ENOTDIR, problem, str(path))
    existing = _existing(folder)
    if not existing.is_dir():
        problem = "it is not a folder, so nothing can be written there: use another one"
        raise NotADirectoryError(errno.ENOTDIR, problem, str(existing))
    if not os.access(existing, os.W_OK | os.X_OK):
        problem = "no permission to write there: use another folder"
        raise PermissionError(errno.EACCES, problem, str(existing))


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    parents = folder.absolute(), *folder.absolute().parents
    return next(path for path in parents if path.exists())


def lock(file: IO | int, wait: bool = True, on_wait: Callable[[], object] = lambda: None) -> None:
    """Keep other processes from locking a file or folder until it is closed.

    Args:
        file: it, open.
        wait: for another process that has it.
        on_wait: called before that.

    Raises:
        BlockingIOError: another process has it, and is not to be waited for.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if not wait:
            raise
        on_wait()
        fcntl.flock(file, fcntl.LOCK_EX)


@contextlib.contextmanager
def locked(folder: Path, wait: bool = True) -> Iterator[None]:
    """A folder that is there, which one process has at a time; see `lock`."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        lock(descriptor, wait)
        yield
    finally:
        os.close(descriptor)


def publish(
    written: Path,
    path: Path,
    before: Callable[[], object] = lambda: None,
    is_lasting: bool = True,
) -> None:
    """Let what was written under another name beside it appear as `path`, once it is on disk.

    Args:
        written: a file or folder.
        path: what it is to be called; what is there is replaced.
        before: called in between.
        is_lasting: wait for the disk, so that no power failure can harm it.
    """
    if is_lasting:
        _put_on_disk(written)
    before()
    os.replace(written, path)
    if is_lasting:
        _put_on_disk(path.parent)


def _put_on_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def complete(
    partial: BinaryIO,
    path: Path,
    before: Callable[[], object] = lambda: None,
    is_lasting: bool = True,
) -> None:
    """Let a file of `exclusive_partial` appear under its name, as `publish` does."""
    partial.flush()
    publish(Path(partial.name), path, before, is_lasting)


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write a file that appears only once it is complete and on disk.

    Raises:
        OSError: it cannot be written; nothing has changed then.
    """
    if isinstance(content, str):
        content = content.encode("utf-8", "surrogateescape")
    with exclusive_partial(path) as partial:
        partial.write(content)
        complete(partial, path)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an OSError that names no file, such as a full disk's, say what could not be written."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.strerror:
            raise OSError(f"{path} cannot be written: {error.strerror}") from error
        raise


@contextlib.contextmanager
def exclusive_partial(
    path: Path, report: Callable[[str], object] = lambda text: None
) -> Iterator[BinaryIO]:
    """An empty file beside `path`, locked; it is gone afterwards unless `complete` was called.

    The lock lies on the partial file itself, so that no lock files are left behind. Who gets the
    lock on a file that its last owner has renamed or removed tries again on a new one.

    Args:
        path: what it is to become.
        report: called with a line where another process has to be waited for.

    Raises:
        OSError: the file cannot be written; the message names it.
    """
    name = partial_path(path)
    partial = None
    try:
        with naming(path):
            while True:
                partial = open_in_place(name, "ab")
                lock(partial, on_wait=lambda: report(f"waiting for another process at {path}"))
                if _is_at(name, partial):
                    break
                partial.close()
            partial.truncate(0)
            yield partial
    finally:
        if partial is not None:
            with contextlib.suppress(OSError):  # what could not be written before cannot be now
                partial.close()
        _remove_abandoned(name)


def _is_at(name: Path, file: BinaryIO) -> bool:
    try:
        return os.path.samestat(os.stat(name), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _remove_abandoned(name: Path) -> None:
    """Remove a partial file that nobody has locked.

    By its name: an interruption can come when the file exists, but before its opener knows of it.
    """
    with contextlib.suppress(OSError), open_in_place(name, "rb") as file:
        lock(file, wait=False)
        if _is_at(name, file):
            os.remove(name)
