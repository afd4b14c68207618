"""ImageNet-30 (Hendrycks et al., NeurIPS 2019): photographs of any size, in one folder per class.

They are decoded once, from DATA_DIR/ImageNet-30 into DATA_DIR/ImageNet-30-64:

    {split}.npy          uint8 (N, 64, 64, 3), one row per photograph
    {split}_files.tsv    class/file and size in bytes of each row, in order; where there is a third
                         column, the photograph could not be decoded for that reason: it has no row
"""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.lib.format import write_array_header_1_0
from PIL import Image
from tqdm import tqdm

from corruptions.errors import DataError
from corruptions.storage.arrays import open_npy
from corruptions.storage.files import check_file, check_space, complete, naming, open_in_place
from corruptions.storage.photographs import opened_photograph
from corruptions.storage.workers import in_order, worker_pool
from dataset.specs import DatasetSpec

# As the data directory of most projects has them, and as the published archives unpack.
FOLDERS = {"train": ("train", "one_class_train"), "test": ("test", "one_class_test")}
# Photographs that a worker gets at a time.
_CHUNK = 128
# With fewer, starting worker processes costs more than it saves.
_WORTH_WORKERS = 500
_MAX_NAMED = 20
# Of a .npy file of such an array, whatever its length.
_HEADER_BYTES = 128


