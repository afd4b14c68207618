"""What is said when something is not finite, and when training goes on."""

import numpy as np
import pytest

from sharpdro.errors import RunError
from sharpdro.methods.base import StepResult
from sharpdro.training.nan_check import MOST_SKIPPED, NanCheck

SEVERITIES = np.array([0, 2, 5, 5])
FINE = np.ones(4)
WEIGHTS = np.full(6, 1 / 6)


def broken(at, value=np.nan):
    losses = FINE.copy()
    losses[at] = value
    return losses


def result(losses, norm=1.0, weights=WEIGHTS, **others):
    return StepResult(losses, FINE, norm, weights, **others)


def taken_back(losses, norm=1.0, loss_scale=None):
    return result(losses, norm, was_applied=False, loss_scale=loss_scale)


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
    step = 3, 7, SEVERITIES, result(losses, norm, weights)
    with pytest.raises(RunError, match=text) as error:
        NanCheck("stop", kept).check_step(*step)
    assert str(error.value).endswith("there is no checkpoint of before")
    kept.write_text("")
    with pytest.raises(RunError, match=f"the last good checkpoint is {kept}$"):
        NanCheck("stop", kept).check_step(*step)
    assert NanCheck("stop", kept).check_step(3, 7, SEVERITIES, result(FINE))


def test_skipped_steps_are_counted_and_limited():
    check = NanCheck("skip", None)
    assert check.skipped_steps() == ""
    assert not check.check_step(1, 4, SEVERITIES, taken_back(broken(0)))
    assert not check.check_step(1, 5, SEVERITIES, taken_back(FINE))
    first = "first step 4: the loss of severity 0 is not finite"
    assert check.skipped_steps() == f", 2 steps skipped ({first})"
    check.start_epoch()
    assert check.skipped_steps() == ""
    assert check.check_step(1, 6, SEVERITIES, result(FINE, was_applied=True))
    for number in range(1, MOST_SKIPPED):
        check.check_step(2, number, SEVERITIES, taken_back(broken(0)))
    with pytest.raises(RunError, match=f"step 100, the {MOST_SKIPPED}th skipped step in a row:"):
        check.check_step(2, MOST_SKIPPED, SEVERITIES, taken_back(FINE, loss_scale=8.0))


def test_overflows_are_skipped_while_the_loss_scale_can_shrink():
    check = NanCheck("stop", None)
    assert not check.check_step(1, 1, SEVERITIES, taken_back(FINE, np.inf, loss_scale=2.0))
    with pytest.raises(RunError, match="the gradient is no longer finite in epoch 1, step 1"):
        check.check_step(1, 1, SEVERITIES, taken_back(FINE, np.inf, loss_scale=1.0))
    assert ", 1 steps skipped" in check.skipped_steps()
    with pytest.raises(RunError, match="the loss of severity 0 is no longer finite in epoch 1"):
        check.check_step(1, 2, SEVERITIES, taken_back(broken(0), np.inf, loss_scale=2.0))
