"""What happened between two lines of train.csv, averaged over all of its steps."""

import time

import numpy as np
from scipy.stats import spearmanr


class Interval:
    """Sums over the steps since the last `row`.

    Args:
        num_severities: number of severities.
        weight_names: columns of the method's group weights, see `weight_columns`.
        has_scores: whether the method scores samples.
    """

    def __init__(self, num_severities: int, weight_names: list[str], has_scores: bool = False):
        self._num_severities = num_severities
        self._weight_names = weight_names
        self._has_scores = has_scores
        self._is_compiled = False
        self._reset()

    def _reset(self):
        self.steps = 0
        self._counts = np.zeros(self._num_severities, np.int64)
        self._losses = np.zeros(self._num_severities)
        self._correct = np.zeros(self._num_severities)
        self._weights = np.zeros(len(self._weight_names))
        self._severities, self._scores = [], []
        self._gradient_norm = 0.0
        self.start_clock()

    def start_clock(self) -> None:
        """Measure images per second from now on: what came before was not training."""
        self._timed_images = 0
        self._started = time.perf_counter()

    def add(self, severities, losses, correct, gradient_norm, group_weights, scores=None) -> None:
        """Add one step: severities, losses, correct, scores (B,), weights (G,) after the step."""
        self.steps += 1
        self._counts += np.bincount(severities, minlength=self._num_severities)
        self._losses += np.bincount(severities, losses, self._num_severities)
        self._correct += np.bincount(severities, correct, self._num_severities)
        self._weights += group_weights[: len(self._weight_names)]
        self._gradient_norm += float(gradient_norm)
        self._timed_images += len(severities)
        if self._has_scores:
            self._severities.append(severities)
            self._scores.append(scores)
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
        for s in range(self._num_severities):
            count = self._counts[s]
            row[f"count_{s}"] = count
            row[f"loss_{s}"] = self._losses[s] / count if count else None
            row[f"accuracy_{s}"] = self._correct[s] / count if count else None
            row[f"weight_{s}"] = None
        row.update(zip(self._weight_names, (self._weights / self.steps).tolist()))
        if self._has_scores:
            row.update(self._score_columns())
        row["gradient_norm"] = self._gradient_norm / self.steps
        row["learning_rate"] = learning_rate
        seconds = time.perf_counter() - self._started
        row["images_per_second"] = self._timed_images / seconds if self._timed_images else None
        self._reset()
        return row

    def _score_columns(self):
        """How well the scores tell the severities, and what they are on average."""
        severities, scores = np.concatenate(self._severities), np.concatenate(self._scores)
        sums = np.bincount(severities, scores, self._num_severities)
        row = {f"score_{s}": sums[s] / n if n else None for s, n in enumerate(self._counts)}
        # Ranks need two different values of both.
        ranks = len(set(severities.tolist())) > 1 and np.ptp(scores) > 0
        spearman = float(spearmanr(severities, scores).statistic) if ranks else None
        return {**row, "score_spearman": spearman}


def weight_columns(num_groups: int, are_inferred: bool = False) -> list[str]:
    """Columns for the weights of groups, which are the severities or inferred ones."""
    name = "inferred_weight" if are_inferred else "weight"
    return [f"{name}_{group}" for group in range(num_groups)]


def train_columns(num_severities: int, weight_names: list[str], has_scores: bool) -> list[str]:
    """Columns of train.csv."""
    per_severity = [
        f"{name}_{s}"
        for s in range(num_severities)
        for name in ("count", "loss", "accuracy", "weight")
    ]
    scores = [*(f"score_{s}" for s in range(num_severities)), "score_spearman"]
    return [
        *("epoch", "step", "loss", "accuracy"),
        *per_severity,
        *(name for name in weight_names if name not in per_severity),
        *(scores if has_scores else ()),
        *("gradient_norm", "learning_rate", "images_per_second"),
    ]
