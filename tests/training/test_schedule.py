"""Learning rate by epoch, against the rates written out."""

import numpy as np
import pytest

from sharpdro.command_line.settings import parse
from sharpdro.jobs.stages import make_plan
from sharpdro.training.schedule import learning_rate_at


def rates(total, base, *schedule):
    return [learning_rate_at(epoch, total, base, *schedule) for epoch in range(1, total + 1)]


def test_two_hundred_epochs():
    assert rates(200, 0.1) == pytest.approx(60 * [0.1] + 60 * [0.02] + 40 * [0.004] + 40 * [0.0008])


def test_lengths_that_do_not_divide():
    # 30 % of 7 epochs are 2.1, 60 % 4.2, 80 % 5.6: the drops come before epochs 4, 6 and 7.
    assert rates(7, 1.0) == pytest.approx([1, 1, 1, 0.2, 0.2, 0.04, 0.008])
    assert learning_rate_at(1, 1, 1.0) == 1.0


def test_without_schedule():
    assert rates(10, 0.3, "none") == 10 * [0.3]


def test_warm_up_goes_straight_up_to_the_schedule():
    assert rates(5, 0.3, "none", 2) == pytest.approx([0.1, 0.2, 0.3, 0.3, 0.3])
    # A drop falls into a warm-up that lasts that long: of 10 epochs, epochs 4 … 6 have a fifth.
    expected = [1 / 6, 2 / 6, 3 / 6, 0.2 * 4 / 6, 0.2 * 5 / 6, 0.2, 0.04, 0.04, 0.008, 0.008]
    assert rates(10, 1.0, "step", 5) == pytest.approx(expected)


def test_cosine():
    """cos² of a quarter circle, cut into as many parts as there are epochs after the warm-up."""
    assert rates(4, 2.0, "cosine") == pytest.approx(
        [2 * np.cos(np.pi * k / 8) ** 2 for k in range(4)]
    )
    later = [0.5 * np.cos(np.pi * k / 14) ** 2 for k in range(7)]
    assert rates(10, 0.5, "cosine", 3) == pytest.approx([0.125, 0.25, 0.375, *later])
    assert rates(1, 0.5, "cosine") == [0.5]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("", [1, 1, 1, 0.2]),
        ("--no-scheduler", [1, 1, 1, 1]),
        ("--scheduler cosine --warmup_epochs 1", [0.5, 1, 0.905, 0.835]),
    ],
)
def test_flags_make_the_plan(flags, expected):
    plan = make_plan(parse(["--lr", "1", "--total_epoch", "16", *flags.split()]), 3, False)
    found = [plan.learning_rate(epoch) for epoch in (1, 2, 5, 6)]
    assert found == pytest.approx(expected, abs=1e-3)
