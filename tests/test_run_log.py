"""Tables, summaries, interval averages."""

import json

import numpy as np
import pytest

from sharpdro import interval as interval_module
from sharpdro.errors import RunError
from sharpdro.evaluate import Score
from sharpdro.interval import Interval, train_columns
from sharpdro.run_log import EVALUATION_COLUMNS, RunLog, Table, run_name
from sharpdro.summary import (
    accuracy_table,
    best_epoch,
    evaluation_rows,
    read_evaluations,
    write_summary,
)


def test_interval_averages_over_steps_and_images():
    interval = Interval(3, has_weights=True)
    half = np.array([0.5, 0.5, 0.0])
    groups = np.array([0, 0, 1])
    interval.add(groups, np.array([1.0, 2.0, 4.0]), np.array([1.0, 0.0, 1.0]), 3.0, half)
    groups = np.array([1, 1, 1])
    interval.add(groups, np.array([1.0, 1.0, 2.0]), np.array([0.0, 0.0, 1.0]), 5.0, half * 2)
    row = interval.row(epoch=4, step=20, learning_rate=0.1)
    assert row["count_0"] == 2 and row["count_1"] == 4 and row["count_2"] == 0
    assert row["loss_0"] == 1.5 and row["loss_1"] == 2.0 and row["loss_2"] is None
    assert row["accuracy_0"] == 0.5 and row["accuracy_1"] == 0.5 and row["accuracy_2"] is None
    assert (row["weight_0"], row["weight_1"], row["weight_2"]) == (0.75, 0.75, 0.0)
    assert row["loss"] == pytest.approx(11 / 6) and row["accuracy"] == 0.5
    assert row["gradient_norm"] == 4.0 and row["learning_rate"] == 0.1
    assert sorted(row) == sorted(train_columns(3))
    interval.add(groups, np.ones(3), np.ones(3), 1.0, half)
    assert interval.row(1, 1, 0.1)["count_1"] == 3


def test_interval_times_training_alone(monkeypatch):
    """Neither the first step, which is compiled, nor what lies between two epochs."""
    now = [100.0]
    monkeypatch.setattr(interval_module.time, "perf_counter", lambda: now[0])
    interval = Interval(1, has_weights=False)

    def step(seconds):
        now[0] += seconds
        interval.add(np.zeros(10, int), np.ones(10), np.ones(10), 1.0, np.ones(1))

    step(50)
    assert interval.row(1, 1, 0.1)["images_per_second"] is None
    step(2)
    step(3)
    assert interval.row(1, 3, 0.1)["images_per_second"] == 20 / 5
    now[0] += 1000
    interval.start_clock()
    step(4)
    assert interval.row(2, 1, 0.1)["images_per_second"] == 10 / 4


def test_interval_without_weights_reports_none():
    interval = Interval(1, has_weights=False)
    interval.add(np.array([0]), np.ones(1), np.ones(1), 1.0, np.ones(1))
    assert interval.row(1, 1, 0.1)["weight_0"] is None


def test_table_keeps_finished_epochs_byte_by_byte(tmp_path):
    path = tmp_path / "t.csv"
    table = Table(path, ["epoch", "value"])
    table.append([{"epoch": 1, "value": 1 / 3}, {"epoch": 2, "value": None}])
    table.append([{"epoch": 3, "value": 7}])
    assert path.read_text() == "epoch,value\n1,0.333333\n2,\n3,7\n"
    with open(path, "a") as file:
        file.write("3,5")  # what a kill in the middle of a line leaves
    Table(path, ["epoch", "value"], keep_epochs=2).append([{"epoch": 3, "value": 8}])
    assert path.read_text() == "epoch,value\n1,0.333333\n2,\n3,8\n"
    Table(path, ["epoch", "value"])
    assert path.read_text() == "epoch,value\n"


def write_evaluations(folder, name, accuracies):
    table = Table(folder / name, EVALUATION_COLUMNS)
    for epoch, values in accuracies.items():
        table.append(evaluation_rows(epoch, [Score(1 - a, a, 10) for a in values]))


def test_evaluation_rows(tmp_path):
    write_evaluations(tmp_path, "val.csv", {2: [0.9, 0.5]})
    assert (tmp_path / "val.csv").read_text() == (
        "epoch,severity,loss,accuracy,count\n"
        "2,0,0.1,0.9,10\n2,1,0.5,0.5,10\n2,mean,0.3,0.7,20\n2,worst,0.5,0.5,10\n"
    )


ACCURACIES = {1: [0.9, 0.1], 2: [0.5, 0.4], 3: [0.6, 0.4], 4: [0.9, 0.3]}


@pytest.mark.parametrize(("metric", "epoch"), [("worst", 2), ("mean", 4), ("clean", 1)])
def test_best_epoch_is_the_earliest_of_the_highest(tmp_path, metric, epoch):
    write_evaluations(tmp_path, "val.csv", ACCURACIES)
    assert best_epoch(read_evaluations(tmp_path / "val.csv"), metric) == epoch


def test_summary_chooses_on_validation_and_reports_test(tmp_path):
    write_evaluations(tmp_path, "val.csv", ACCURACIES)
    write_evaluations(tmp_path, "test.csv", {e: a[::-1] for e, a in ACCURACIES.items()})
    write_summary(tmp_path, total_epoch=5, metric="worst")
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["best"]["epoch"] == 2 and summary["last"]["epoch"] == 4
    assert summary["best"]["test"]["0"]["accuracy"] == 0.4
    assert summary["last"]["validation"]["worst"]["accuracy"] == 0.3
    assert summary["finished"] is False
    assert write_summary(tmp_path, total_epoch=4, metric="worst")["finished"] is True


def test_accuracy_table():
    rows = {"best": {"0": {"accuracy": 0.5}, "worst": {"accuracy": 0.12345}}}
    assert accuracy_table(rows) == "           0   worst\nbest   50.00   12.35"


def test_name():
    name = run_name("my-run", "cifar10", "gaussian_noise", "sharpdro", 3)
    assert name == "my-run_dsetcifar10_corrgaussian_noise_sharpdro_seed3"


def test_directory_is_locked_while_it_is_open(tmp_path):
    first, second = RunLog(tmp_path / "a" / "b"), RunLog(tmp_path / "a" / "b")
    first.open({"lr": 1}, {"device": "CPU"})
    with pytest.raises(RunError, match="another process is at work in"):
        second.open({"lr": 1}, {"device": "CPU"})
    first.close()
    second.open({"lr": 2}, {"device": "GPU"})
    second.close()
    content = json.loads(first.settings_path.read_text())
    assert content["settings"] == {"lr": 1} and content["resumed"] == [{"device": "GPU"}]


def test_tables_that_do_not_agree(tmp_path):
    write_evaluations(tmp_path, "val.csv", {1: [0.5], 2: [0.5]})
    write_evaluations(tmp_path, "test.csv", {1: [0.5]})
    with pytest.raises(RunError, match="differ in their epochs"):
        write_summary(tmp_path, total_epoch=2, metric="worst")


def test_settings_that_cannot_be_read(tmp_path):
    log = RunLog(tmp_path)
    assert not log.exists()
    log.settings_path.write_text("{")
    assert log.exists()
    with pytest.raises(RunError, match=r"settings.json cannot be read"):
        log.read_settings()
