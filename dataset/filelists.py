"""Lists that say which photograph of ImageNet-30 belongs where, as the SharpDRO authors keep them.

`imagenet30_distribution_0.txt` … `_5.txt` (the severities), `imagenet30_val.txt` and
`imagenet30_test.txt` have lines `class/file label`.
"""

from pathlib import Path

import numpy as np

from corruptions.errors import DataError
from corruptions.storage.files import check_file
from dataset.sets import Files
from dataset.specs import DatasetSpec

FILELIST_DIR = Path(__file__).resolve().parent.parent / "imagenet30_filelist"

_PREFIX, _SUFFIX = "imagenet30_", ".txt"
VALIDATION, TEST = "val", "test"


def find_lists(folder: Path) -> dict[str, Path]:
    """The lists in a folder, by what they list: "distribution_0", …, "val", "test".

    Capitals in their names do not matter.

    Raises:
        DataError: two are the same except for capitals.
    """
    lists = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        part = path.name.lower().removeprefix(_PREFIX).removesuffix(_SUFFIX)
        if path.name.lower() != f"{_PREFIX}{part}{_SUFFIX}":
            continue
        if part in lists:
            raise DataError(f"{folder} has both {lists[part].name} and {path.name}: leave one")
        if part in (VALIDATION, TEST) or part.removeprefix("distribution_").isdecimal():
            lists[part] = path
    return lists


def severity_parts(num_severity: int) -> list[str]:
    """What the lists of the severities 0 … S list."""
    return [f"distribution_{severity}" for severity in range(num_severity + 1)]


def read_training_lists(
    lists: dict[str, Path], spec: DatasetSpec, files: Files, num_severity: int
) -> tuple[list[np.ndarray], np.ndarray]:
    """The split of the training images that lists say.

    Hidden files, and those that could not be decoded, are left out; lists of higher severities
    are not read.

    Args:
        lists: see `find_lists`.
        spec: the dataset.
        files: of its training images.
        num_severity: S.

    Returns:
        What `dataset.poisson.split_by_severity` returns.

    Raises:
        DataError: a list is missing, empty or not such a list; it names files that are not there,
            unknown classes, other labels, or files that are listed already.
    """
    parts = _needed_parts(lists, num_severity)
    listed = {}
    reader = _ListReader(spec, files, "train")
    *per_severity, validation = [reader.read(lists[part], listed) for part in parts]
    _require_some(np.concatenate(per_severity), lists[parts[0]])
    _require_some(validation, lists[VALIDATION])
    return per_severity, validation


def _needed_parts(lists: dict[str, Path], num_severity: int) -> list[str]:
    parts = [*severity_parts(num_severity), VALIDATION]
    missing = [part for part in parts if part not in lists]
    if missing:
        folder = next(iter(lists.values())).parent
        raise DataError(
            f"{folder} lacks {list_name(missing[0])}: add it, or take the other lists away to have "
            f"the photographs shared out anew"
        )
    return parts


def count_listed(lists: dict[str, Path], num_severity: int) -> dict[str, int]:
    """How many photographs each list names, whether they are there or not.

    Args:
        lists: see `find_lists`.
        num_severity: S.

    Raises:
        DataError: a list of training images is missing.
    """
    parts = [*_needed_parts(lists, num_severity), *({TEST} & lists.keys())]
    return {part: sum(bool(line.strip()) for line in _lines(lists[part])) for part in parts}


def read_test_list(lists: dict[str, Path], spec: DatasetSpec, files: Files) -> np.ndarray:
    """The rows of the test images that are listed in `lists[TEST]`.

    Arguments, of the test images, and errors as for `read_training_lists`.
    """
    rows = _ListReader(spec, files, "test").read(lists[TEST], {})
    _require_some(rows, lists[TEST])
    return rows


def _require_some(rows: np.ndarray, path: Path) -> None:
    if not len(rows):
        raise DataError(f"{path} lists no photograph that there is")


class _ListReader:
    """Turns the lines of lists into rows of a split."""

    def __init__(self, spec: DatasetSpec, files: Files, split: str):
        self._files = files
        self._rows = {name: row for row, name in enumerate(files.names)}
        self._labels = {name: str(label) for label, name in enumerate(spec.class_names)}
        self._other_folders = {
            folder
            for other, folders in spec.photograph_folders.items()
            if other != split
            for folder in folders
        }

    def read(self, path: Path, listed: dict[str, Path]) -> np.ndarray:
        """The rows that a list names, ascending; adds their names to those `listed`."""
        rows = []
        for number, line in enumerate(_lines(path), 1):
            if not line.strip():
                continue
            name = self._check(line, f"{path}, line {number}")
            if name in listed:
                raise DataError(f"{path}, line {number}: {name} is in {listed[name]} already")
            listed[name] = path
            if name in self._rows:
                rows.append(self._rows[name])
        return np.sort(np.array(rows, np.int64))

    def _check(self, line: str, where: str) -> str:
        *paths, label = line.rsplit(maxsplit=1)
        *above, class_name, file = ["", "", *"".join(paths).split("/")]
        if not class_name:
            raise DataError(f"{where}: expected class/file label, not {line.strip()[:80]!r}")
        name = f"{class_name}/{file}"
        if class_name not in self._labels:
            raise DataError(f"{where}: {class_name!r} is no class of ImageNet-30")
        if label != self._labels[class_name]:
            raise DataError(
                f"{where}: {class_name} has label {self._labels[class_name]}, not {label}"
            )
        folder = self._files.folder
        if above[-1] in self._other_folders:
            raise DataError(f"{where}: a photograph from {above[-1]}/ in a list for {folder}")
        is_hidden = file.startswith(".")
        if not is_hidden and name not in self._rows and name not in self._files.skipped:
            raise DataError(f"{where}: {name} is not in {folder}")
        return name


def _lines(path: Path) -> list[str]:
    try:
        check_file(path)
        return path.read_text(encoding="utf-8", errors="surrogateescape").split("\n")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def list_name(part: str) -> str:
    """The name of a list."""
    return f"{_PREFIX}{part}{_SUFFIX}"


def list_texts(
    spec: DatasetSpec,
    files: dict[str, Files],
    per_severity: list[np.ndarray],
    validation: np.ndarray,
    test: np.ndarray,
) -> dict[str, str]:
    """The lists that say a split, by their names; `files` of "train" and "test"."""
    labels = {name: label for label, name in enumerate(spec.class_names)}

    def text(names, rows):
        chosen = (names[row] for row in rows)
        return "".join(f"{name} {labels[name.split('/')[0]]}\n" for name in chosen)

    parts = [*severity_parts(len(per_severity) - 1), VALIDATION]
    texts = {
        list_name(part): text(files["train"].names, rows)
        for part, rows in zip(parts, [*per_severity, validation])
    }
    return {**texts, list_name(TEST): text(files["test"].names, test)}
