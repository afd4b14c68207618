"""Tables, summaries, the run's directory."""

import json

import pytest

from sharpdro.errors import RunError
from sharpdro.evaluation.scores import Score
from sharpdro.evaluation.summary import (
    EVALUATION_COLUMNS,
    accuracy_table,
    best_epoch,
    evaluation_rows,
    read_evaluations,
    write_summary,
)
from sharpdro.run_folder.csv_table import Table, until_epoch
from sharpdro.run_folder.folder import RunFolder, run_name
from sharpdro.training.run_tables import RunTables


def test_table_keeps_finished_epochs_byte_by_byte(tmp_path):
    path = tmp_path / "t.csv"
    table = Table(path, ["epoch", "value"])
    table.append([{"epoch": 1, "value": 1 / 3}, {"epoch": 2, "value": None}])
    table.append([{"epoch": 3, "value": 7}])
    assert path.read_text() == "epoch,value\n1,0.333333\n2,\n3,7\n"
    with open(path, "a") as file:
        file.write("3,5")  # what a kill in the middle of a line leaves
    Table(path, ["epoch", "value"], keep=until_epoch(2)).append([{"epoch": 3, "value": 8}])
    assert path.read_text() == "epoch,value\n1,0.333333\n2,\n3,8\n"
    Table(path, ["epoch", "value"])
    assert path.read_text() == "epoch,value\n"


def write_evaluations(folder, name, accuracies):
    table = Table(folder / name, EVALUATION_COLUMNS)
    for epoch, values in accuracies.items():
        table.append(evaluation_rows(epoch, [Score(1 - a, a, 10) for a in values]))


HEAD = "epoch,severity,loss,accuracy,count,ece,worst_class_accuracy\n"


def test_evaluation_rows(tmp_path):
    scores = [Score(0.1, 0.9, 10, 0.25, 0.75), Score(0.5, 0.5, 10, 0.125, 0.25)]
    Table(tmp_path / "val.csv", EVALUATION_COLUMNS).append(evaluation_rows(2, scores))
    assert (tmp_path / "val.csv").read_text() == HEAD + (
        "2,0,0.1,0.9,10,0.25,0.75\n2,1,0.5,0.5,10,0.125,0.25\n"
        "2,mean,0.3,0.7,20,0.1875,0.5\n2,worst,0.5,0.5,10,0.125,0.25\n"
    )


def test_run_of_an_earlier_version_goes_on(tmp_path):
    """Its epochs keep their cells and lack what was not measured then, also in summary.json."""
    old = "1,0,0.50,0.6,10\n1,mean,0.50,0.6,10\n1,worst,0.50,0.6,10\n"
    for name in ("val.csv", "test.csv"):
        (tmp_path / name).write_text(f"epoch,severity,loss,accuracy,count\n{old}2,0,0.1")
    tables = RunTables(tmp_path, ["epoch", "step"], lambda table, rows: None, 1, 0)
    for split in ("validation", "test"):
        tables.add_evaluation(split, 2, [Score(0.25, 0.5, 10, 0.125, 0.75)])
    new = "".join(f"2,{s},0.25,0.5,10,0.125,0.75\n" for s in ("0", "mean", "worst"))
    expected = HEAD + old.replace(",10\n", ",10,,\n") + new
    assert (tmp_path / "val.csv").read_text() == (tmp_path / "test.csv").read_text() == expected
    assert tables.evaluations["test"] == read_evaluations(tmp_path / "test.csv")
    write_summary(tmp_path, tables.evaluations, 2, "worst")
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["best"]["test"]["0"] == {"loss": 0.5, "accuracy": 0.6, "count": 10}
    assert summary["last"]["test"]["0"] == {
        **{"loss": 0.25, "accuracy": 0.5, "count": 10},
        **{"ece": 0.125, "worst_class_accuracy": 0.75},
    }


ACCURACIES = {1: [0.9, 0.1], 2: [0.5, 0.4], 3: [0.6, 0.4], 4: [0.9, 0.3]}


@pytest.mark.parametrize(("metric", "epoch"), [("worst", 2), ("mean", 4), ("clean", 1)])
def test_best_epoch_is_the_earliest_of_the_highest(tmp_path, metric, epoch):
    write_evaluations(tmp_path, "val.csv", ACCURACIES)
    assert best_epoch(read_evaluations(tmp_path / "val.csv"), metric) == epoch


def write_summary_of(folder, total_epoch):
    tables = {"validation": "val.csv", "test": "test.csv"}
    evaluations = {split: read_evaluations(folder / name) for split, name in tables.items()}
    return write_summary(folder, evaluations, total_epoch, metric="worst")


