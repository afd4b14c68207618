"""The user's own data: what lies in the data directory, and whether it is what it was.

-d folder: {train,test}/<class>/*, photographs; -d arrays: {train,test}.npz. Without test images a
part of the training images is for testing, see `dataset.readers.drawn_test`.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from corruptions.errors import DataError
from corruptions.parameters import SIDES
from dataset.readers import arrays, photographs
from dataset.readers.decoding import read_records
from dataset.readers.drawn_test import describe_drawn
from dataset.sets import CleanSplit
from dataset.specs import ARRAYS, DEFAULT_SIDE, FOLDER, DatasetSpec, spec_of

_SPLITS = ("train", "test")


@dataclass(frozen=True)
class OwnData:
    """What was found in the data directory.

    Args:
        spec: the dataset.
        class_sizes: training images of each class, (C,); None if they were not asked for.
    """

    spec: DatasetSpec
    class_sizes: np.ndarray | None = None

    @property
    def default_num_per_class(self) -> int:
        """Three quarters of the smallest class, so that a quarter is left for validation."""
        return max(1, 3 * int(self.class_sizes.min()) // 4)

    def check_num_per_class(self, num_per_class: int) -> None:
        """See that every class has so many training images.

        Raises:
            DataError: one has not; names it.
        """
        smallest = int(self.class_sizes.argmin())
        size, name = int(self.class_sizes[smallest]), self.spec.class_names[smallest]
        if num_per_class > size:
            raise DataError(
                f"-n {num_per_class} is too large: class {name} has {size} training images: give "
                f"-n {self.default_num_per_class}, say, or add images of it"
            )


def find_own_data(
    name: str, data_dir: Path, side: int | None = None, splits: tuple[str, ...] = _SPLITS
) -> OwnData:
    """Look at the user's own data; nothing is decoded.

    Args:
        name: one of `dataset.specs.OWN`.
        data_dir: where they lie.
        side: to which photographs are made, in pixels; arrays have their own.
        splits: what is needed.

    Raises:
        DataError: something is missing or does not fit.
        OSError: a file or folder cannot be read.
    """
    if name == ARRAYS:
        side, labels = arrays.look(data_dir, splits)
        num_classes = next(iter(labels.values())).max() + 1
        spec = spec_of(name, side, tuple(map(str, range(num_classes))))
    else:
        spec = spec_of(name, side or DEFAULT_SIDE, ("",))
        spec = spec_of(name, spec.side, _class_names(spec, data_dir, splits))
        labels = {split: _photograph_labels(spec, data_dir, split) for split in splits}
    if "train" not in labels:
        return OwnData(spec)
    return OwnData(spec, np.bincount(labels["train"], minlength=spec.num_classes))


def _class_names(spec: DatasetSpec, data_dir: Path, splits: tuple[str, ...]) -> tuple[str, ...]:
    for split in ("train", *splits):
        if (data_dir / split).is_dir():
            return photographs.class_folders(data_dir / split)
    for split in splits:
        array = photographs.decoded_array(spec, data_dir, split)
        if array.exists():
            return tuple(sorted({record.name.split("/")[0] for record in read_records(array)}))
    raise photographs.missing(data_dir / splits[0])


def _photograph_labels(spec: DatasetSpec, data_dir: Path, split: str) -> np.ndarray:
    found, array = photographs.find_split(spec, data_dir, split), None
    if found is None:
        array = photographs.decoded_array(spec, data_dir, split)
        found = [record.name for record in read_records(array) if record.reason is None]
    return photographs.labels_of(list(found), spec, array)


def fingerprint(clean: dict[str, CleanSplit]) -> str:
    """Checksums of the training and the test images and of their labels."""
    return "-".join(clean[split].crc32 for split in _SPLITS)


def check_fingerprint(clean: dict[str, CleanSplit], expected: str | None, data_dir: Path) -> None:
    """See that images are those that a run was begun with.

    Args:
        clean: some of the splits.
        expected: what `fingerprint` gave then; None: nothing is known.
        data_dir: for the message.

    Raises:
        DataError: they are others.
    """
    before = dict(zip(_SPLITS, expected.split("-"))) if expected else {}
    for split in _SPLITS:
        if split in before and split in clean and clean[split].crc32 != before[split]:
            raise DataError(
                f"the {split} images in {data_dir} differ from those of the network's training run "
                f"(checksum {clean[split].crc32}, not {before[split]}): restore them, or name the "
                f"--data_dir that holds them"
            )


def describe_own_data(spec: DatasetSpec, data_dir: Path) -> list[str]:
    """What is to be said of the user's own data; of other datasets nothing."""
    if not spec.is_own:
        return []
    lines = []
    if spec.side not in SIDES.values():
        made_for = SIDES[spec.variant]
        lines.append(
            f"the corruptions' strengths were chosen for images of {made_for}×{made_for}, and "
            f"these have {spec.side}×{spec.side}"
        )
    reader = photographs if spec.name == FOLDER else arrays
    if reader.is_test_drawn(data_dir):
        lines.append(f"test images: {describe_drawn(data_dir)}")
    return lines
