"""ImageNet-30 (Hendrycks et al., NeurIPS 2019): photographs of any size, in one folder per class.

They are decoded once, from DATA_DIR/ImageNet-30 into DATA_DIR/ImageNet-30-64:

    {split}.npy            uint8 (N, 64, 64, 3), one row per photograph
    {split}_files.txt      the rows' class/file
    {split}_skipped.txt    what could not be decoded: class/file, size in bytes, reason
"""

import contextlib
import fcntl
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.lib.format import write_array_header_1_0
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from corruptions.arrays import open_npy
from corruptions.errors import DataError
from corruptions.files import check_space, complete, exclusive_partial
from corruptions.workers import in_order, worker_pool
from dataset.specs import DatasetSpec

# As the data directory of most projects has them, and as the published archives unpack.
FOLDERS = {"train": ("train", "one_class_train"), "test": ("test", "one_class_test")}
# The decoders that photographs need; some of Pillow's others start programs.
_FORMATS = ("JPEG", "PNG", "GIF", "BMP")
# Photographs that a worker gets at a time.
_CHUNK = 128
# With fewer, starting worker processes costs more than it saves.
_WORTH_WORKERS = 500
_MAX_NAMED = 20


def read_imagenet30(
    spec: DatasetSpec,
    data_dir: Path,
    num_workers: int,
    show_progress: bool,
    report: Callable[[str], object],
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The photographs at 64×64, memory-mapped; decoded before, where that was not done yet.

    The arguments are those of `dataset.prepare_dataset.read_clean`.

    Returns:
        For "train" and "test": images, uint8 (N, 64, 64, 3), and labels, int32 (N,), by class and
        file name.

    Raises:
        DataError: there are no photographs (of a class), or other ones than were decoded.
        OSError: a file cannot be read or written.
    """
    how = num_workers, show_progress, report
    return {split: _read_split(spec, data_dir, split, *how) for split in FOLDERS}


def read_names(spec: DatasetSpec, data_dir: Path, split: str) -> tuple[list[str], set[str]]:
    """The class/file of each row of a split that was read; and of what could not be decoded."""
    files, skipped = _records(_decoded_array(spec, data_dir, split))
    return _read_lines(files), {line.split("\t")[0] for line in _read_lines(skipped)}


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
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=_FORMATS) as image:
                if image.mode.startswith("I"):  # 16 bits of grey
                    image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
                small = image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
                return np.asarray(small)
    except UnidentifiedImageError as error:
        raise DataError(f"not one of {', '.join(_FORMATS)}") from error
    except Exception as error:  # decoding foreign bytes can raise about anything
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise DataError(" ".join(str(error).split()) or type(error).__name__) from error


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


def _decoded_array(spec: DatasetSpec, data_dir: Path, split: str) -> Path:
    return data_dir / f"{spec.clean_folder}-{spec.side}" / f"{split}.npy"


def _records(array: Path) -> tuple[Path, Path]:
    """Where the names of an array's rows stand, and those of what was skipped."""
    return array.with_name(f"{array.stem}_files.txt"), array.with_name(f"{array.stem}_skipped.txt")


def _read_split(spec, data_dir, split, num_workers, show_progress, report):
    folder = _source_folder(spec, data_dir, split)
    array = _decoded_array(spec, data_dir, split)
    photographs = find_photographs(folder, spec.class_names) if folder else {}
    if not array.exists():
        if folder is None:
            raise DataError(
                f"{data_dir / spec.clean_folder / split} is missing: ImageNet-30 cannot be fetched "
                f"by this program; put its photographs there, a folder for each of the "
                f"{spec.num_classes} classes, or name their place with --data_dir"
            )
        how = num_workers, show_progress, report
        _decode_split(photographs, array, spec.side, f"{split} photographs in {folder}", *how)
    files, skipped = _records(array)
    names = _read_lines(files)
    dropped = [line.split("\t") for line in _read_lines(skipped)]
    if folder is not None:
        _check_unchanged(photographs, names, dropped, folder, array)
    images = open_npy(array)
    shape = (len(names), spec.side, spec.side, 3)
    if images.dtype != np.uint8 or images.shape != shape:
        raise DataError(
            f"{array} holds {images.dtype} {images.shape}, expected uint8 {shape}: delete it to "
            f"have it made anew"
        )
    return images, _labels(names, spec, folder or array)


def _labels(names: list[str], spec: DatasetSpec, where: Path) -> np.ndarray:
    index = {name: i for i, name in enumerate(spec.class_names)}
    labels = np.array([index[name.split("/")[0]] for name in names], np.int32)
    empty = np.flatnonzero(np.bincount(labels, minlength=spec.num_classes) == 0)
    if len(empty):
        raise DataError(f"{where}: no photograph of {spec.class_names[empty[0]]} can be decoded")
    return labels


def _check_unchanged(photographs, names, dropped, folder, array):
    before = {*names, *(name for name, *_ in dropped)}
    gone, new = before - photographs.keys(), photographs.keys() - before
    other = [
        name
        for name, size, _ in dropped
        if name in photographs and photographs[name].stat().st_size != int(size)
    ]
    if gone or new or other:
        example = min([*gone, *new, *other])
        raise DataError(
            f"{folder} has changed since it was decoded ({len(gone)} photographs gone, {len(new)} "
            f"new, {len(other)} replaced, such as {example}): restore it, or delete {array} to "
            f"have it decoded anew"
        )


def _decode_split(photographs, array, side, what, num_workers, show_progress, report):
    """Decode all photographs; killed at any moment, the next call goes on."""
    array.parent.mkdir(parents=True, exist_ok=True)
    rows_path, journal_path = array.with_suffix(".rows"), array.with_suffix(".journal")
    row_bytes = side * side * 3
    with _locked(rows_path, report) as rows:
        if array.exists():  # another process has made it meanwhile
            return
        names, paths = list(photographs), list(photographs.values())
        done = _resume(rows, journal_path, names, row_bytes)
        again = f", going on after {done:,}" if done else ""
        report(f"decoding {len(names):,} {what} to {side}×{side}, once{again}")
        check_space(array.parent, (2 * len(names) - done) * row_bytes)
        remaining = len(names) - done
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
                    failed = isinstance(result, str)
                    size = f"\t{paths[i].stat().st_size}\t{result}" if failed else ""
                    journal.write(f"{names[i]}{size}\n")
                journal.flush()
                bar.update(len(results))
        _finish(array, rows_path, journal_path, side)
    _report_skipped(_read_lines(_records(array)[1]), report)


@contextlib.contextmanager
def _locked(path: Path, report: Callable[[str], object]):
    """A file to go on writing, which one process has at a time."""
    with open(path, "ab") as file:
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
    done = [line.rstrip("\n").split("\t") for line in lines]
    num_rows = sum(len(fields) == 1 for fields in done)
    as_before = [fields[0] for fields in done] == names[: len(done)]
    if not as_before or os.fstat(rows.fileno()).st_size < num_rows * row_bytes:
        lines, num_rows = [], 0
    with _open_text(journal_path, "w") as journal:
        journal.writelines(lines)
    rows.truncate(num_rows * row_bytes)
    return len(lines)


def _finish(array: Path, rows_path: Path, journal_path: Path, side: int) -> None:
    """Put the array together; it appears last, once everything is on disk."""
    lines = _read_lines(journal_path)
    kept = [line for line in lines if "\t" not in line]
    for path, chosen in zip(_records(array), (kept, [line for line in lines if "\t" in line])):
        with exclusive_partial(path) as partial:
            text = "".join(f"{line}\n" for line in chosen)
            partial.write(text.encode("utf-8", "surrogateescape"))
            complete(partial, path)
    with exclusive_partial(array) as partial, open(rows_path, "rb") as rows:
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(kept), side, side, 3)}
        write_array_header_1_0(partial, header)
        while block := rows.read(2**24):
            partial.write(block)
        complete(partial, array)
    journal_path.unlink()
    rows_path.unlink()


def _report_skipped(lines: list[str], report: Callable[[str], object]) -> None:
    for line in lines[:_MAX_NAMED]:
        name, _, reason = line.split("\t")
        report(f"skipped {name}: {reason}")
    if len(lines) > _MAX_NAMED:
        report(f"skipped {len(lines) - _MAX_NAMED} others")


def _open_text(path: Path, mode: str):
    """Names of files need not be valid UTF-8."""
    return open(path, mode, encoding="utf-8", errors="surrogateescape", newline="\n")


def _read_lines(path: Path) -> list[str]:
    try:
        with _open_text(path, "r") as file:
            return file.read().split("\n")[:-1]
    except FileNotFoundError as error:
        array = path.with_name(path.name.split("_")[0] + ".npy")
        raise DataError(
            f"{path} is missing: delete {array} to have the photographs decoded anew"
        ) from error
