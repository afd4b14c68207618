"""Networks that are not this program's: any cell from images to logits, by its place."""

import numpy as np
from mindspore import Tensor, nn

from sharpdro import own_code
from sharpdro.errors import RunError


def create_own_network(place: str, num_classes: int) -> nn.Cell:
    """A network of the user's own, with initial weights of MindSpore's seed.

    Args:
        place: "package.module:Name" of a class or function, called as Name(num_classes=…).
        num_classes: number of logits.

    Raises:
        RunError: it is not there, raises when it is called, or makes something else than a cell.
    """
    build, call = own_code.load(place, "-m"), f"-m {place}: {place.split(':')[1]}(num_classes=…)"
    try:
        network = build(num_classes=num_classes)
    except Exception as error:
        raise RunError(f"{call} raises {own_code.describe(error)}") from error
    if not isinstance(network, nn.Cell):
        raise RunError(
            f"{call} returns a {type(network).__name__}: name a mindspore.nn.Cell, or a function "
            f"that returns one"
        )
    if not network.trainable_params():
        raise RunError(f"{call} returns a cell without a parameter to train")
    return network


def check_logits(place: str, network: nn.Cell, side: int, num_classes: int) -> None:
    """See what a network makes of two images; it is in training mode afterwards.

    Args:
        place: its, for messages.
        network: float32 (N, 3, side, side) to what should be float32 (N, num_classes).
        side, num_classes: of the dataset.

    Raises:
        RunError: it fails, or gives anything but logits.
    """
    images = Tensor(np.zeros((2, 3, side, side), np.float32))
    try:
        logits = network.set_train(False)(images)
    except Exception as error:
        raise RunError(
            f"-m {place} fails on float32 images of shape {images.shape}: "
            f"{own_code.describe(error)}"
        ) from error
    network.set_train()
    expected = f"logits are float32 of shape {(2, num_classes)}"
    if not isinstance(logits, Tensor):
        raise RunError(f"-m {place} returns a {type(logits).__name__}, but {expected}")
    found = (logits.shape, str(logits.dtype))
    if found != ((2, num_classes), "Float32"):
        raise RunError(
            f"-m {place} returns {found[1].lower()} of shape {found[0]} for images of shape "
            f"{images.shape}, but {expected}"
        )
