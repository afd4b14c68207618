"""A line of train.csv against sums by hand."""

import json

import numpy as np
import pytest

from sharpdro.methods.base import StepResult
from sharpdro.training import metrics as module
from sharpdro.training.checkpointing import read_sums
from sharpdro.training.metrics import MetricSums, TrainingMetrics, train_columns, weight_columns


def test_metrics_averages_over_steps_and_images():
    metrics = TrainingMetrics(3, weight_columns(3))
    half = np.array([0.5, 0.5, 0.0])
    groups = np.array([0, 0, 1])
    losses, correct = np.array([1.0, 2.0, 4.0]), np.array([1.0, 0.0, 1.0])
    metrics.add(groups, StepResult(losses, correct, 3.0, half))
    groups = np.array([1, 1, 1])
    metrics.add(
        groups, StepResult(np.array([1.0, 1.0, 2.0]), np.array([0.0, 0.0, 1.0]), 5.0, half * 2)
    )
    row = metrics.row(epoch=4, step=20, global_step=320, learning_rate=0.1)
    assert row["count_0"] == 2 and row["count_1"] == 4 and row["count_2"] == 0
    assert row["loss_0"] == 1.5 and row["loss_1"] == 2.0 and row["loss_2"] is None
    assert row["accuracy_0"] == 0.5 and row["accuracy_1"] == 0.5 and row["accuracy_2"] is None
    assert (row["weight_0"], row["weight_1"], row["weight_2"]) == (0.75, 0.75, 0.0)
    assert (row["epoch"], row["step"], row["global_step"]) == (4, 20, 320)
    assert row["loss"] == pytest.approx(11 / 6) and row["accuracy"] == 0.5
    assert row["gradient_norm"] == 4.0 and row["learning_rate"] == 0.1
    assert list(row) == (train_columns(3, weight_columns(3), has_scores=False))
    metrics.add(groups, StepResult(np.ones(3), np.ones(3), 1.0, half))
    assert metrics.row(1, 1, 1, 0.1)["count_1"] == 3


