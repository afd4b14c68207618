"""The readers of what runs leave, for the fuzzing tests, as those of tests/data_readers.py."""

import json

import numpy as np
from hypothesis import strategies as st
from mutations import spoiled, spoiled_json, spoiled_table

from sharpdro.evaluation.corruption_table import COLUMNS as STANDARD
from sharpdro.evaluation.corruption_table import errors_of
from sharpdro.evaluation.measurements import COLUMNS, read_measurements
from sharpdro.evaluation.summary import accuracy_table, read_evaluations, write_summary
from sharpdro.flatness.record import Record
from sharpdro.flatness.tables import curves_of, doubtful_of, flatness_tables, surfaces_of
from sharpdro.report import formats, page
from sharpdro.report.experiments import experiments_of
from sharpdro.report.overviews import make_overviews
from sharpdro.report.runs import read_runs
from sharpdro.report.tables import make_tables
from sharpdro.run_folder.csv_table import EVALUATION_COLUMNS, Table, epochs_of, until_epoch
from sharpdro.run_folder.folder import RunLog
from sharpdro.training.first_stage import JTT, _read

EVALUATION = (
    ",".join(EVALUATION_COLUMNS)
    + "\n"
    + "".join(f"{e},{s},0.5,0.{e}5,9\n" for e in (1, 2) for s in ("0", "1", "mean", "worst"))
)
SETTINGS = {
    **{"method": "sharpdro", "seed": 0, "desc": "run", "num_severity": 1, "dataset": "cifar10"},
    **{"corruption": "fog", "lr": 0.1, "eval_only": False, "num_per_class": None},
}
SUMMARY = {
    "finished": True,
    "total_epoch": 2,
    **{
        part: {"epoch": 2, "test": {s: {"accuracy": 0.5} for s in ("0", "1", "mean", "worst")}}
        for part in ("best", "last")
    },
}


def run_settings(folder):
    content = {"settings": SETTINGS, "environment": {"git_commit": "a"}, "resumed": []}

    def read(content):
        log = RunLog(folder)
        log.settings_path.write_bytes(content)
        (folder / "summary.json").write_bytes(content)
        assert type(log.is_finished()) is bool and type(log.read_settings()) is dict
        log.open({}, {"device": "CPU"})
        log.close()

    either = content | SUMMARY
    return spoiled_json(either) | spoiled(json.dumps(either).encode()), read


def run_tables(folder):
    def read(content):
        for name in ("val.csv", "test.csv"):
            (folder / name).write_bytes(content)
        epochs_of(folder / "val.csv")
        for scores in read_evaluations(folder / "val.csv").values():
            accuracy_table({"x": scores})
        evaluations = read_evaluations(folder / "val.csv")
        for metric in ("worst", "mean", "clean"):
            write_summary(folder, {"validation": evaluations, "test": evaluations}, 2, metric)
        Table(folder / "val.csv", EVALUATION_COLUMNS, until_epoch(1))
        read_evaluations(folder / "val.csv")

    return spoiled_table(EVALUATION) | spoiled(EVALUATION.encode()), read


def measurements(folder):
    severities = (*map(str, range(6)), "mean", "worst")
    text = ",".join(COLUMNS) + "\n" + "".join(f"2,fog,{s},1,0.5,9,ab\n" for s in severities)

    def read(content):
        (folder / "test.csv").write_bytes(content)
        found = read_measurements(folder / "test.csv")
        for scores in found.values():
            accuracy_table({"x": scores})
        if "fog" in found:
            errors_of(dict.fromkeys(STANDARD, found["fog"]))
        Table(folder / "test.csv", COLUMNS, keep=lambda line: line.split(",")[1] in found)

    return spoiled_table(text) | spoiled(text.encode()), read


def error_sets(folder):
    text = "index,label,severity,is_error\n" + "".join(f"{i},{i},0,{i % 2}\n" for i in range(6))

    class Train:
        indices = np.arange(6)

    def read(content):
        (folder / "error_set.csv").write_bytes(content)
        stage = JTT(1, 6, seed=0, show_progress=False)
        found = _read(folder / "error_set.csv", stage, Train)
        assert set(found["is_error"]) <= {0, 1} and len(found["is_error"]) == 6
        stage.remark(found)

    return spoiled_table(text) | spoiled(text.encode()), read


def flatness(folder):
    step = {"shift": 0.0, "value": 2.0, "change": 0.1, "residual": 0.1}
    top = {"value": 2.0, "residual": 0.1, "converged": True, "steps": [step]}
    slope = {"num_images": 9, "loss": 1.0, "sharpness": 0.1, "gradient_norm": 1.0}
    found = {"slope": slope, "eigenvalue": top, "surface": [[1.0] * 3] * 3}
    content = {
        "settings": {"grid": 3, "span": 1.0, "num_images": 9},
        "checkpoints": {"run/best": {"epoch": 1, "dataset": "cifar10", "corruption": "fog"}},
        "results": {"run/best": {"0": found}},
    }

    def read(content):
        (folder / "measurements.json").write_bytes(content)
        record = Record(folder)
        settings = {"grid": 3, "span": 1.0, "num_images": 9}
        facts = {"run/best": {"epoch": 1, "dataset": "cifar10", "corruption": "fog"}}
        record.check_same(settings, facts)
        record.start(settings, facts)
        shown = record, {"run/best": "best"}, {"run/best": range(2)}
        flatness_tables(*shown), curves_of(*shown), doubtful_of(*shown), surfaces_of(*shown, 3)

    return spoiled_json(content) | spoiled(json.dumps(content).encode()), read


def reports(folder):
    run = folder / "run"
    run.mkdir()
    train = "epoch,step,weight_0,weight_1\n" + "".join(f"{e},1,0.5,0.5\n" for e in (1, 2))
    settings = {"settings": SETTINGS, "environment": {"git_commit": "a"}}
    valid = {
        "settings.json": json.dumps(settings).encode(),
        "summary.json": json.dumps(SUMMARY).encode(),
        "val.csv": EVALUATION.encode(),
        "train.csv": train.encode(),
    }
    broken = {
        "settings.json": spoiled_json(settings) | spoiled(valid["settings.json"]),
        "summary.json": spoiled_json(SUMMARY) | spoiled(valid["summary.json"]),
        "val.csv": spoiled_table(EVALUATION) | spoiled(valid["val.csv"]),
        "train.csv": spoiled_table(train) | spoiled(valid["train.csv"]),
    }

    def read(content):
        for name, text in {**valid, **content}.items():
            (run / name).write_bytes(text)
        runs, remarks = read_runs([folder])
        experiments, more = experiments_of(runs)
        tables = make_tables(experiments, "best")
        overviews = make_overviews(tables)
        for table in tables:
            formats.as_text(table), formats.as_markdown(table), formats.as_latex(table)
        formats.as_csv(tables)
        page.make_page("x", [*remarks, *more], tables, [{} for _ in tables], overviews, runs)

    one = [strategy.map(lambda text, name=name: {name: text}) for name, strategy in broken.items()]
    return st.one_of(one), read


RUN_READERS = (run_settings, run_tables, measurements, error_sets, flatness, reports)