def test_summary_chooses_on_validation_and_reports_test(tmp_path):
    write_evaluations(tmp_path, "val.csv", ACCURACIES)
    write_evaluations(tmp_path, "test.csv", {e: a[::-1] for e, a in ACCURACIES.items()})
    write_summary_of(tmp_path, total_epoch=5)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["best"]["epoch"] == 2 and summary["last"]["epoch"] == 4
    assert summary["best"]["test"]["0"]["accuracy"] == 0.4
    assert summary["last"]["validation"]["worst"]["accuracy"] == 0.3
    assert summary["finished"] is False
    assert write_summary_of(tmp_path, total_epoch=4)["finished"] is True


def test_accuracy_table():
    rows = {"best": {"0": {"accuracy": 0.5}, "worst": {"accuracy": 0.12345}}}
    assert accuracy_table(rows) == "           0   worst\nbest   50.00   12.35"


def test_name():
    name = run_name("my-run", "cifar10", "gaussian_noise", "sharpdro", 3)
    assert name == "my-run_dsetcifar10_corrgaussian_noise_sharpdro_seed3"


def test_directory_is_locked_while_it_is_open(tmp_path):
    first, second = RunFolder(tmp_path / "a" / "b"), RunFolder(tmp_path / "a" / "b")
    first.lock()
    first.open({"lr": 1}, {"device": "CPU"})
    with pytest.raises(RunError, match="another process is at work in"):
        second.lock()
    first.close()
    assert second.last_processes() == 1
    second.lock()
    second.open({"lr": 2}, {"device": "GPU"})
    second.close()
    content = json.loads(first.settings_path.read_text())
    assert content["settings"] == {"lr": 1}
    assert content["resumed"] == [{"device": "GPU", "changed": {"lr": 2}}]
    third = RunFolder(tmp_path / "c")
    for number in (3, 2):
        third.lock()
        third.open({}, {"processes": number})
        third.close()
        assert third.last_processes() == number


def test_tables_that_do_not_agree(tmp_path):
    write_evaluations(tmp_path, "val.csv", {1: [0.5], 2: [0.5]})
    write_evaluations(tmp_path, "test.csv", {1: [0.5]})
    with pytest.raises(RunError, match="differ in their epochs"):
        write_summary_of(tmp_path, total_epoch=2)


def test_settings_that_cannot_be_read(tmp_path):
    run = RunFolder(tmp_path)
    assert not run.exists()
    run.settings_path.write_text("{")
    assert run.exists()
    with pytest.raises(RunError, match=r"settings.json cannot be read"):
        run.read_settings()


def test_rows_of_another_version_are_kept(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text("epoch,loss,old\n1,0.50,7\n2,0.25,8\n3,0.2")
    table = Table(path, ["epoch", "skipped", "loss"], until_epoch(2))
    table.append([{"epoch": 3, "skipped": 1, "loss": 0.125}])
    assert path.read_text() == "epoch,skipped,loss\n1,,0.50\n2,,0.25\n3,1,0.125\n"
    path.write_text("")
    assert Table(path, ["epoch"], until_epoch(9)) and path.read_text() == "epoch\n"


def test_what_is_said_moves_no_cursor(tmp_path, capsys):
    RunFolder(tmp_path).say("a\x1b[2J\rb\nc\udcff\u2028d")
    lines = ["a\\x1b[2J\\rb", "c\\udcff\\u2028d"]
    assert capsys.readouterr().out.splitlines() == lines
    assert [line.split("  ", 1)[1] for line in (tmp_path / "log.txt").open()] == [
        f"{line}\n" for line in lines
    ]


def test_link_to_nothing_is_named_before_anything_is_written(tmp_path):
    (tmp_path / "logs").symlink_to(tmp_path / "nowhere")
    with pytest.raises(NotADirectoryError, match="it is a link to nothing: mend it") as error:
        RunFolder(tmp_path / "logs" / "run").check_writable()
    assert error.value.filename == str(tmp_path / "logs") and len(list(tmp_path.iterdir())) == 1


def test_seconds_that_an_earlier_version_did_not_record_are_not_guessed(tmp_path):
    """A run that goes on keeps its lines, with nothing in columns that it did not have."""
    columns = ["epoch", "step", "global_step", "loss", "seconds"]

    def open_tables():
        return RunTables(tmp_path, columns, lambda name, rows: None, 1, 0)

    (tmp_path / "train.csv").write_text("epoch,step,loss\n1,5,2.5\n")
    tables = open_tables()
    tables.add_training({"epoch": 2, "step": 5, "global_step": 10, "loss": 1.5, "seconds": 4.0})
    text = (tmp_path / "train.csv").read_text()
    assert text == "epoch,step,global_step,loss,seconds\n1,5,,2.5,\n2,5,10,1.5,4\n"
    assert tables.training_seconds() is None
    (tmp_path / "train.csv").unlink()
    tables = open_tables()
    for step, seconds in ((5, 1.25), (10, 2.5)):
        row = {"epoch": 1, "step": step, "global_step": step, "loss": 1.0, "seconds": seconds}
        tables.add_training(row)
    assert tables.training_seconds() == pytest.approx(3.75, abs=0.06)
