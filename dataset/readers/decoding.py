"""Photographs decoded once into an array, with a table of its rows beside it.

{split}.npy          uint8 (N, side, side, 3), one row per photograph
{split}_files.tsv    class/file and size in bytes of each row, in order; where there is a third
                     column, the photograph could not be decoded for that reason: it has no row
"""

from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.lib.format import write_array_header_1_0
from PIL import Image
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
from corruptions.storage.photographs import opened_photograph
from corruptions.storage.workers import in_order, worker_pool

# Photographs that a worker gets at a time.
_CHUNK = 128
# With fewer, starting worker processes costs more than it saves.
_WORTH_WORKERS = 500
_MAX_NAMED = 20


class Record(NamedTuple):
    """A photograph's class/file, its size in bytes and, if it has no row, why."""

    name: str
    size: int
    reason: str | None = None


def decode(path: Path, side: int) -> np.ndarray:
    """A photograph as RGB, resized straight to `side`×`side`.

    Bilinear with antialiasing, aspect ratio not kept, as the published preparation does.

    Returns:
        uint8 (side, side, 3).

    Raises:
        DataError: it cannot be decoded as a whole.
        OSError: it cannot be read.
    """
    with opened_photograph(path) as image:
        if image.mode.startswith("I"):  # 16 bits of grey
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        small = image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
        return np.asarray(small)


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
    jobs = ((paths[start : start + _CHUNK], side) for start in range(0, len(paths), _CHUNK))
    records = []
    for results in in_order(pool, _decode_some, jobs):
        for result in results:
            number = len(records)
            reason = result if isinstance(result, str) else None
            if reason is None:
                rows.write(result)
            records.append(Record(names[number], paths[number].stat().st_size, reason))
        on_progress(len(results))
    return records


def _decode_some(paths: list[Path], side: int) -> list[bytes | str]:
    """The pixels of each photograph, or why there are none."""
    results = []
    for path in paths:
        try:
            results.append(decode(path, side).tobytes())
        except DataError as error:
            results.append(str(error))
    return results


def _report_skipped(records: list[Record], array: Path, report: Callable[[str], object]) -> None:
    skipped = [record for record in records if record.reason is not None]
    for record in skipped[:_MAX_NAMED]:
        report(f"skipped {record.name}: {record.reason}")
    if len(skipped) > _MAX_NAMED:
        others = len(skipped) - _MAX_NAMED
        report(f"skipped {others} others, named with their reasons in {table_of(array)}")


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
    if not all(len(line) in (2, 3) and line[1].isdecimal() and len(line[1]) < 20 for line in lines):
        raise DataError(f"{path} is damaged: {remedy}")
    return [Record(name, int(size), *reason) for name, size, *reason in lines]
