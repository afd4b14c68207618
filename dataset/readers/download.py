"""Fetching a dataset's official archive and unpacking what is wanted of it."""

import contextlib
import errno
import hashlib
import http.client
import shutil
import tarfile
import urllib.error
import urllib.request
import zlib
from pathlib import Path

from tqdm import tqdm

from corruptions.errors import DataError
from corruptions.storage.files import check_file, locked, open_in_place, partial_path, publish
from dataset.specs import Archive

_BLOCK = 1 << 20
_TIMEOUT = 30  # seconds without an answer
_MAX_MEMBER = 256 << 20  # bytes; the largest file of the known archives has 155 MB


def ensure_unpacked(archive: Archive, folder: Path, files: list[str], show_progress: bool) -> None:
    """Make sure that `folder` exists, from the archive lying beside it or from the network.

    Nothing appears under its final name before it is complete and its checksum is right. An
    interrupted download goes on where it stopped. Of several processes one works, the others wait.

    Args:
        archive: what to fetch; it is kept beside `folder`.
        folder: the unpacked dataset, whose name is the archive's top folder.
        files: what to take out of that folder of the archive; nothing else is written.
        show_progress: draw a progress bar.

    Raises:
        DataError: no network, wrong checksum, or a file missing in the archive.
    """
    if folder.is_dir():
        return
    with _made(folder.parent), locked(folder.parent):
        if folder.is_dir():  # another process was at it
            return
        path = folder.parent / archive.file_name
        if not has_archive(archive, folder):
            _download(archive, path, show_progress)
        _unpack(path, folder, files)


@contextlib.contextmanager
def _made(folder: Path):
    """A folder, which is taken away again if the block fails and leaves it empty."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):  # what is not empty stays
            for path in missing:
                path.rmdir()
        raise


def has_archive(archive: Archive, folder: Path) -> bool:
    """Whether the archive lies beside the `folder` that is to be unpacked from it.

    Raises:
        DataError: it does, but with another checksum.
    """
    path = folder.parent / archive.file_name
    if path.exists():
        _check(path, archive)
    return path.exists()


def _download(archive: Archive, path: Path, show_progress: bool) -> None:
    """Download an archive, or what is missing of it, and check it.

    Raises:
        DataError: it cannot be had, breaks off or is another one.
        OSError: it cannot be written.
    """
    partial = partial_path(path)
    try:
        _transfer(archive, partial, show_progress)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        reason = getattr(error, "reason", error)
        raise DataError(
            f"cannot download {archive.url} ({reason}): put {archive.file_name}, or the folder "
            f"unpacked from it, into {path.parent}"
        ) from error
    size = partial.stat().st_size
    if size < archive.num_bytes:
        raise DataError(
            f"the download of {archive.url} broke off after {size} of {archive.num_bytes} bytes: "
            f"start again to go on with it"
        )
    try:
        _check(partial, archive)
    except DataError:
        partial.unlink()
        raise
    publish(partial, path)


def _transfer(archive: Archive, partial: Path, show_progress: bool) -> None:
    """Add to a file what it lacks of an archive."""
    done = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(archive.url)
    if 0 < done < archive.num_bytes:
        request.add_header("Range", f"bytes={done}-")
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
        continued = answer.status == 206
        with (
            open_in_place(partial, "ab" if continued else "wb") as file,
            tqdm(
                desc=f"downloading {archive.file_name}",
                total=archive.num_bytes,
                initial=done if continued else 0,
                unit="B",
                unit_scale=True,
                disable=None if show_progress else True,
            ) as bar,
        ):
            while file.tell() <= archive.num_bytes and (block := answer.read(_BLOCK)):
                file.write(block)
                bar.update(len(block))


def _check(path: Path, archive: Archive) -> None:
    check_file(path)
    digest = hashlib.new(archive.algorithm, usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    if digest.hexdigest() != archive.digest:
        raise DataError(
            f"{path} is not the official archive ({archive.algorithm} {digest.hexdigest()}, "
            f"expected {archive.digest}): put {archive.file_name} from {archive.url} there"
        )


def _broken(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} cannot be unpacked ({error}): delete it and start again")


def _unpack(path: Path, folder: Path, files: list[str]) -> None:
    """Copy the named regular files out of the archive; no path of the archive is followed."""
    partial = partial_path(folder)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    wanted = {f"{folder.name}/{name}": name for name in files}
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                name = wanted.get(member.name)
                if name is None or not member.isreg() or member.size > _MAX_MEMBER:
                    continue
                with open(partial / name, "wb") as target:
                    shutil.copyfileobj(tar.extractfile(member), target, _BLOCK)
                del wanted[member.name]
    except OSError as error:
        if error.errno not in (None, errno.EINVAL):  # those are gzip's, and of impossible sizes
            raise
        raise _broken(path, error) from error
    except (tarfile.TarError, EOFError, ValueError, zlib.error) as error:
        raise _broken(path, error) from error
    if wanted:
        raise DataError(f"{path} lacks {', '.join(sorted(wanted))}: delete it and start again")
    publish(partial, folder)