def read_imagenet30(
    spec: DatasetSpec,
    data_dir: Path,
    num_workers: int,
    show_progress: bool,
    report: Callable[[str], object],
    splits: tuple[str, ...] = tuple(FOLDERS),
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The photographs at 64×64, memory-mapped; decoded before, where that was not done yet.

    The arguments are those of `dataset.prepare_dataset.read_clean`.

    Returns:
        For each split: images, uint8 (N, 64, 64, 3), and labels, int32 (N,), by class and file
        name.

    Raises:
        DataError: there are no photographs (of a class), or other ones than were decoded.
        OSError: a file cannot be read or written.
    """
    found = {split: find_split(spec, data_dir, split) for split in splits}
    for split, photographs in found.items():
        array = decoded_array(spec, data_dir, split)
        if not array.exists():
            what = f"{split} photographs in {data_dir / spec.clean_folder}"
            _decode_split(photographs, array, spec.side, what, num_workers, show_progress, report)
    return {split: open_split(spec, data_dir, split, found[split]) for split in splits}


def read_names(spec: DatasetSpec, data_dir: Path, split: str) -> tuple[list[str], set[str]]:
    """The class/file of each row of a split that was read; and of what could not be decoded."""
    records = _read_records(_files_of(decoded_array(spec, data_dir, split)))
    names = [name for name, _, *reason in records if not reason]
    return names, {name for name, _, *reason in records if reason}


def find_photographs(folder: Path, class_names: tuple[str, ...]) -> dict[str, Path]:
    """The files of a folder with one folder per class, but for hidden ones.

    The published test archive has another folder of the same name in each class's folder, so the
    files are looked for at any depth.

    Returns:
        Paths by class/file, by class in the order given and then by file name.

    Raises:
        DataError: a class has no photographs, or two of one name.
    """
    photographs = {}
    for class_name in class_names:
        paths = sorted(_visible_files(folder / class_name), key=lambda path: path.name)
        if not paths:
            missing = folder / class_name
            raise DataError(f"{missing} holds no photographs: every class needs a folder of them")
        for path in paths:
            name = f"{class_name}/{path.name}"
            if name in photographs:
                raise DataError(f"{photographs[name]} and {path} have the same name: rename one")
            if set(path.name) & {"\t", "\n", "\r"}:
                raise DataError(f"{str(path)!r} has a tab or a line break in its name: rename it")
            photographs[name] = path
    return photographs


def _visible_files(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder, onerror=_raise_unless_missing):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(parent, name) for name in files if not name.startswith("."))


def _raise_unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


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


def _decode_some(paths: list[Path], side: int) -> list[bytes | str]:
    """The pixels of each photograph, or why there are none."""
    results = []
    for path in paths:
        try:
            results.append(decode(path, side).tobytes())
        except DataError as error:
            results.append(str(error))
    return results


def _source_folder(spec: DatasetSpec, data_dir: Path, split: str) -> Path | None:
    """Where the user has the photographs of a split; None: nowhere."""
    found = [data_dir / spec.clean_folder / name for name in FOLDERS[split]]
    found = [folder for folder in found if folder.is_dir()]
    if len(found) > 1:
        raise DataError(f"both {found[0]} and {found[1]} are there: leave one of them")
    return found[0] if found else None


def decoded_array(spec: DatasetSpec, data_dir: Path, split: str) -> Path:
    """Where the photographs of a split lie once they are decoded."""
    return data_dir / f"{spec.clean_folder}-{spec.side}" / f"{split}.npy"


def _files_of(array: Path) -> Path:
    """Where the names of an array's rows stand."""
    return array.with_name(f"{array.stem}_files.tsv")


def find_split(spec: DatasetSpec, data_dir: Path, split: str) -> dict[str, Path] | None:
    """The photographs; None where there are none, but decoded ones are."""
    folder = _source_folder(spec, data_dir, split)
    if folder is not None:
        return find_photographs(folder, spec.class_names)
    if not decoded_array(spec, data_dir, split).exists():
        raise DataError(
            f"{data_dir / spec.clean_folder / split} is missing: ImageNet-30 cannot be fetched by "
            f"this program; put its photographs there, a folder for each of the "
            f"{spec.num_classes} classes, or name their place with --data_dir"
        )
    return None


def open_split(
    spec: DatasetSpec, data_dir: Path, split: str, photographs: dict[str, Path] | None
) -> tuple[np.ndarray, np.ndarray]:
    """A decoded split, memory-mapped, and its labels; `photographs` must be what was decoded."""
    array = decoded_array(spec, data_dir, split)
    records = _read_records(_files_of(array))
    if photographs is not None:
        _check_unchanged(photographs, records, array)
    images = open_npy(array)
    names = [name for name, _, *reason in records if not reason]
    shape = (len(names), spec.side, spec.side, 3)
    if images.dtype != np.uint8 or images.shape != shape:
        raise DataError(
            f"{array} holds {images.dtype} {images.shape}, expected uint8 {shape}: delete it to "
            f"have it made anew"
        )
    return images, labels_of(names, spec, array)


def labels_of(names: list[str], spec: DatasetSpec, array: Path) -> np.ndarray:
    """The labels, int32 (N,), of the class/file of each row of an array."""
    index = {name: i for i, name in enumerate(spec.class_names)}
    try:
        labels = np.array([index[name.split("/")[0]] for name in names], np.int32)
    except KeyError as error:
        raise DataError(
            f"{_files_of(array)} is damaged: {error} is no class; delete {array} to have the "
            f"photographs decoded anew"
        ) from error
    empty = np.flatnonzero(np.bincount(labels, minlength=spec.num_classes) == 0)
    if len(empty):
        name = spec.class_names[empty[0]]
        raise DataError(f"{array}: no photograph of {name} could be decoded; mend {name}/ first")
    return labels


def _check_unchanged(photographs: dict[str, Path], records: list[list[str]], array: Path) -> None:
    sizes = {name: int(size) for name, size, *_ in records}
    other = [n for n in sizes.keys() & photographs if photographs[n].stat().st_size != sizes[n]]
    gone, new = sizes.keys() - photographs.keys(), photographs.keys() - sizes.keys()
    if gone or new or other:
        example = min([*gone, *new, *other])
        raise DataError(
            f"the photographs have changed since {array} was made of them ({len(gone)} gone, "
            f"{len(new)} new, {len(other)} replaced, such as {example}): restore them, or delete "
            f"{array} to have them decoded anew"
        )
    if [name for name, *_ in records] != list(photographs):
        raise DataError(
            f"{_files_of(array)} is in another order: delete {array} to have the photographs "
            f"decoded anew"
        )


def _decode_split(photographs, array, side, what, num_workers, show_progress, report):
    """Decode all photographs; killed at any moment, the next call goes on."""
    array.parent.mkdir(parents=True, exist_ok=True)
    rows_path, journal_path = array.with_suffix(".rows"), array.with_suffix(".journal")
    row_bytes = side * side * 3
    with naming(array), _locked(rows_path, report) as rows:
        if array.exists():  # another process has made it meanwhile
            rows_path.unlink(missing_ok=True)
            return
        names, paths = list(photographs), list(photographs.values())
        done = _resume(rows, journal_path, names, row_bytes)
        again = f", going on after {done:,}" if done else ""
        report(f"decoding {len(names):,} {what} to {side}×{side}, once{again}")
        remaining = len(names) - done
        check_space(array.parent, remaining * row_bytes)
        starts = range(done, len(names), _CHUNK)
        bar = tqdm(
            desc="decoding",
            initial=done,
            total=len(names),
            unit="photograph",
            disable=None if show_progress else True,
        )
        workers = worker_pool(num_workers if remaining >= _WORTH_WORKERS else 0)
        with bar, workers as pool, _open_text(journal_path, "a") as journal:
            jobs = ((paths[start : start + _CHUNK], side) for start in starts)
            for start, results in zip(starts, in_order(pool, _decode_some, jobs)):
                rows.write(b"".join(r for r in results if isinstance(r, bytes)))
                rows.flush()
                os.fsync(rows.fileno())
                for i, result in enumerate(results, start):
                    reason = f"\t{result}" if isinstance(result, str) else ""
                    journal.write(f"{names[i]}\t{paths[i].stat().st_size}{reason}\n")
                journal.flush()
                bar.update(len(results))
        _finish(array, rows_path, journal_path, names, side)
    _report_skipped(array, report)


@contextlib.contextmanager
def _locked(path: Path, report: Callable[[str], object]):
    """A file to go on writing, which one process has at a time."""
    with open_in_place(path, "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report(f"waiting for another process that writes {path}")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file


def _resume(rows, journal_path: Path, names: list[str], row_bytes: int) -> int:
    """Cut rows and journal to what is whole in both; returns how many photographs are done."""
    lines = []
    if journal_path.exists():
        with _open_text(journal_path, "r") as journal:
            lines = [line for line in journal if line.endswith("\n")]
    done = [line.split("\t") for line in lines]
    num_bytes = _HEADER_BYTES + row_bytes * sum(len(fields) == 2 for fields in done)
    as_before = [fields[0] for fields in done] == names[: len(done)]
    if not as_before or os.fstat(rows.fileno()).st_size < num_bytes:
        lines, num_bytes = [], _HEADER_BYTES
    with _open_text(journal_path, "w") as journal:
        journal.writelines(lines)
    rows.truncate(num_bytes)
    return len(lines)


def _finish(array: Path, rows_path: Path, journal_path: Path, names: list[str], side: int) -> None:
    """Turn the journal into the list of files, then the rows into the array."""
    records = _read_records(journal_path)
    num_rows = sum(len(fields) == 2 for fields in records)
    num_bytes = _HEADER_BYTES + num_rows * side * side * 3
    # Where locks do not hold between machines, two processes may have written at once.
    if [name for name, *_ in records] != names or rows_path.stat().st_size != num_bytes:
        journal_path.unlink()
        raise DataError(
            f"{rows_path} was written by several processes at once: start one, which decodes "
            f"anew, and then the others"
        )
    with open(journal_path, "r+b") as journal:
        complete(journal, _files_of(array))
    with open(rows_path, "r+b") as rows:
        header = {"descr": "|u1", "fortran_order": False, "shape": (num_rows, side, side, 3)}
        write_array_header_1_0(rows, header)
        complete(rows, array)


def _report_skipped(array: Path, report: Callable[[str], object]) -> None:
    skipped = [record for record in _read_records(_files_of(array)) if len(record) > 2]
    for name, _, reason in skipped[:_MAX_NAMED]:
        report(f"skipped {name}: {reason}")
    if len(skipped) > _MAX_NAMED:
        others = len(skipped) - _MAX_NAMED
        report(f"skipped {others} others, named with their reasons in {_files_of(array)}")


def _open_text(path: Path, mode: str):
    """Names of files need not be valid UTF-8."""
    check_file(path)
    how = {"encoding": "utf-8", "errors": "surrogateescape", "newline": "\n"}
    return open(path, mode, **how) if mode == "r" else open_in_place(path, mode, **how)


def _is_size(text: str) -> bool:
    return text.isdecimal() and len(text) < 20


def _read_records(path: Path) -> list[list[str]]:
    """The columns of each line: class/file, size, and perhaps why it was skipped."""
    array = path.with_name(path.name.removesuffix("_files.tsv") + ".npy")
    remedy = f"delete {array} to have the photographs decoded anew"
    try:
        with _open_text(path, "r") as file:
            records = [line.split("\t") for line in file.read().split("\n")[:-1]]
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing: {remedy}") from error
    if not all(len(record) in (2, 3) and _is_size(record[1]) for record in records):
        raise DataError(f"{path} is damaged: {remedy}")
    return records
