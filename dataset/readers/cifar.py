"""Reading CIFAR's python archives (Krizhevsky, 2009) without executing what they say.

The files are pickles, and a pickle may call any function it names, ask for gigabytes in a few
bytes, and make a dict hash a tuple of 2⁶⁰ parts. So they are not unpickled: what the archives
consist of is read from the pickle's opcodes, and every other one is refused.
"""

import pickletools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from corruptions.errors import DataError
from corruptions.storage.files import check_file
from dataset.readers.download import ensure_unpacked
from dataset.sets import CleanSplit
from dataset.specs import DatasetSpec

_SIDE = 32
# The largest file of the archives has 155 MB and some 200,000 opcodes.
_MAX_BYTES, _MAX_OPCODES = 256 << 20, 1_000_000


@dataclass(frozen=True)
class _Layout:
    """The files of an archive's splits, and the key of the labels in them."""

    train: tuple[str, ...]
    test: tuple[str, ...]
    labels: bytes


_LAYOUTS = {
    "cifar10": _Layout(tuple(f"data_batch_{i}" for i in range(1, 6)), ("test_batch",), b"labels"),
    "cifar100": _Layout(("train",), ("test",), b"fine_labels"),
}


@dataclass
class _Object:
    """What a pickle says of an object: what makes it, from what, and its state."""

    maker: str
    arguments: tuple
    state: tuple | None = None


