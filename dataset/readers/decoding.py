"""Photographs decoded once into an array, with a table of its rows beside it.

{split}.npy          uint8 (N, side, side, 3), one row per photograph
{split}_files.tsv    of each row, in order: class/file, size in bytes, time of its last change in
                     ns, CRC-32 of its bytes in hex; where there is a fifth column, the photograph
                     could not be decoded for that reason: it has no row. In tables of earlier
                     versions the time and the CRC-32 are missing
"""

import functools
import re
import zlib
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import BinaryIO, NamedTuple

from numpy.lib.format import write_array_header_1_0
from tqdm import tqdm

from corruptions.errors import DataError
from corruptions.storage.files import (
    check_file,
    check_space,
    complete,
    exclusive_partial,
    open_in_place,
    write_atomically,
)
from corruptions.storage.photographs import decode
from corruptions.storage.workers import in_order, worker_pool

# Photographs that a worker gets at a time.
_CHUNK = 128
# With fewer, starting worker processes costs more than it saves.
_WORTH_WORKERS = 500
_MAX_NAMED = 20
_BLOCK = 2**20  # bytes that are read at a time


class Record(NamedTuple):
    """A photograph's class/file, size in bytes, time of change, CRC-32 and, if it has no row, why.

    Time (in ns) and CRC-32 (in hex) are None in a table of an earlier version.
    """

    name: str
    size: int
    mtime_ns: int | None = None
    crc32: str | None = None
    reason: str | None = None

    def is_of(self, path: Path) -> bool:
        """Whether a file is the one that was decoded, as far as the table can tell.

        Size and time of change are enough where both are the same; where only the time differs, as
        after a copy, the file is read.

        Raises:
            OSError: it cannot be read.
        """
        state = path.stat()
        if state.st_size != self.size:
            return False
        return self.mtime_ns in (None, state.st_mtime_ns) or file_crc32(path) == self.crc32


def file_crc32(path: Path) -> str:
    """Of a file's bytes, in hex."""
    check_file(path)
    value = 0
    with open(path, "rb") as file:
        for block in iter(functools.partial(file.read, _BLOCK), b""):
            value = zlib.crc32(block, value)
    return f"{value:08x}"


def decode_all(
    photographs: dict[str, Path],
    array: Path,
    side: int,
    source: str,
    num_workers: int,
    show_progress: bool,
    report: Callable[[str], object],
) -> None:
    """Decode all photographs into an array; interrupted, nothing is left, and the next begins anew.

    Args:
        photographs: by class/file, in the order of the rows.
        array: the .npy file; nothing is done if another process makes it meanwhile.
        side: of the decoded images, in pixels.
        source: what the photographs are, for messages.
        num_workers, show_progress, report: as for `dataset.readers.read_splits`.

    Raises:
        OSError: a file cannot be read or written.
    """
    array.parent.mkdir(parents=True, exist_ok=True)
    with exclusive_partial(array, report) as rows:
        if array.exists():  # another process has made it meanwhile
            return
        total = len(photographs)
        report(f"decoding {total:,} {source} to {side}×{side}, once")
        check_space(array.parent, total * side * side * 3)
        hidden = None if show_progress else True
        progress = tqdm(desc="decoding", total=total, unit="photograph", disable=hidden)
        _write_header(rows, total, side)
        with progress, worker_pool(num_workers if total >= _WORTH_WORKERS else 0) as pool:
            records = _write_rows(rows, photographs, side, pool, progress.update)
        rows.flush()
        with open_in_place(Path(rows.name), "r+b") as beginning:  # `rows` writes at the end alone
            _write_header(beginning, sum(record.reason is None for record in records), side)
            write_atomically(table_of(array), "".join(map(_line, records)))
        complete(rows, array)
    _report_skipped(records, array, report)


def _write_header(file: BinaryIO, num_rows: int, side: int) -> None:
    """Of a .npy file; it is as long for any number of rows."""
    shape = (num_rows, side, side, 3)
    write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})


def _write_rows(
    rows: BinaryIO,
    photographs: dict[str, Path],
    side: int,
    pool: Executor | None,
    on_progress: Callable[[int], object],
) -> list[Record]:
    """Write the pixels of all photographs that can be decoded; returns a record of every one."""
    names, paths = list(photographs), list(photographs.values())
    starts = range(0, len(paths), _CHUNK)
    jobs = ((names[i : i + _CHUNK], paths[i : i + _CHUNK], side) for i in starts)
    records = []
    for results in in_order(pool, _decode_some, jobs):
        for record, pixels in results:
            rows.write(pixels)
            records.append(record)
        on_progress(len(results))
    return records


def _decode_some(names: list[str], paths: list[Path], side: int) -> list[tuple[Record, bytes]]:
    """The record of each photograph and its pixels, of which there are none for some reason."""
    results = []
    for name, path in zip(names, paths):
        state, reason = path.stat(), None
        try:
            pixels = decode(path, side).tobytes()
        except DataError as error:
            pixels, reason = b"", str(error)
        crc32 = file_crc32(path)
        record = Record(name, state.st_size, state.st_mtime_ns, crc32, reason)
        results.append((record, pixels))
    return results


def _report_skipped(records: list[Record], array: Path, report: Callable[[str], object]) -> None:
    skipped = [record for record in records if record.reason is not None]
    for record in skipped[:_MAX_NAMED]:
        report(f"skipped {record.name}: {record.reason}")
    if len(skipped) > _MAX_NAMED:
        others = len(skipped) - _MAX_NAMED
        report(f"skipped {others} other files, named with their reasons in {table_of(array)}")


def table_of(array: Path) -> Path:
    """Where the files of an array's rows stand."""
    return array.with_name(f"{array.stem}_files.tsv")


def _line(record: Record) -> str:
    return "\t".join(str(field) for field in record if field is not None) + "\n"


def read_records(array: Path) -> list[Record]:
    """The records of the photographs that an array was decoded from, in order.

    Raises:
        DataError: there are none, or they are damaged.
    """
    path, remedy = table_of(array), f"delete {array} to have the photographs decoded anew"
    check_file(path)
    try:  # names of files need not be valid UTF-8
        text = path.read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing: {remedy}") from error
    lines = [line.split("\t") for line in text.split("\n")[:-1]]
    try:
        return [_parse(line) for line in lines]
    except ValueError as error:
        raise DataError(f"{path} is damaged: {remedy}") from error


def _parse(fields: list[str]) -> Record:
    """A line's record; ValueError for what is none."""
    name, size, *others = fields
    time, crc32 = None, None
    if len(others) >= 2:
        time, crc32, *others = others
        if not re.fullmatch("[0-9a-f]{8}", crc32):
            raise ValueError(crc32)
    numbers = [size] if time is None else [size, time]
    if len(others) > 1 or not all(re.fullmatch("-?[0-9]{1,19}", number) for number in numbers):
        raise ValueError(fields)
    return Record(name, int(size), time and int(time), crc32, *others)
