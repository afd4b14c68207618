"""How a training goes: its length, how often it is looked at, what is kept."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """How long to train, how often to look, what to keep.

    Args:
        total_epoch: number of epochs.
        steps_per_epoch: batches in one.
        learning_rate: of an epoch 1 … total_epoch.
        log_train: steps per line of train.csv.
        eval_every: epochs per evaluation; the last epoch is always evaluated.
        best_metric: see `summary.best_epoch`.
        save_step: epochs per numbered checkpoint; 0: none.
        save_last, save_best: keep last.ckpt (needed to resume), best.ckpt.
        show_progress: draw a progress bar.
        on_nan: "stop" or "skip": what happens at a step whose result is not finite.
        save_logits: keep the logits on the test images, of the best epoch.
    """

    total_epoch: int
    steps_per_epoch: int
    learning_rate: Callable[[int], float]
    log_train: int
    eval_every: int
    best_metric: str
    save_step: int
    save_last: bool
    save_best: bool
    show_progress: bool
    on_nan: str = "stop"
    save_logits: bool = False

    def is_evaluated(self, epoch: int) -> bool:
        """Whether the network is evaluated after an epoch."""
        return is_evaluated(epoch, self.eval_every, self.total_epoch)


def is_evaluated(epoch: int, eval_every: int, total_epoch: int) -> bool:
    """Whether a run is evaluated after an epoch: every so often, and after its last one."""
    return epoch % eval_every == 0 or epoch == total_epoch