def test_metrics_times_training_alone(monkeypatch):
    """Not what lies between two epochs; speed not of the first step, either, which is compiled."""
    now = [100.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    metrics = TrainingMetrics(1, [])

    def step(seconds):
        now[0] += seconds
        metrics.add(np.zeros(10, int), StepResult(np.ones(10), np.ones(10), 1.0, np.ones(1)))

    def timed(epoch, number):
        row = metrics.row(epoch, number, number, 0.1)
        return row["images_per_second"], row["seconds"]

    step(50)
    assert timed(1, 1) == (None, 50)
    step(2)
    step(3)
    assert timed(1, 3) == (20 / 5, 5)
    now[0] += 1000
    metrics.start_clock()
    step(4)
    assert timed(2, 1) == (10 / 4, 4)
    metrics.skip(10)
    now[0] += 7
    metrics.skip(10)
    assert timed(2, 3)[1] == 7


def test_metrics_without_weights_reports_none():
    metrics = TrainingMetrics(1, [])
    metrics.add(np.array([0]), StepResult(np.ones(1), np.ones(1), 1.0, np.ones(1)))
    assert metrics.row(1, 1, 1, 0.1)["weight_0"] is None


def test_weights_of_other_groups_than_severities():
    names = weight_columns(2, are_inferred=True)
    metrics = TrainingMetrics(3, names)
    metrics.add(np.array([2]), StepResult(np.ones(1), np.ones(1), 1.0, np.array([0.25, 0.75])))
    row = metrics.row(1, 1, 1, 0.1)
    assert [row[f"weight_{s}"] for s in range(3)] == [None] * 3
    assert row["inferred_weight_0"] == 0.25 and row["inferred_weight_1"] == 0.75
    assert list(row) == train_columns(3, names, has_scores=False)


def test_scores_by_hand():
    """Spearman is Pearson's correlation of the ranks; ties share the mean of their ranks."""
    metrics = TrainingMetrics(3, [], has_scores=True)
    one = np.ones(2)
    metrics.add(np.array([0, 1]), StepResult(one, one, 1.0, one, np.array([-0.5, 0.5])))
    metrics.add(np.array([1, 0]), StepResult(one, one, 1.0, one, np.array([0.25, 0.0])))
    row = metrics.row(1, 2, 2, 0.1)
    assert list(row) == train_columns(3, [], has_scores=True)
    assert [row[f"score_{s}"] for s in range(3)] == [-0.25, 0.375, None]
    # Ranks of severities 1.5 3.5 3.5 1.5, of scores 1 4 3 2; deviations −1 1 1 −1, −1.5 1.5 .5 −.5:
    # 4 over the root of 4 · 5.
    assert row["score_spearman"] == pytest.approx(4 / np.sqrt(20))
    assert row["weight_0"] is None


def test_no_rank_where_all_are_equal():
    metrics = TrainingMetrics(2, [], has_scores=True)
    ones = np.ones(3)
    metrics.add(np.array([0, 1, 1]), StepResult(ones, ones, 1.0, ones, np.full(3, 0.5)))
    assert metrics.row(1, 1, 1, 0.1)["score_spearman"] is None
    metrics.add(np.array([1, 1, 1]), StepResult(ones, ones, 1.0, ones, np.array([0.5, 0.1, 0.2])))
    assert metrics.row(1, 2, 2, 0.1)["score_spearman"] is None


def test_skipped_steps_count_for_nothing_but_time():
    metrics = TrainingMetrics(2, weight_columns(2), has_scores=True)
    metrics.skip(10)
    row = metrics.row(1, 1, 1, 0.1)
    assert row["skipped_steps"] == 1 and row["loss"] is row["accuracy"] is row["weight_0"] is None
    assert row["count_0"] == 0 and row["gradient_norm"] is row["score_spearman"] is None
    step = np.array([0, 1]), np.array([1.0, 3.0]), np.array([1.0, 0.0]), 2.0, np.array([0.25, 0.75])
    metrics.add(step[0], StepResult(*step[1:], np.array([0.1, 0.2])))
    metrics.skip(2)
    row = metrics.row(1, 3, 3, 0.1)
    assert (row["skipped_steps"], row["loss"], row["gradient_norm"]) == (1, 2.0, 2.0)
    assert row["weight_1"] == 0.75 and row["images_per_second"] > 0
    assert list(row) == train_columns(2, weight_columns(2), has_scores=True)


@pytest.mark.parametrize("has_scores", [True, False])
def test_going_on_from_a_saved_state_changes_nothing(has_scores):
    rng = np.random.default_rng(0)

    def step():
        severities, scores = rng.integers(0, 3, 7), rng.random(7).astype(np.float32)
        weights = rng.random(3).astype(np.float32)
        result = StepResult(rng.random(7), rng.random(7) < 0.5, rng.random(), weights, scores)
        return severities, result

    steps = [step() for _ in range(5)]
    whole, begun, resumed = (TrainingMetrics(3, weight_columns(3), has_scores) for _ in range(3))
    for metrics, chosen in ((whole, steps), (begun, steps[:2])):
        metrics.skip(7)
        for each in chosen:
            metrics.add(*each)
    resumed.sums = MetricSums.from_json(json.loads(json.dumps(begun.sums.for_json())))
    for each in steps[2:]:
        resumed.add(*each)
    first, second = (metrics.row(1, 6, 6, 0.1) for metrics in (whole, resumed))
    assert first["skipped_steps"] == 1 and first["count_0"] > 0
    assert first.pop("seconds") > 0 and second.pop("seconds") > begun.sums.seconds
    assert {**first, "images_per_second": 0} == {**second, "images_per_second": 0}


def test_sums_in_checkpoints_of_earlier_versions():
    """Written there by the names that the sums had then."""
    earlier = {"steps": 2, "_skipped_steps": 1, "_gradient_norm": 3.5, "_counts": [2, 0]}
    earlier |= {"_losses": [1.5, 0.0], "_correct": [1.0, 0.0], "_weights": [0.75, 1.25]}
    earlier |= {"_severities": [[0, 0]], "_scores": [[0.5, 0.25]]}
    metrics = TrainingMetrics(2, weight_columns(2), has_scores=True)
    metrics.sums = read_sums({"step": 3, "interval": json.loads(json.dumps(earlier))})
    row = metrics.row(1, 3, 3, 0.1)
    assert (row["count_0"], row["loss_0"], row["accuracy_0"]) == (2, 0.75, 0.5)
    assert (row["weight_0"], row["weight_1"], row["score_0"]) == (0.375, 0.625, 0.375)
    assert (row["gradient_norm"], row["skipped_steps"]) == (1.75, 1)
    assert row["seconds"] is None  # those steps were not timed
