"""What a run does about losses and gradients that are not finite: it stops, or skips steps.

And networks that give none: they are refused.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sharpdro.errors import RunError

ON_NAN = ("stop", "skip")
MOST_SKIPPED = 100  # in a row; afterwards nothing is learned any more
_RATE = "lower --lr"
_WEIGHTS = "lower --step_size or --group_adjustment"


class Finiteness:
    """Checks what training comes to, and counts the steps that were skipped.

    Args:
        on_nan: one of ON_NAN.
        last_checkpoint: of the run, which is there from the first finished epoch on; None: it
            keeps none.
    """

    def __init__(self, on_nan: str, last_checkpoint: Path | None):
        self._on_nan = on_nan
        self._last_checkpoint = last_checkpoint
        self._in_a_row = 0
        self.start_epoch()

    def start_epoch(self) -> None:
        """Forget the steps that were skipped."""
        self.skipped = 0
        self._first = None

    def told(self) -> str:
        """The steps skipped in this epoch, for the log; empty without any."""
        return f", {self.skipped} steps skipped ({self._first})" if self.skipped else ""

    def check(self, what: str, values, epoch: int, hint: str = _RATE) -> None:
        """See that values at the end of an epoch are finite.

        Raises:
            RunError: they are not.
        """
        if not np.isfinite(values).all():
            self._stop(f"{what} is no longer finite after epoch {epoch}", hint)

    def check_step(self, epoch, number, severities, losses, gradient_norm, weights) -> None:
        """See that a step which was not guarded came to something finite.

        Args:
            severities, losses: of the images, (B,).
            weights: of the groups, (G,).

        Raises:
            RunError: it did not.
        """
        found = _not_finite(severities, losses, gradient_norm, weights)
        if found:
            what, hint = found
            self._stop(f"{what} is no longer finite in epoch {epoch}, step {number}", hint)

    def happened(self) -> None:
        """A guarded step was made."""
        self._in_a_row = 0

    def skip(self, epoch, number, severities, losses, gradient_norm, weights, is_overflow) -> None:
        """Count a step that was taken back, or stop.

        Args:
            is_overflow: whether a smaller loss scale may help, so that it is no NaN to stop at,
                unless it is the loss itself, which is not scaled.

        Raises:
            RunError: this is not to be skipped, or too many were.
        """
        found = _not_finite(severities, losses, gradient_norm, weights)
        what, hint = found or ("the update", _RATE)
        where = f"{what} is no longer finite in epoch {epoch}, step {number}"
        if self._on_nan == "stop" and not (is_overflow and np.isfinite(losses).all()):
            self._stop(where, hint)
        self.skipped += 1
        self._in_a_row += 1
        self._first = self._first or f"first step {number}: {what} is not finite"
        if self._in_a_row == MOST_SKIPPED:
            self._stop(f"{where}, the {MOST_SKIPPED}th skipped step in a row", hint)

    def _stop(self, what, hint):
        path = self._last_checkpoint
        kept = (
            f"the last good checkpoint is {path}"
            if path is not None and path.exists()
            else "there is no checkpoint of before"
        )
        other = "" if self._on_nan == "skip" else ", or pass over such steps by --on_nan skip"
        raise RunError(f"{what}: {hint} and choose another --desc{other}; {kept}")


def _not_finite(severities, losses, gradient_norm, weights):
    """What of a step is not finite, and what helps; None if all is."""
    bad = np.unique(severities[~np.isfinite(losses)])
    if len(bad):
        return f"the loss of severity {' and '.join(map(str, bad))}", _RATE
    if not np.isfinite(weights).all():
        return "a group weight", _WEIGHTS
    if not np.isfinite(gradient_norm):
        return "the gradient", _RATE
    return None


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
