"""scripts/search.py, with a stub of main.py whose accuracies follow from what was drawn."""

import importlib.util
import math
import os
import re
import shlex
import signal
import subprocess
import sys

import numpy as np
import pytest
from running import ROOT, wait_until

from sharpdro.command_line.flags import FLAGS
from sharpdro.command_line.settings import parse
from sharpdro.methods.specs import METHODS, SEARCHED, LogRange

SPEC = importlib.util.spec_from_file_location("search", ROOT / "scripts" / "search.py")
search = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(search)

# Validation is better the larger the learning rate; test the reverse, so that none is taken for the
# other. Learning rates above 0.2 fail.
STUB = """
import json, sys
sys.path.insert(0, {root!r})
from sharpdro.command_line.settings import parse, recorded, run_folder
args = parse(sys.argv[1:])
with open({calls!r}, "a") as file:
    file.write(" ".join(sys.argv[1:]) + "\\n")
if args.lr > 0.2:
    sys.exit(2)
folder = run_folder(args)
folder.mkdir(parents=True)
(folder / "settings.json").write_text(json.dumps({{"settings": recorded(args)}}))
def rows(accuracy):
    return {{"worst": {{"accuracy": accuracy}}, "mean": {{"accuracy": accuracy + 0.1}}}}
best = {{"validation": rows(args.lr), "test": rows(0.5 - args.lr + args.seed / 100)}}
(folder / "summary.json").write_text(json.dumps({{"finished": True, "best": best}}))
"""


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """Where the stub writes down how it was called; the current folder is an empty one."""
    path, stub = tmp_path / "calls", tmp_path / "stub.py"
    stub.write_text(STUB.format(root=str(ROOT), calls=str(path)))
    path.touch()
    monkeypatch.setattr(search, "MAIN", stub)
    monkeypatch.chdir(tmp_path)
    return path


def drawn(seed, number, name):
    return search.draw(seed, number)[name]


def test_draws_follow_from_seed_and_number_alone():
    assert search.draw(3, 7) == search.draw(3, 7)
    assert len({(*search.draw(s, n).values(),) for s in range(4) for n in range(5)}) == 20


def test_draws_fill_their_ranges_evenly():
    """Logarithms of 400 draws: their mean and extremes; values: each as often."""
    draws = [search.draw(0, number) for number in range(400)]
    for name, space in SEARCHED.items():
        values = [draw[name] for draw in draws]
        if not isinstance(space, LogRange):
            counts = [values.count(str(value)) for value in space]
            assert sum(counts) == 400 and min(counts) > 0.6 * 400 / len(space), name
            continue
        shares = [math.log(float(v) / space.low) / math.log(space.high / space.low) for v in values]
        assert -1e-3 < min(shares) < 0.05 and 0.95 < max(shares) < 1 + 1e-3, name
        assert np.mean(shares) == pytest.approx(0.5, abs=0.06), name


def test_a_first_stage_is_no_longer_than_the_run(calls, capsys):
    flags = ["--print", "--trials", "8", "-d", "synthetic", "--method", "jtt"]
    assert search.main([*flags, "--total_epoch", "3"]) == 0
    drawn_here = re.findall(r"--jtt_epochs=(\d+)", capsys.readouterr().out)
    expected = [min(3, int(drawn(0, number, "jtt_epochs"))) for number in range(8)]
    assert max(int(drawn(0, number, "jtt_epochs")) for number in range(8)) > 3
    assert drawn_here == [str(value) for value in expected]


def test_all_methods_take_what_is_drawn(calls):
    assert SEARCHED.keys() <= FLAGS.keys()
    for name in METHODS:
        flags = ["--method", name.removesuffix("_agnostic")]
        flags += ["--distribution_agnostic"] * name.endswith("_agnostic")
        args, flags = search.create_search_parser().parse_known_args(["--trials", "8", *flags])
        trials = search.make_trials(args, flags)
        names = {flag.split("=")[0].removeprefix("--") for flag in trials[0].drawn}
        expected = {"lr", "weight_decay", *METHODS[name].settings} & SEARCHED.keys()
        assert names == expected and len({trial.run.folder for trial in trials}) == 8


def test_judged_by_validation_then_confirmed_on_test(calls, capsys):
    flags = ["--method", "erm", "--weight_decay", "0", "--trials", "6"]
    rates = {n: float(drawn(0, n, "lr")) for n in range(6)}
    failed = {n for n, rate in rates.items() if rate > 0.2}
    best = max(rates.keys() - failed, key=rates.get)
    assert search.main(flags) == bool(failed)
    out, errors = capsys.readouterr()
    assert f"{6 - len(failed)} of 6 trials finished" in out and errors.count("failed: ") == len(
        failed
    )
    table = [line.split() for line in out.splitlines() if "--lr=" in line and line[0].isdigit()]
    assert [int(row[0]) for row in table] == sorted(rates.keys() - failed, key=rates.get)[::-1]
    assert table[0][1:] == [f"--lr={rates[best]}", f"{100 * rates[best]:.1f}", table[0][3]]
    assert "the best: cd " in out
    assert f".py --method erm --weight_decay 0 --desc=run-trial{best}" in out
    assert "test accuracy" not in out
    begun = len(calls.read_text().splitlines())
    search.main([*flags, "--confirm", "3"])
    out = capsys.readouterr().out
    new = calls.read_text().splitlines()[begun:]
    confirmed = [line for line in new if f"--desc=run-confirm{best} " in line]
    assert len(new) == len(failed) + 3  # what failed is tried again, what is finished is not
    assert [line.split("--seed=")[1].split()[0] for line in confirmed] == ["1", "2", "3"]
    assert all(f"--lr={rates[best]} " in line for line in confirmed)
    worst = 100 * (0.5 - rates[best] + 0.02)
    assert f"trial {best}: test accuracy in percent, 3 of 3 seeds\nworst {worst:.1f} ± 1.0" in out


