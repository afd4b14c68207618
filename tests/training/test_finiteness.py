"""What is said when something is not finite, and when training goes on."""

import numpy as np
import pytest

from sharpdro.errors import RunError
from sharpdro.finiteness import MOST_SKIPPED, Finiteness

SEVERITIES = np.array([0, 2, 5, 5])
FINE = np.ones(4)
WEIGHTS = np.full(6, 1 / 6)


def broken(at, value=np.nan):
    losses = FINE.copy()
    losses[at] = value
    return losses


@pytest.mark.parametrize(
    ("losses", "norm", "weights", "text"),
    [
        (broken(2), 1.0, WEIGHTS, "the loss of severity 5 is no longer finite in epoch 3, step 7"),
        (broken([1, 3], np.inf), 1.0, WEIGHTS, "the loss of severity 2 and 5 is no longer finite"),
        (FINE, np.inf, WEIGHTS, "the gradient is no longer finite in epoch 3, step 7: lower --lr"),
        (FINE, 1.0, WEIGHTS * np.nan, "a group weight .* lower --step_size or --group_adjustment"),
    ],
)
def test_what_is_not_finite_is_named(tmp_path, losses, norm, weights, text):
    kept = tmp_path / "last.ckpt"
    found = 3, 7, SEVERITIES, losses, norm, weights
    with pytest.raises(RunError, match=text) as error:
        Finiteness("stop", kept).check_step(*found)
    assert str(error.value).endswith("there is no checkpoint of before")
    kept.write_text("")
    with pytest.raises(RunError, match=f"the last good checkpoint is {kept}$"):
        Finiteness("stop", kept).check_step(*found)
    Finiteness("stop", kept).check_step(3, 7, SEVERITIES, FINE, 1.0, WEIGHTS)


def test_skipped_steps_are_counted_and_limited():
    finiteness = Finiteness("skip", None)
    assert finiteness.told() == ""
    found = SEVERITIES, broken(0), 1.0, WEIGHTS
    finiteness.skip(1, 4, *found, is_overflow=False)
    finiteness.skip(1, 5, SEVERITIES, FINE, 1.0, WEIGHTS, is_overflow=False)
    first = "first step 4: the loss of severity 0 is not finite"
    assert finiteness.told() == f", 2 steps skipped ({first})"
    finiteness.start_epoch()
    assert finiteness.told() == ""
    finiteness.happened()
    for number in range(1, MOST_SKIPPED):
        finiteness.skip(2, number, *found, is_overflow=False)
    with pytest.raises(RunError, match=f"step 100, the {MOST_SKIPPED}th skipped step in a row:"):
        finiteness.skip(2, MOST_SKIPPED, *found, is_overflow=True)


def test_overflows_are_skipped_while_the_loss_scale_can_shrink():
    finiteness = Finiteness("stop", None)
    found = 1, 1, SEVERITIES, FINE, np.inf, WEIGHTS
    finiteness.skip(*found, is_overflow=True)
    with pytest.raises(RunError, match="the gradient is no longer finite in epoch 1, step 1"):
        finiteness.skip(*found, is_overflow=False)
    assert finiteness.skipped == 1
    with pytest.raises(RunError, match="the loss of severity 0 is no longer finite in epoch 1"):
        finiteness.skip(1, 2, SEVERITIES, broken(0), np.inf, WEIGHTS, is_overflow=True)
