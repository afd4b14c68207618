"""A test set for data that come without one: a seeded part of the training images.

Always the same part, whatever the seed of a run, so that all runs are measured on the same images.
"""

from pathlib import Path

import numpy as np

from corruptions.errors import DataError

_SEED = 0
_ONE_IN = 5


def drawn_part(
    split: str, labels: np.ndarray, class_names: tuple[str, ...], source: Path
) -> np.ndarray:
    """Which images are of a split, bool (N,): for testing a fifth of each class, at least one.

    Args:
        split: "train" or "test".
        labels: of the images, ints (N,).
        class_names: in label order.
        source: where the images lie, for messages.

    Raises:
        DataError: a class has fewer than two images.
    """
    is_test, rng = np.zeros(len(labels), bool), np.random.default_rng([_SEED, 3])
    for label, name in enumerate(class_names):
        rows = np.flatnonzero(labels == label)
        if len(rows) < 2:
            raise DataError(
                f"{source}: class {name} has {len(rows)} images, of which some must be set aside "
                f"for testing: add some, or put test images beside it"
            )
        is_test[rng.permutation(rows)[: max(1, len(rows) // _ONE_IN)]] = True
    return is_test == (split == "test")


def describe_drawn(data_dir: Path) -> str:
    """What the test images are then, and why."""
    return (
        f"a fifth of each class's training images in {data_dir}, drawn with seed {_SEED}, as there "
        f"are no test images"
    )
