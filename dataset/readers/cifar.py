"""Reading CIFAR's python archives (Krizhevsky, 2009) without executing what they say.

The files are pickles, and a pickle may call any function it names. This unpickler resolves three
names only, the ones NumPy arrays are pickled with, and to stand-ins that merely record data. Nor
may a few bytes of a pickle ask for gigabytes of memory, so its opcodes are looked through before.
"""

import os
import pickle
import pickletools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from corruptions.errors import DataError
from corruptions.storage.files import check_file
from dataset.readers.download import ensure_unpacked
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


class _DType:
    """Stands in for numpy.dtype."""

    def __init__(self, code, *unused):
        self.code = code

    def __setstate__(self, state):
        pass


class _Array:
    """Stands in for numpy.ndarray: keeps shape, type and bytes."""

    def __init__(self, *unused):
        self.state = None

    def __setstate__(self, state):
        self.state = state

    def to_numpy(self) -> np.ndarray:
        _, shape, dtype, is_fortran, data = self.state
        if dtype.code not in (b"u1", "u1") or is_fortran:
            raise ValueError("array is not uint8 in row-major order")
        return np.frombuffer(data, np.uint8).reshape(shape)


_STAND_INS = {
    ("numpy", "dtype"): _DType,
    ("numpy", "ndarray"): _Array,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
}


class _DataUnpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) not in _STAND_INS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is not data")
        return _STAND_INS[module, name]


def _check_opcodes(file) -> None:
    """Refuse what would take more memory than such a file has reason to; goes back to the start."""
    if os.fstat(file.fileno()).st_size > _MAX_BYTES:
        raise ValueError(f"it has more than {_MAX_BYTES >> 20} MiB")
    for number, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        # The unpickler has room for as many objects as the number under which it remembers one.
        is_memo = opcode.name in ("PUT", "BINPUT", "LONG_BINPUT")
        if max(number, argument if is_memo else 0) > _MAX_OPCODES:
            raise ValueError("it holds more objects than such a file does")
    file.seek(0)


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
        with open(path, "rb") as file:
            _check_opcodes(file)
            content = _DataUnpickler(file, encoding="bytes").load()
        data, labels = content[b"data"].to_numpy(), _labels(content[labels_key])
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


def read_cifar(
    spec: DatasetSpec, data_dir: Path, show_progress: bool
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """CIFAR-10, or CIFAR-100 with its fine labels, from `data_dir`; downloaded if not there.

    Returns:
        For "train" and "test": images, uint8 (N, 32, 32, 3), and labels, int32 (N,).

    Raises:
        DataError: see `ensure_unpacked` and `read_batch`.
    """
    folder = data_dir / spec.clean_folder
    layout = _LAYOUTS[spec.name]
    ensure_unpacked(spec.archive, folder, [*layout.train, *layout.test], show_progress)
    splits = {}
    for split, names in (("train", layout.train), ("test", layout.test)):
        batches = (read_batch(folder / name, spec.num_classes, layout.labels) for name in names)
        images, labels = zip(*batches)
        splits[split] = np.concatenate(images), np.concatenate(labels)
    return splits
