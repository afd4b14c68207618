"""What happened between two lines of train.csv, averaged over all of its steps."""

import time

import numpy as np
from scipy.stats import spearmanr

_SUMS = (
    *("steps", "_skipped_steps", "_gradient_norm", "_counts", "_losses", "_correct", "_weights"),
    *("_severities", "_scores"),
)


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
        self.steps = self._skipped_steps = 0
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
        if self._has_scores:
            self._severities.append(severities)
            self._scores.append(scores)
        self._time(len(severities))

    def skip(self, num_images: int) -> None:
        """Add one step that was taken back: it counts for nothing but the time."""
        self._skipped_steps += 1
        self._time(num_images)

    def state(self) -> dict[str, list]:
        """The sums, for JSON; the time is no part of them."""
        return {name: np.asarray(getattr(self, name)).tolist() for name in _SUMS}

    def restore(self, state: dict[str, list]) -> None:
        """Go on from what `state` has given."""
        for name in _SUMS:
            setattr(self, name, np.asarray(state[name]))
        self._severities, self._scores = list(self._severities), list(self._scores)

    def _time(self, num_images):
        self._timed_images += num_images
        if not self._is_compiled:  # the first step of all includes its compilation
            self._is_compiled = True
            self.start_clock()

    def row(self, epoch: int, step: int, learning_rate: float) -> dict:
        """The line of train.csv; starts the next interval."""
        total = self._counts.sum()  # 0 where all steps were skipped
        row = {
            "epoch": epoch,
            "step": step,
            "loss": _mean(self._losses.sum(), total),
            "accuracy": _mean(self._correct.sum(), total),
        }
        for s in range(self._num_severities):
            count = self._counts[s]
            row[f"count_{s}"] = count
            row[f"loss_{s}"] = _mean(self._losses[s], count)
            row[f"accuracy_{s}"] = _mean(self._correct[s], count)
            row[f"weight_{s}"] = None
        row.update({n: _mean(w, self.steps) for n, w in zip(self._weight_names, self._weights)})
        if self._has_scores:
            row.update(self._score_columns())
        row["gradient_norm"] = _mean(self._gradient_norm, self.steps)
        row["skipped_steps"] = self._skipped_steps
        row["learning_rate"] = learning_rate
        seconds = time.perf_counter() - self._started
        row["images_per_second"] = self._timed_images / seconds if self._timed_images else None
        self._reset()
        return row

    def _score_columns(self):
        """How well the scores tell the severities, and what they are on average."""
        severities = np.concatenate([np.zeros(0, int), *self._severities])
        scores = np.concatenate([np.zeros(0), *self._scores])
        sums = np.bincount(severities, scores, self._num_severities)
        row = {f"score_{s}": sums[s] / n if n else None for s, n in enumerate(self._counts)}
        # Ranks need two different values of both.
        ranks = len(set(severities.tolist())) > 1 and np.ptp(scores) > 0
        spearman = float(spearmanr(severities, scores).statistic) if ranks else None
        return {**row, "score_spearman": spearman}


def _mean(total, count):
    return float(total / count) if count else None


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
        *("gradient_norm", "skipped_steps", "learning_rate", "images_per_second"),
    ]
