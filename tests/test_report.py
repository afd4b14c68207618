"""scripts/report.py and scripts/sweep_methods.sh on directories made by hand."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SPEC = importlib.util.spec_from_file_location("report", ROOT / "scripts" / "report.py")
report = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(report)


def write_run(log_dir, accuracy, finished=True, **settings):
    settings = {"method": "erm", "seed": 0, "desc": "run", "total_epoch": 2, **settings}
    folder = log_dir / f"run{len(list(log_dir.iterdir()))}"
    folder.mkdir()
    (folder / "settings.json").write_text(json.dumps({"settings": settings}))
    scores = {"test": {"0": {"accuracy": accuracy}, "worst": {"accuracy": accuracy / 2}}}
    last = {"test": {k: {"accuracy": 0.01} for k in scores["test"]}}
    summary = {"finished": finished, "best": scores, "last": last}
    (folder / "summary.json").write_text(json.dumps(summary))


def lines_of(capsys, log_dir, *flags):
    report.main([str(log_dir), *flags])
    found = capsys.readouterr()
    return found.out.splitlines(), found.err


def test_mean_and_deviation_over_seeds(capsys, tmp_path):
    for seed, accuracy in ((10, 0.5), (2, 0.6), (3, 0.64)):
        write_run(tmp_path, accuracy, seed=seed)
    lines, _ = lines_of(capsys, tmp_path)
    # Mean of 50, 60, 64 is 58; deviations 8, 2, 6: the root of 104 / 2.
    assert lines[0] == "erm (seed 2 3 10)" and lines[1].split() == ["0", "worst"]
    assert lines[2].split() == ["58.0", "±", "7.2", "29.0", "±", "3.6"]
    assert lines_of(capsys, tmp_path, "--epoch", "last")[0][2].split()[0] == "1.0"


@pytest.mark.parametrize(
    ("first", "second", "labels"),
    [
        ({}, {"total_epoch": 3}, ["erm total_epoch=2 (seed 0)", "erm total_epoch=3 (seed 0)"]),
        ({}, {"desc": "other"}, ["erm desc=other (seed 0)", "erm desc=run (seed 0)"]),
        (
            {"method": "sharpdro", "seed": 1},  # from before there was such a setting
            {"method": "sharpdro", "sampler": "balanced"},
            ["sharpdro sampler=balanced (seed 0)", "sharpdro sampler=replacement (seed 1)"],
        ),
        (
            {},
            {"method": "sam", "total_epoch": 9},
            ["erm total_epoch=2 (seed 0)", "sam total_epoch=9 (seed 0)"],
        ),
        ({}, {"method": "sam", "rho": 0.05}, ["erm (seed 0)", "sam (seed 0)"]),
        (
            {"method": "sharpdro", "distribution_agnostic": True},
            {"method": "sharpdro", "distribution_agnostic": False, "seed": 4},
            ["sharpdro (seed 4)", "sharpdro_agnostic (seed 0)"],
        ),
    ],
)
def test_different_experiments_are_not_averaged(capsys, tmp_path, first, second, labels):
    write_run(tmp_path, 0.5, **first)
    write_run(tmp_path, 0.7, **second)
    lines, _ = lines_of(capsys, tmp_path)
    assert sorted(lines[::3]) == labels and all("±" not in line for line in lines)


def test_other_seeds_and_places_are(capsys, tmp_path):
    write_run(tmp_path, 0.5, data_dir="a", rho=0.05, method="sam")
    write_run(tmp_path, 0.7, data_dir="b", method="sam", seed=1)  # rho is the default
    lines, _ = lines_of(capsys, tmp_path)
    assert lines[0] == "sam (seed 0 1)" and len(lines) == 3


def test_unfinished_and_damaged_runs_are_named_and_left_out(capsys, tmp_path):
    write_run(tmp_path, 0.5)
    write_run(tmp_path, 0.9, finished=False)
    write_run(tmp_path, 0.9)
    (tmp_path / "run2" / "settings.json").write_text("{}")
    write_run(tmp_path, 0.9)
    (tmp_path / "run3" / "summary.json").write_text("")
    write_run(tmp_path, 0.9)
    (tmp_path / "run4" / "summary.json").unlink()  # stopped before its first evaluation
    (tmp_path / "evaluation").mkdir()
    evaluation = {"settings": {"eval_only": True, "trained_with": {}}}
    (tmp_path / "evaluation" / "settings.json").write_text(json.dumps(evaluation))
    lines, errors = lines_of(capsys, tmp_path)
    assert len(lines) == 3 and lines[2].split()[0] == "50.0"
    assert [f"run{n}" in line for n, line in enumerate(errors.splitlines(), 1)] == [True] * 4
    with pytest.raises(SystemExit):
        report.main([str(tmp_path / "evaluation")])
    assert "holds no finished run" in capsys.readouterr().err


def sweep(tmp_path, *flags, methods="sam groupdro sharpdro_agnostic irm erm"):
    """The sweep with a stub for python; returns exit code, calls, stderr."""
    stub = tmp_path / "python"
    stub.write_text(
        f'#!/bin/bash\n[ "$1 $2" = "-c from sharpdro.methods import METHODS; print(*METHODS)" ]'
        f' && exec {sys.executable} "$@"\n'
        '[ "$1" = main.py ] || exit 0\n'
        f'echo "$@" >> "{tmp_path}/calls"\n'
        'case "$*" in *sam*) exit 2;; *groupdro*) exit 137;; *irm*) exit 130;; esac\n'
    )
    stub.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "VIRTUAL_ENV": "x"}
    environment |= {"METHODS": methods, "SEEDS": "3 4"}
    command = ["bash", str(ROOT / "scripts" / "sweep_methods.sh"), *flags]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    calls = tmp_path / "calls"
    return done.returncode, calls.read_text().splitlines() if calls.exists() else [], done.stderr


def test_sweep_goes_on_after_failures_but_not_after_ctrl_c(tmp_path):
    code, calls, _ = sweep(tmp_path, "-n", "5")
    assert code == 130 and calls == [
        "main.py --method sam --seed 3 --resume -n 5",
        "main.py --method groupdro --seed 3 --resume -n 5",
        "main.py --method sharpdro --distribution_agnostic --seed 3 --resume -n 5",
        "main.py --method irm --seed 3 --resume -n 5",
    ]


def test_sweep_tells_at_the_end_what_failed(tmp_path):
    code, calls, errors = sweep(tmp_path, methods="sam groupdro erm")
    assert code == 1 and len(calls) == 6
    assert errors.splitlines() == [
        f"failed: {method} seed {seed} (exit code {code})"
        for seed in (3, 4)
        for method, code in (("sam", 2), ("groupdro", 137))
    ]


def test_sweep_refuses_unknown_methods_before_it_starts(tmp_path):
    code, calls, error = sweep(tmp_path, methods="erm grupdro")
    assert code == 2 and not calls and error.startswith("error: no method grupdro in METHODS: ")


def test_sweep_refuses_what_it_gives_itself(tmp_path):
    code, calls, error = sweep(tmp_path, "--seed", "7")
    assert (
        code == 2
        and not calls
        and error == "error: --seed is given by the sweep: set METHODS or SEEDS\n"
    )
