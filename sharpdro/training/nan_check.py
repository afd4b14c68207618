"""What a run does about losses and gradients that are not finite: it stops, or skips steps."""

from pathlib import Path

import numpy as np

from sharpdro.errors import RunError
from sharpdro.methods.base import StepResult

MOST_SKIPPED = 100  # in a row; afterwards nothing is learned any more
_RATE = "lower --lr"
_WEIGHTS = "lower --step_size or --group_adjustment"


class NanCheck:
    """Checks that the results of training are finite, and counts skipped steps.

    Args:
        on_nan: "stop" or "skip".
        last_checkpoint: of the run, which is there from the first finished epoch on; None: it
            keeps none.
    """

    def __init__(self, on_nan: str, last_checkpoint: Path | None):
        self._on_nan = on_nan
        self._last_checkpoint = last_checkpoint
        self._num_in_a_row = 0
        self._num_skipped = 0
        self._first_skipped = None

    def start_epoch(self) -> None:
        """Forget the steps that were skipped, except how many they are in a row."""
        self._num_skipped = 0
        self._first_skipped = None

    def skipped_steps(self) -> str:
        """The steps skipped in this epoch, for the log; empty without any."""
        if not self._num_skipped:
            return ""
        return f", {self._num_skipped} steps skipped ({self._first_skipped})"

    def check(self, name: str, values, epoch: int) -> None:
        """Check that values at the end of an epoch are finite.

        Raises:
            RunError: they are not; names them.
        """
        if not np.isfinite(values).all():
            self._stop(f"{name} is no longer finite after epoch {epoch}", _RATE)

    def check_step(
        self, epoch: int, number: int, severities: np.ndarray, result: StepResult
    ) -> bool:
        """Check that the results of a step are finite, or that it was rightly undone.

        An overflow that a smaller loss scale may avoid is no NaN to stop at, unless it is in the
        loss itself, which is not scaled.

        Args:
            epoch, number: of the step, from 1.
            severities: of the images, (B,).
            result: of the step, as arrays.

        Returns:
            Whether it counts; False: it was taken back.

        Raises:
            RunError: it is not to be skipped, or too many were.
        """
        problem = _find_problem(severities, result)
        if result.was_applied is None:
            if problem:
                self._stop(_at_step(problem[0], epoch, number), problem[1])
            return True
        if result.was_applied:
            self._num_in_a_row = 0
            return True
        self._skip(epoch, number, result, *(problem or ("the update", _RATE)))
        return False

    def _skip(self, epoch, number, result, culprit, hint):
        can_scale_less = result.loss_scale is not None and result.loss_scale > 1
        is_overflow = can_scale_less and np.isfinite(result.per_sample_loss).all()
        if self._on_nan == "stop" and not is_overflow:
            self._stop(_at_step(culprit, epoch, number), hint)
        self._num_skipped += 1
        self._num_in_a_row += 1
        if self._first_skipped is None:
            self._first_skipped = f"first step {number}: {culprit} is not finite"
        if self._num_in_a_row == MOST_SKIPPED:
            where = _at_step(culprit, epoch, number)
            self._stop(f"{where}, the {MOST_SKIPPED}th skipped step in a row", hint)

    def _stop(self, problem, hint):
        path = self._last_checkpoint
        kept = (
            f"the last good checkpoint is {path}"
            if path is not None and path.exists()
            else "there is no earlier checkpoint"
        )
        other = "" if self._on_nan == "skip" else ", or skip such steps with --on_nan skip"
        raise RunError(f"{problem}: {hint} and choose another --desc{other}; {kept}")


def _at_step(culprit, epoch, number):
    return f"{culprit} is no longer finite in epoch {epoch}, step {number}"


def _find_problem(severities, result):
    """What of a step is not finite, and what helps; None if all is."""
    bad = np.unique(severities[~np.isfinite(result.per_sample_loss)])
    if len(bad):
        return f"the loss of severity {' and '.join(map(str, bad))}", _RATE
    if result.group_weights is not None and not np.isfinite(result.group_weights).all():
        return "a group weight", _WEIGHTS
    if not np.isfinite(result.gradient_norm):
        return "the gradient", _RATE
    return None
