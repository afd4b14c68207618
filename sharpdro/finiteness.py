"""Networks that hold or give numbers that are not finite: they are refused."""

from collections.abc import Mapping

import numpy as np

from sharpdro.errors import RunError


def check_network(source: str, arrays: Mapping[str, np.ndarray]) -> None:
    """See that the weights and running statistics of a network are possible ones.

    Args:
        source: where they come from, for the message.
        arrays: by the network's own names or torchvision's.

    Raises:
        RunError: some are not finite, or a variance is negative.
    """
    for name, values in arrays.items():
        problem = None
        if not np.isfinite(values).all():
            problem = "values that are not finite"
        elif name.endswith(("moving_variance", "running_var")) and values.min(initial=0) < 0:
            problem = "negative variances"
        if problem:
            raise RunError(f"{source}: {name} holds {problem}: name another file")


def check_loss(source: str, loss: float) -> None:
    """See that a network gives a finite loss, without which its accuracy means nothing.

    Args:
        source: the network and the images, for the message.
        loss: mean over the images.

    Raises:
        RunError: it does not.
    """
    if not np.isfinite(loss):
        raise RunError(f"the loss of {source} is not finite: name another checkpoint")
