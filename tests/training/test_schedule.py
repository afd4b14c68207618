"""Learning rate by epoch, against the drops written out."""

import pytest

from sharpdro.training.schedule import learning_rate_at


def test_two_hundred_epochs():
    rates = [learning_rate_at(epoch, 200, 0.1) for epoch in range(1, 201)]
    assert rates == pytest.approx(60 * [0.1] + 60 * [0.02] + 40 * [0.004] + 40 * [0.0008])


def test_lengths_that_do_not_divide():
    # 30 % of 7 epochs are 2.1, 60 % 4.2, 80 % 5.6: the drops come before epochs 4, 6 and 7.
    rates = [learning_rate_at(epoch, 7, 1.0) for epoch in range(1, 8)]
    assert rates == pytest.approx([1, 1, 1, 0.2, 0.2, 0.04, 0.008])
    assert learning_rate_at(1, 1, 1.0) == 1.0


def test_without_schedule():
    assert [learning_rate_at(epoch, 10, 0.3, False) for epoch in range(1, 11)] == 10 * [0.3]