def test_a_confirmation_that_failed_is_in_the_exit_code(calls, capsys):
    flags = ["--method", "erm", "--lr", "0.1", "--trials", "1"]
    assert search.main([*flags, "--confirm", "1"]) == 0
    search.MAIN.write_text(search.MAIN.read_text().replace("args.lr > 0.2", "args.seed > 1"))
    assert search.main([*flags, "--confirm", "2"]) == 1
    assert "test accuracy in percent, 1 of 2 seeds" in capsys.readouterr().out


def test_finished_trials_of_other_settings_are_refused(calls, capsys):
    flags = ["--method", "erm", "--lr", "0.1", "--trials", "1"]
    assert search.main(flags) == 0
    assert search.main([*flags, "--total_epoch", "7"]) == 2
    assert "--total_epoch is 7, but" in capsys.readouterr().err
    assert len(calls.read_text().splitlines()) == 1


def test_prints_commands_that_run_anywhere(calls, capsys, tmp_path):
    assert search.main(["--print", "--trials", "2", "--lr", "0.1", "--log_dir", "my logs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and not calls.read_text()
    subprocess.run(["bash", "-c", lines[1]], cwd="/", check=True)
    written = shlex.split(lines[1])
    assert written[:4] == ["cd", str(tmp_path), "&&", sys.executable]
    assert (
        calls.read_text().split()[-1] == "--resume"
        and len([*(tmp_path / "my logs").iterdir()]) == 1
    )


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ("--trials 0", "argument --trials: 0 is not"),
        ("--jobs 0", "argument --jobs: 0 is not"),
        ("--judge clean", "argument --judge: invalid choice: 'clean'"),
        ("--unknown 3", "unrecognized arguments: --unknown 3"),
        ("--trails 3", "--trails 3: did you mean --trials?"),
        ("--method erm --rho 1", "--rho does not apply to --method erm"),
        ("--eval_only --checkpoint x.ckpt", "a search trains: leave out --eval_only"),
        ("--dry_run", "a search trains: leave out --eval_only and --dry_run"),
        ("--method jtt --total_epoch 1 --jtt_epochs 2", "--jtt_epochs 2 is more than"),
    ],
)
def test_bad_flags_are_refused(calls, capsys, flags, text):
    try:
        code = search.main(flags.split())
    except SystemExit as exit:
        code = exit.code
    errors = capsys.readouterr().err
    assert code == 2 and errors.count("\n") == 1 and text in errors
    assert errors.startswith("search.py: error: ") and not calls.read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_all_runs(tmp_path, number):
    """Two at a time, as main.py answers SIGTERM; SIGINT as a terminal sends it, to the group."""
    stub, calls = tmp_path / "stub.py", tmp_path / "calls"
    stub.write_text(
        "import signal, sys, time\n"
        f"def note(text):\n    print(text, file=open({str(calls)!r}, 'a'), flush=True)\n"
        "signal.signal(signal.SIGTERM, lambda *_: (note('stopped'), sys.exit(143)))\n"
        "signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})\n"
        "note('begun')\ntime.sleep(60)\n"
    )
    calls.touch()
    program = tmp_path / "program.py"
    program.write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT / 'scripts')!r})\nimport search\n"
        f"search.MAIN = search.Path({str(stub)!r})\n"
        "sys.exit(search.main(['--jobs', '2', '--trials', '3', '--method', 'erm']))\n"
    )
    how = {"cwd": tmp_path, "start_new_session": True, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, str(program)], **how)
    wait_until(process, lambda: calls.read_text().count("begun") == 2)
    (os.kill if number == signal.SIGTERM else os.killpg)(process.pid, number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert errors.endswith("the same command goes on\n") and errors.count("\n") == 1
    assert calls.read_text().split() == ["begun", "begun", "stopped", "stopped"]


def test_runs_at_a_time_share_the_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 2, 3, 5, 7})
    assert [search.cores_of(slot, 2) for slot in range(2)] == ["0,2", "3,5,7"]
    assert [search.cores_of(slot, 1) for slot in range(1)] == ["0,2,3,5,7"]
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {4})
    assert [search.cores_of(slot, 3) for slot in range(3)] == ["4", "4", "4"]


def test_flags_that_are_given_are_not_drawn(calls):
    args, flags = search.create_search_parser().parse_known_args(["--rho", "0.3", "--lr", "0.1"])
    (first, *_) = search.make_trials(args, flags)
    assert not {flag for flag in first.drawn if flag.startswith(("--rho", "--lr"))}
    assert parse(first.run.flags).rho == 0.3
