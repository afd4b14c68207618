""".npy files of unknown origin, memory-mapped."""

import math
import os
import warnings
from pathlib import Path

import numpy as np
from numpy.lib.format import (
    open_memmap,
    read_array_header_1_0,
    read_array_header_2_0,
    read_magic,
)

from corruptions.errors import DataError
from corruptions.storage.files import check_file


def open_npy(path: Path, remedy: str = "delete it to have it made anew") -> np.ndarray:
    """Memory-map a .npy file.

    Raises:
        DataError: it is not a whole .npy array.
        OSError: it cannot be read.
    """
    check_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sizes beyond 64 bits, of headers by Python 2
            _check_header(path)
            return open_memmap(path, mode="r")
    except OSError as error:
        if error.filename is not None:
            raise
        raise DataError(f"{path} cannot be mapped ({error.strerror}): {remedy}") from error
    except Exception as error:  # foreign bytes as a header can raise about anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path} is not a whole .npy array ({reason}): {remedy}") from error


def _check_header(path: Path) -> None:
    """Refuse what NumPy would map wrongly; one element of no bytes ends the whole process."""
    with open(path, "rb") as file:
        readers = {(1, 0): read_array_header_1_0, (2, 0): read_array_header_2_0}
        shape, _, dtype = readers[read_magic(file)](file)
        num_bytes = os.fstat(file.fileno()).st_size - file.tell()
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    if not dtype.itemsize or min(shape, default=0) < 0:
        raise ValueError(f"there is no array of {dtype} {shape}")
    if math.prod(shape) * dtype.itemsize > num_bytes:
        raise ValueError(f"{dtype} {shape} is more than its {num_bytes:,} bytes")


def same_labels(found: np.ndarray, labels: np.ndarray) -> bool:
    """Whether an array from a file, of whatever type, holds these labels."""
    return found.dtype.kind in "iu" and np.array_equal(found, labels)
