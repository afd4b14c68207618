"""A line of train.csv against sums by hand."""

import numpy as np
import pytest

from sharpdro.interval import Interval, train_columns


def test_a_line_by_hand():
    interval = Interval(num_severities=3, num_weights=3)
    weights = [np.array([0.5, 0.3, 0.2]), np.array([0.1, 0.1, 0.8])]
    interval.add(np.array([0, 0, 1]), np.array([1.0, 2, 3]), np.array([1.0, 0, 1]), 2.0, weights[0])
    interval.add(np.array([1, 0]), np.array([5.0, 4]), np.array([0.0, 1]), 4.0, weights[1])
    row = interval.row(7, 2, 0.1)
    assert list(row) == train_columns(3)
    assert row["loss"] == 3 and row["accuracy"] == pytest.approx(0.6)
    assert [row[f"count_{s}"] for s in range(3)] == [3, 2, 0]
    assert [row[f"loss_{s}"] for s in range(3)] == [pytest.approx(7 / 3), 4, None]
    assert [row[f"accuracy_{s}"] for s in range(3)] == [pytest.approx(2 / 3), 0.5, None]
    assert [row[f"weight_{s}"] for s in range(3)] == pytest.approx([0.3, 0.2, 0.5])
    assert row["gradient_norm"] == 3 and interval.steps == 0


def test_fewer_weights_than_severities():
    interval = Interval(num_severities=3, num_weights=2)
    interval.add(np.array([2]), np.ones(1), np.ones(1), 1.0, np.array([0.25, 0.75]))
    row = interval.row(1, 1, 0.1)
    assert [row[f"weight_{s}"] for s in range(3)] == [0.25, 0.75, None]


def test_scores_by_hand():
    """Spearman is Pearson's correlation of the ranks; ties share the mean of their ranks."""
    interval = Interval(num_severities=3, num_weights=0, has_scores=True)
    one = np.ones(2)
    interval.add(np.array([0, 1]), one, one, 1.0, one, np.array([-0.5, 0.5]))
    interval.add(np.array([1, 0]), one, one, 1.0, one, np.array([0.25, 0.0]))
    row = interval.row(1, 2, 0.1)
    assert list(row) == train_columns(3, has_scores=True)
    assert [row[f"score_{s}"] for s in range(3)] == [-0.25, 0.375, None]
    # Ranks of severities 1.5 3.5 3.5 1.5, of scores 1 4 3 2; deviations −1 1 1 −1, −1.5 1.5 .5 −.5:
    # 4 over the root of 4 · 5.
    assert row["score_spearman"] == pytest.approx(4 / np.sqrt(20))
    assert row["weight_0"] is None


def test_no_rank_where_all_are_equal():
    interval = Interval(num_severities=2, num_weights=0, has_scores=True)
    ones = np.ones(3)
    interval.add(np.array([0, 1, 1]), ones, ones, 1.0, ones, np.full(3, 0.5))
    assert interval.row(1, 1, 0.1)["score_spearman"] is None
    interval.add(np.array([1, 1, 1]), ones, ones, 1.0, ones, np.array([0.5, 0.1, 0.2]))
    assert interval.row(1, 2, 0.1)["score_spearman"] is None
