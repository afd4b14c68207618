"""What a network achieves on a set of images. Knows no MindSpore."""

from dataclasses import dataclass, fields

import numpy as np

# Bins of confidence of the expected calibration error, as Guo et al. (2017) have them.
NUM_BINS = 15


@dataclass(frozen=True)
class Score:
    """Numbers of a network on a set of images.

    Args:
        loss: mean cross-entropy in nats, which is the negative log-likelihood per image.
        accuracy: in [0, 1].
        count: number of images.
        ece: expected calibration error in [0, 1], see `calibration_error`; None: not measured, as
            by earlier versions.
        worst_class_accuracy: in [0, 1], see `worst_class_accuracy`; None: not measured.
    """

    loss: float
    accuracy: float
    count: int
    ece: float | None = None
    worst_class_accuracy: float | None = None


# One number each of a row of val.csv and test.csv; rows of earlier versions lack the later ones.
SCORE_COLUMNS = [field.name for field in fields(Score)]
LATER_COLUMNS = {field.name for field in fields(Score) if field.default is None}


def mean_score(scores: list[Score]) -> Score:
    """Mean over severities of each number; the count is their sum.

    That of `ece` is the mean of the severities' errors, not the error of all images together, in
    which too much confidence at one severity and too little at another would cancel. That of
    `worst_class_accuracy` is the mean of each severity's own worst class, not one class's accuracy
    over severities.
    """
    return Score(
        sum(s.loss for s in scores) / len(scores),
        sum(s.accuracy for s in scores) / len(scores),
        sum(s.count for s in scores),
        _mean([s.ece for s in scores]),
        _mean([s.worst_class_accuracy for s in scores]),
    )


def _mean(values: list[float | None]) -> float | None:
    return None if None in values else sum(values) / len(values)


def worst_score(scores: list[Score]) -> Score:
    """The severity of the lowest accuracy (of several, the one of the highest loss).

    All numbers are of that severity: another one may have a higher `ece` or a worse class.
    """
    return min(scores, key=lambda s: (s.accuracy, -s.loss))


def confidences(logits: np.ndarray) -> np.ndarray:
    """The largest softmax probability, that of the class predicted: (N, C) to float64 (N,)."""
    logits = logits.astype(np.float64)
    with np.errstate(invalid="ignore"):  # where logits are not finite, it is NaN
        return 1 / np.exp(logits - logits.max(1, keepdims=True)).sum(1)


def calibration_error(confidence: np.ndarray, is_correct: np.ndarray) -> float:
    """Expected calibration error Σ_m |B_m| / N · |accuracy(B_m) − confidence(B_m)|.

    B_m holds the images whose confidence is in ((m − 1) / 15, m / 15], m = 1 … 15. As defined by
    Guo et al. (*On Calibration of Modern Neural Networks*, ICML 2017, equation 3): nothing is
    taken off for its bias, which is upward and grows as images become fewer.

    Args:
        confidence: in (0, 1], see `confidences`, (N,).
        is_correct: 1 where the class predicted is the label, else 0, (N,).
    """
    inner_edges = np.arange(1, NUM_BINS) / NUM_BINS
    bins = np.searchsorted(inner_edges, confidence, side="left")
    differences = np.bincount(bins, confidence - is_correct, NUM_BINS)
    return float(np.abs(differences).sum() / len(confidence))


def worst_class_accuracy(is_correct: np.ndarray, labels: np.ndarray) -> float:
    """The lowest of the classes' accuracies; classes without an image do not count.

    Args:
        is_correct: 1 where the class predicted is the label, else 0, (N,).
        labels: ints (N,).
    """
    counts, correct = np.bincount(labels), np.bincount(labels, is_correct)
    there = counts > 0
    return float((correct[there] / counts[there]).min())
