"""What happened between two lines of train.csv, averaged over all of its steps."""

import time

import numpy as np


class Interval:
    """Sums over the steps since the last `row`.

    Args:
        num_groups: number of groups.
        has_weights: whether the method has group weights to report.
    """

    def __init__(self, num_groups: int, has_weights: bool):
        self._num_groups = num_groups
        self._has_weights = has_weights
        self._is_compiled = False
        self._reset()

    def _reset(self):
        self.steps = 0
        self._counts = np.zeros(self._num_groups, np.int64)
        self._losses = np.zeros(self._num_groups)
        self._correct = np.zeros(self._num_groups)
        self._weights = np.zeros(self._num_groups)
        self._gradient_norm = 0.0
        self.start_clock()

    def start_clock(self) -> None:
        """Measure images per second from now on: what came before was not training."""
        self._timed_images = 0
        self._started = time.perf_counter()

    def add(self, groups, losses, correct, gradient_norm, group_weights) -> None:
        """Add one step: groups, losses and correct (B,), weights (G,) after the step."""
        self.steps += 1
        self._counts += np.bincount(groups, minlength=self._num_groups)
        self._losses += np.bincount(groups, losses, self._num_groups)
        self._correct += np.bincount(groups, correct, self._num_groups)
        self._weights += group_weights
        self._gradient_norm += float(gradient_norm)
        self._timed_images += len(groups)
        if not self._is_compiled:  # the first step of all includes its compilation
            self._is_compiled = True
            self.start_clock()

    def row(self, epoch: int, step: int, learning_rate: float) -> dict:
        """The line of train.csv; starts the next interval."""
        total = self._counts.sum()
        row = {
            "epoch": epoch,
            "step": step,
            "loss": self._losses.sum() / total,
            "accuracy": self._correct.sum() / total,
        }
        for group in range(self._num_groups):
            count = self._counts[group]
            row[f"count_{group}"] = count
            row[f"loss_{group}"] = self._losses[group] / count if count else None
            row[f"accuracy_{group}"] = self._correct[group] / count if count else None
            weight = self._weights[group] / self.steps
            row[f"weight_{group}"] = weight if self._has_weights else None
        row["gradient_norm"] = self._gradient_norm / self.steps
        row["learning_rate"] = learning_rate
        seconds = time.perf_counter() - self._started
        row["images_per_second"] = self._timed_images / seconds if self._timed_images else None
        self._reset()
        return row


def train_columns(num_groups: int) -> list[str]:
    """Columns of train.csv."""
    per_group = [
        f"{name}_{group}"
        for group in range(num_groups)
        for name in ("count", "loss", "accuracy", "weight")
    ]
    return [
        *("epoch", "step", "loss", "accuracy"),
        *per_group,
        *("gradient_norm", "learning_rate", "images_per_second"),
    ]
