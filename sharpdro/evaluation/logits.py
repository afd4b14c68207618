"""The logits on the test images as files, for statistics of one's own: --save_logits."""

from pathlib import Path

import numpy as np
from numpy.lib.format import header_data_from_array_1_0, write_array_header_1_0

from corruptions.storage.files import complete, exclusive_partial
from dataset.sets import EvaluationSet

FOLDER = "logits"
CLEAN, LABELS, INDICES = "clean", "labels", "indices"


def save_logits(
    folder: Path, corruption: str, images: EvaluationSet, logits: list[np.ndarray]
) -> None:
    """Write logits, and of which images they are, into `logits/`; files that are there go.

    Args:
        folder: of the run or evaluation.
        corruption: that of the images.
        images: what was measured.
        logits: (N, C) at the last severities of these images: without that of severity 0, its
            file stays as it is.

    Raises:
        OSError: a file cannot be written; it is then as it was before.
    """
    folder = folder / FOLDER
    folder.mkdir(exist_ok=True)
    names = [CLEAN, *(f"{corruption}_{s}" for s in range(1, len(images.arrays)))]
    arrays = dict(zip(names[len(names) - len(logits) :], logits))
    arrays = {name: array.astype(np.float32, copy=False) for name, array in arrays.items()}
    arrays |= {LABELS: images.labels, INDICES: images.indices}
    for name, array in arrays.items():
        _write(folder / f"{name}.npy", np.ascontiguousarray(array))


def _write(path: Path, array: np.ndarray) -> None:
    with exclusive_partial(path) as partial:
        write_array_header_1_0(partial, header_data_from_array_1_0(array))
        partial.write(array.data)
        complete(partial, path)
