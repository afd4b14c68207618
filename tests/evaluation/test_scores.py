"""Calibration and the worst class, against NumPy and by hand; means over severities."""

import math
import warnings

import numpy as np
import oracle
import pytest

from sharpdro.evaluation.scores import (
    Score,
    calibration_error,
    confidences,
    mean_score,
    worst_class_accuracy,
    worst_score,
)


@pytest.mark.parametrize(("num_images", "num_classes"), [(1, 2), (7, 3), (500, 10), (400, 100)])
def test_against_another_writing(num_images, num_classes):
    rng = np.random.default_rng(num_images)
    logits = rng.normal(0, 3, (num_images, num_classes)).astype(np.float32)
    best = logits.argmax(1)
    labels = np.where(rng.random(num_images) < 0.6, best, rng.integers(0, num_classes, num_images))
    is_correct = (best == labels).astype(np.float32)
    error = calibration_error(confidences(logits), is_correct)
    logits = logits.astype(np.float64)
    assert error == pytest.approx(oracle.calibration_error(logits, labels), rel=1e-12)
    expected = oracle.worst_class_accuracy(logits, labels)
    assert worst_class_accuracy(is_correct, labels) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("confidence", "is_correct", "error"),
    [
        ([0.7], [0], 0.7),  # a single image
        ([0.7], [1], 0.3),
        # Both in (9/15, 10/15]: |0.61 + 0.65 − 1| / 2. In bins of their own: (0.39 + 0.65) / 2.
        ([0.61, 0.65], [1, 0], 0.13),
        # An edge belongs to the bin below: 0.2 = 3/15 is with 0.15, |0.35 − 1| / 2 …
        ([0.2, 0.15], [1, 0], 0.325),
        # … and not with 0.25: (0.8 + 0.25) / 2.
        ([0.2, 0.25], [1, 0], 0.525),
        # A confidence of 1 is in the last bin, (14/15, 1]: |1.95 − 1| / 2.
        ([1.0, 0.95], [1, 0], 0.475),
        ([1.0], [1], 0.0),
        # Two bins: |1.5 − 1| / 4 of those at 0.75, |1.2 − 2| / 4 of those at 0.6.
        ([0.75, 0.6, 0.75, 0.6], [1, 1, 0, 1], 0.125 + 0.2),
    ],
)
def test_calibration_error_by_hand(confidence, is_correct, error):
    found = calibration_error(np.array(confidence), np.array(is_correct, np.float32))
    assert found == pytest.approx(error, abs=1e-7)


def test_confidence_by_hand():
    """e⁰ : e^log 3 = 1 : 3; a logit far above the others leaves exactly 1."""
    logits = np.array([[math.log(3), 0], [0, 1000], [-2000, -2000]], np.float32)
    found = confidences(logits)
    assert found.dtype == np.float64
    assert found[0] == pytest.approx(0.75, rel=1e-6) and found[1] == 1 and found[2] == 0.5


def test_logits_that_are_not_finite_have_no_calibration():
    """The loss is refused then, in words of its own: nothing is to be said before."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for value in (math.nan, math.inf):
            found = confidences(np.array([[value, 0], [0, 1]], np.float32))
            assert math.isnan(calibration_error(found, np.zeros(2)))


@pytest.mark.parametrize(
    ("is_correct", "labels", "worst"),
    [
        # Class 0 has one of two, class 1 no image, class 2 its only one.
        ([1, 0, 1], [0, 0, 2], 0.5),
        ([1, 1, 1, 0], [3, 3, 1, 1], 0.5),
        ([1, 1, 0], [0, 1, 4], 0.0),
        ([1], [9], 1.0),  # a single image
    ],
)
def test_worst_class_by_hand(is_correct, labels, worst):
    assert worst_class_accuracy(np.array(is_correct, np.float32), np.array(labels)) == worst


def test_mean_and_worst():
    scores = [Score(1.0, 0.5, 10), Score(2.0, 0.25, 10), Score(3.0, 0.25, 10)]
    assert mean_score(scores) == Score(2.0, pytest.approx(1 / 3), 30)
    assert worst_score(scores) == scores[2]


def test_mean_and_worst_of_calibration():
    """The worst severity is that of the lowest accuracy, whatever its calibration."""
    scores = [Score(1.0, 0.5, 10, 0.5, 0.25), Score(2.0, 0.25, 10, 0.125, 0.125)]
    assert mean_score(scores) == Score(1.5, 0.375, 20, 0.3125, 0.1875)
    assert worst_score(scores) is scores[1]
    lacking = [*scores, Score(2.0, 0.5, 10)]
    assert mean_score(lacking).ece is mean_score(lacking).worst_class_accuracy is None
