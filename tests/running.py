"""Calls main.py as its users do, on a tiny folder in CIFAR-10's format."""

import csv
import gc
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

import main

TINY = [
    *("-d", "cifar10", "-n", "15", "--num_severity", "2", "--depth", "10", "--widen_factor", "1"),
    *("-b", "40", "--lr", "0.05", "--total_epoch", "2"),
    *("--num_val", "6", "--num_test", "5", "--eval_every", "2"),
]
NAME = "run_dsetcifar10_corrgaussian_noise_{method}_seed0"
ERM = ("--method", "erm")
ROOT = Path(__file__).resolve().parents[1]


def script_environment(**more):
    """For shell scripts, which take this Python."""
    path = f"{sys.prefix}/bin:{os.environ['PATH']}"
    return {**os.environ, "VIRTUAL_ENV": sys.prefix, "PATH": path, **more}


class Runner:
    """Calls main.main in this process; every call gets a log directory of its own."""

    def __init__(self, data_dir, make_folder):
        self.data_dir, self.make_folder, self.finished = data_dir, make_folder, {}

    def __call__(self, *flags):
        """The run directory, cached by its flags; later flags win over TINY's."""
        if flags not in self.finished:
            logs = self.make_folder("logs")
            assert self.code(*flags, "--log_dir", str(logs)) == 0
            (self.finished[flags],) = logs.iterdir()
        return self.finished[flags]

    def code(self, *flags):
        gc.collect()  # as the fixture `no_old_graphs`, between runs of one test
        return main.main([*TINY, "--data_dir", str(self.data_dir), *flags])


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def evaluated_rows(folder):
    """Rows of the test.csv of an evaluation on one corruption, as a run's own have them."""
    return [
        {k: v for k, v in row.items() if k not in ("corruption", "images_crc32")}
        for row in rows(folder / "test.csv")
    ]


def weights(folder, name="last.ckpt"):
    import mindspore as ms  # not before sharpdro has set the environment

    stored = ms.load_checkpoint(str(folder / name))
    return {k: np.asarray(v.asnumpy()) for k, v in stored.items() if hasattr(v, "asnumpy")}


def same_weights(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


def wait_until(process, condition):
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)


def begun_second_epoch(table):
    return table.exists() and "\n2,1," in table.read_text()


def without_speed(path):
    """Rows of train.csv without what differs from one run to the next."""
    speed = ("images_per_second", "seconds")
    return [{k: v for k, v in row.items() if k not in speed} for row in rows(path)]


def summary_without_seconds(folder):
    content = json.loads((folder / "summary.json").read_text())
    assert content.pop("training_seconds") > 0
    return content


def tree(folder):
    """All that is in a folder: paths, times and bytes."""
    return {
        path.relative_to(folder): (path.stat().st_mtime_ns, path.is_file() and path.read_bytes())
        for path in sorted(folder.rglob("*"))
    }


def check_equal(folder, expected):
    """Check that a run has come to the same as another one."""
    for name in ("val.csv", "test.csv"):
        assert (folder / name).read_bytes() == (expected / name).read_bytes(), name
    assert summary_without_seconds(folder) == summary_without_seconds(expected)
    assert without_speed(folder / "train.csv") == without_speed(expected / "train.csv")
    for name in ("last.ckpt", "best.ckpt"):
        if not (expected / name).exists():  # --no-save_best
            assert not (folder / name).exists()
            continue
        assert same_weights(weights(folder, name), weights(expected, name)), name
    logits, wanted = (
        {path.name: path.read_bytes() for path in run.glob("logits/*")}
        for run in (folder, expected)
    )
    assert logits == wanted


def assert_refused(capsys, arguments, *texts):
    """main.py answers with one line that holds the texts, and exit code 2; returns the line."""
    error = refusal_of(main.main, capsys, arguments, *texts)
    assert error.startswith("main.py: error: "), error
    return error


def refusal_of(program, capsys, arguments, *texts):
    """The one line, with these texts, that a program's `main` answers with, and exit code 2."""
    capsys.readouterr()
    try:
        code = program([*map(str, arguments)])
    except SystemExit as exit:
        code = exit.code
    error = capsys.readouterr().err
    assert code == 2 and error.count("\n") == 1, error
    for text in texts:
        assert text in error, error
    return error