_ARRAY_MAKERS = {
    *("numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct"),
    "numpy ndarray",
}
_NAMES = {*_ARRAY_MAKERS, "numpy dtype"}
_VALUES = {
    *("BININT", "BININT1", "BININT2", "BINUNICODE", "SHORT_BINUNICODE"),
    *("BINBYTES", "SHORT_BINBYTES", "BINSTRING", "SHORT_BINSTRING"),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_EMPTY = {"EMPTY_LIST": list, "EMPTY_DICT": dict}
# How many objects from the top of the stack these take; None: those since the last mark.
_TAKEN = {
    **{"TUPLE": None, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3, "APPENDS": None, "APPEND": 1},
    **{"SETITEMS": None, "SETITEM": 2, "STACK_GLOBAL": 2, "REDUCE": 2, "BUILD": 1},
}


def _parse(content: bytes) -> object:
    """What a pickle of dicts, lists, tuples, numbers, texts and NumPy arrays holds.

    Raises:
        ValueError and about any other: it is none, or holds something else.
    """
    stack, marks, memo = [], [], {}
    for number, (opcode, argument, _) in enumerate(pickletools.genops(content)):
        name = opcode.name
        if number > _MAX_OPCODES:
            raise ValueError("it holds more objects than such a file does")
        if name in _VALUES:  # Python 2's strings are bytes
            stack.append(argument.encode("latin-1") if name.endswith("BINSTRING") else argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name == "GLOBAL":
            stack.append(_known(argument))
        elif name == "MARK":
            marks.append(len(stack))
        elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            memo[len(memo) if argument is None else argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name in _TAKEN:
            start = marks.pop() if _TAKEN[name] is None else len(stack) - _TAKEN[name]
            taken = [stack.pop() for _ in range(len(stack) - start)][::-1]
            _apply(name.rstrip("S123"), taken, stack)
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise ValueError(f"it holds {name}, which such a file does not")
    return stack.pop()


def _apply(name: str, taken: list, stack: list) -> None:
    """Do what an opcode does with what it has taken from the stack."""
    if name == "TUPLE":
        stack.append(tuple(taken))
    elif name == "APPEND":
        stack[-1].extend(taken)
    elif name == "SETITEM":
        if not all(type(key) in (bytes, str) for key in taken[::2]):
            raise ValueError("it holds a dict whose keys are no texts")
        stack[-1].update(zip(taken[::2], taken[1::2]))
    elif name == "STACK_GLOBAL":
        stack.append(_known(*taken))
    elif name == "REDUCE":
        stack.append(_Object(_known(taken[0]), taken[1]))
    elif name == "BUILD":
        (stack[-1].state,) = taken


def _known(*parts) -> str:
    """The name of something that arrays are made of; nothing else is even shown or hashed."""
    if not all(type(part) is str for part in parts):
        raise ValueError("it asks for something without a name")
    name = " ".join(parts)
    if name not in _NAMES:
        asked = name.replace(" ", ".")
        raise ValueError(f"it asks for {asked!r:.100}, which is not data")
    return name


def _array(found: _Object) -> np.ndarray:
    """The NumPy array that a pickle describes.

    Raises:
        ValueError and about any other: it is none of bytes.
    """
    _, shape, dtype, is_fortran, data = found.state
    is_bytes = dtype.maker == "numpy dtype" and dtype.arguments[0] in (b"u1", "u1")
    if found.maker not in _ARRAY_MAKERS or not is_bytes or is_fortran:
        raise ValueError("array is not uint8 in row-major order")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _labels(found) -> np.ndarray:
    if type(found) is not list or not all(type(label) is int for label in found):
        raise ValueError("it holds no integer labels")
    return np.array(found, np.int64)


def read_batch(
    path: Path, num_classes: int, labels_key: bytes = b"labels"
) -> tuple[np.ndarray, np.ndarray]:
    """Read one file of a CIFAR python archive.

    Args:
        path: the file.
        num_classes: labels must be 0 … num_classes−1.
        labels_key: the labels' key in the file.

    Returns:
        Images, uint8 (N, 32, 32, 3), and labels, int32 (N,).

    Raises:
        DataError: the file is missing, not such a pickle, or its content does not fit.
    """
    check_file(path)
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise ValueError(f"it has more than {_MAX_BYTES >> 20} MiB")
        content = _parse(path.read_bytes())
        data, labels = _array(content[b"data"]), _labels(content[labels_key])
    except FileNotFoundError as error:
        raise DataError(
            f"{path} is missing: put it there, or delete {path.parent} to have it fetched anew"
        ) from error
    except OSError:
        raise
    except Exception as error:  # unpickling foreign bytes can raise about anything
        reason = str(error) or type(error).__name__
        raise DataError(f"{path} is not a file of the CIFAR python archive: {reason}") from error
    if data.ndim != 2 or data.shape[1] != 3 * _SIDE * _SIDE or labels.shape != data.shape[:1]:
        raise DataError(
            f"{path} does not fit: images {data.shape}, labels {labels.shape}; "
            f"expected (N, {3 * _SIDE * _SIDE}) and (N,)"
        )
    if len(labels) == 0:
        raise DataError(f"{path} holds no images")
    if labels.min() < 0 or labels.max() >= num_classes:
        raise DataError(
            f"{path} holds labels {labels.min()} … {labels.max()}, expected 0 … {num_classes - 1}"
        )
    images = np.empty((len(data), _SIDE, _SIDE, 3), np.uint8)
    for channel in range(3):  # a third of the time of one transposed copy
        images[..., channel] = data.reshape(-1, 3, _SIDE, _SIDE)[:, channel]
    return images, labels.astype(np.int32)


def read(
    spec: DatasetSpec, data_dir: Path, splits: Iterable[str], *, show_progress: bool, **_
) -> dict[str, CleanSplit]:
    """CIFAR-10, or CIFAR-100 with its fine labels, from `data_dir`; downloaded if not there.

    Arguments as for `dataset.readers.read_splits`; images are 32×32.

    Raises:
        DataError: see `ensure_unpacked` and `read_batch`.
    """
    folder = data_dir / spec.clean_folder
    layout = _LAYOUTS[spec.name]
    files = {"train": layout.train, "test": layout.test}
    ensure_unpacked(spec.archive, folder, [*layout.train, *layout.test], show_progress)
    clean = {}
    for split in splits:
        paths = [folder / name for name in files[split]]
        batches = (read_batch(path, spec.num_classes, layout.labels) for path in paths)
        images, labels = zip(*batches)
        clean[split] = CleanSplit(np.concatenate(images), np.concatenate(labels))
    return clean
