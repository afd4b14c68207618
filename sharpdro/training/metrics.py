"""What happened between two lines of train.csv, averaged over all of its steps."""

import dataclasses
import math
import time

import numpy as np
from scipy.stats import spearmanr

from sharpdro.methods.base import StepResult


@dataclasses.dataclass
class MetricSums:
    """Sums over steps. A checkpoint holds them by these names.

    Args:
        steps: number of steps that count; skipped_steps: of those that were taken back.
        seconds: that all of them took; nan where an earlier version did not count some of them.
        gradient_norm: the steps' sum.
        counts, losses, correct: the images' sums by severity, (S,).
        group_weights: the steps' sums by group, (G,), or (0,) for a method without.
        severities, ood_scores: of the images, per step (B,); empty for a method without scores.
    """

    steps: int
    skipped_steps: int
    seconds: float
    gradient_norm: float
    counts: np.ndarray
    losses: np.ndarray
    correct: np.ndarray
    group_weights: np.ndarray
    severities: list
    ood_scores: list

    @classmethod
    def zeros(cls, num_severities: int, num_weights: int) -> "MetricSums":
        """Those of no step."""
        counts = np.zeros(num_severities, np.int64)
        losses, correct = np.zeros(num_severities), np.zeros(num_severities)
        return cls(0, 0, 0.0, 0.0, counts, losses, correct, np.zeros(num_weights), [], [])

    def for_json(self) -> dict[str, list | int | float]:
        """The sums as JSON can hold them."""
        fields = dataclasses.fields(self)
        return {f.name: np.asarray(getattr(self, f.name)).tolist() for f in fields}

    @classmethod
    def from_json(cls, content: dict[str, list | int | float]) -> "MetricSums":
        """What `for_json` has given.

        Raises:
            KeyError: a sum is missing.
            ValueError: one holds no numbers.
        """
        content = {"seconds": math.nan, **content}
        arrays = {f.name: np.asarray(content[f.name]) for f in dataclasses.fields(cls)}
        for name in ("steps", "skipped_steps", "seconds", "gradient_norm"):
            arrays[name] = arrays[name].item()
        for name in ("severities", "ood_scores"):
            arrays[name] = list(arrays[name])
        return cls(**arrays)


class TrainingMetrics:
    """Averages over the steps since the last `row`.

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
        self.sums = MetricSums.zeros(num_severities, len(weight_names))
        self.start_clock()

    def start_clock(self) -> None:
        """Measure time from now on: what came before was not training."""
        self._last_step = time.perf_counter()
        self._start_speed()

    def _start_speed(self):
        """Measure images per second from now on."""
        self._timed_images = 0
        self._started = time.perf_counter()

    def add(self, severities: np.ndarray, result: StepResult) -> None:
        """Add one step: its images' severities (B,), its result as arrays."""
        sums, number = self.sums, self._num_severities
        sums.steps += 1
        sums.counts += np.bincount(severities, minlength=number)
        sums.losses += np.bincount(severities, result.per_sample_loss, number)
        sums.correct += np.bincount(severities, result.is_correct, number)
        if self._weight_names:
            sums.group_weights += result.group_weights
        sums.gradient_norm += float(result.gradient_norm)
        if self._has_scores:
            sums.severities.append(severities)
            sums.ood_scores.append(result.ood_scores)
        self._time(len(severities))

    def skip(self, num_images: int) -> None:
        """Add one step that was taken back: it counts for nothing but the time."""
        self.sums.skipped_steps += 1
        self._time(num_images)

    def _time(self, num_images):
        now = time.perf_counter()
        self.sums.seconds += now - self._last_step
        self._last_step = now
        self._timed_images += num_images
        if not self._is_compiled:  # the first step of all includes its compilation
            self._is_compiled = True
            self._start_speed()

    def row(self, epoch: int, step: int, global_step: int, learning_rate: float) -> dict:
        """The line of train.csv; what comes next is for the next line.

        Args:
            epoch, step: from 1, of the last step; the step is that of the epoch.
            global_step: the number of the step in the whole training.
            learning_rate: of the epoch.
        """
        sums = self.sums
        total = sums.counts.sum()  # 0 where all steps were skipped
        row = {
            "epoch": epoch,
            "step": step,
            "global_step": global_step,
            "loss": _mean(sums.losses.sum(), total),
            "accuracy": _mean(sums.correct.sum(), total),
        }
        for s, count in enumerate(sums.counts):
            row[f"count_{s}"] = count
            row[f"loss_{s}"] = _mean(sums.losses[s], count)
            row[f"accuracy_{s}"] = _mean(sums.correct[s], count)
            row[f"weight_{s}"] = None
        weights = zip(self._weight_names, sums.group_weights)
        row.update({name: _mean(weight, sums.steps) for name, weight in weights})
        if self._has_scores:
            row.update(self._score_columns())
        row["gradient_norm"] = _mean(sums.gradient_norm, sums.steps)
        row["skipped_steps"] = sums.skipped_steps
        row["learning_rate"] = learning_rate
        seconds = time.perf_counter() - self._started
        row["images_per_second"] = self._timed_images / seconds if self._timed_images else None
        row["seconds"] = None if math.isnan(sums.seconds) else sums.seconds
        self.sums = MetricSums.zeros(self._num_severities, len(self._weight_names))
        self._start_speed()
        return row

    def _score_columns(self):
        """How well the scores rank the severities, and their means."""
        severities = np.concatenate([np.zeros(0, int), *self.sums.severities])
        scores = np.concatenate([np.zeros(0), *self.sums.ood_scores])
        totals = np.bincount(severities, scores, self._num_severities)
        row = {f"score_{s}": totals[s] / n if n else None for s, n in enumerate(self.sums.counts)}
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
        *("epoch", "step", "global_step", "loss", "accuracy"),
        *per_severity,
        *(name for name in weight_names if name not in per_severity),
        *(scores if has_scores else ()),
        *("gradient_norm", "skipped_steps", "learning_rate", "images_per_second", "seconds"),
    ]
