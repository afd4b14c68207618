"""The sweeps in scripts/, with a stub for python that writes down how main.py is called."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from running import wait_until

from corruptions import STANDARD
from sharpdro.methods.specs import METHODS

ROOT = Path(__file__).resolve().parents[2]


def sweep(tmp_path, name, *flags, **variables):
    """Exit code, calls of main.py, stderr, of a sweep or a table of results."""
    script = ROOT / "scripts" / "results" / f"{name}.sh"
    if not script.exists():
        script = ROOT / "scripts" / f"sweep_{name}.sh"
    stub = tmp_path / "python"
    stub.write_text(
        f'#!/bin/bash\n[[ "$1 $2" == "-c from "* ]] && exec {sys.executable} "$@"\n'
        '[ "$1" = main.py ] || exit 0\n'
        f'echo "${{@:2}}" >> "{tmp_path}/calls"\n'
        'case "$*" in *"d sam "*) exit 2 ;; *"d groupdro "*) exit 137 ;; '
        '*"d irm "*) exit 130 ;; esac\n'
    )
    stub.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "VIRTUAL_ENV": "x"}
    command = ["bash", str(script), *flags]
    done = subprocess.run(command, env=environment | variables, capture_output=True, text=True)
    calls = tmp_path / "calls"
    return done.returncode, calls.read_text().splitlines() if calls.exists() else [], done.stderr


def call(method, seed=0, dataset="cifar10", corruption="gaussian_noise", severity=5, desc="run"):
    return (
        f"--desc {desc} -d {dataset} -c {corruption} --num_severity {severity} --seed {seed} "
        f"--method {method} --resume"
    )


def test_goes_on_after_failures_but_not_after_ctrl_c(tmp_path):
    methods = "sam groupdro sharpdro_agnostic irm erm"
    code, calls, errors = sweep(tmp_path, "methods", "-n", "5", METHODS=methods, SEEDS="3 4")
    failed = ((call("sam", 3), 2), (call("groupdro", 3), 137))
    assert errors.splitlines() == [
        f"failed: {flags.removesuffix(' --resume')} (exit code {number})"
        for flags, number in failed
    ] + ["stopped: start the sweep again, and it goes on"]
    assert code == 130 and calls == [
        f"{call('sam', 3)} -n 5",
        f"{call('groupdro', 3)} -n 5",
        f"{call('sharpdro --distribution_agnostic', 3)} -n 5",
        f"{call('irm', 3)} -n 5",
    ]


def test_passes_on_methods_of_the_users_own_and_files_of_flags(tmp_path):
    flags = ("-m", "my_module:MyNet", "--config", "flags.json")
    code, calls, _ = sweep(tmp_path, "methods", *flags, METHODS="my_module:MyStep", SEEDS="3")
    assert (code, calls) == (0, [f"{call('my_module:MyStep', 3)} {' '.join(flags)}"])


def test_methods_of_the_users_own_have_their_whole_names(tmp_path):
    methods = "my_module:Tilted_worst my_module:Tilted_agnostic"
    code, calls, _ = sweep(tmp_path, "methods", METHODS=methods, SEEDS="0")
    assert (code, calls) == (0, [call(method) for method in methods.split()])


@pytest.mark.parametrize(
    ("flag", "method"),
    [
        ("--sampler shuffle", "groupdro_balanced"),
        ("--sampler=shuffle", "groupdro_balanced"),
        ("--severity_law=clean", "erm_worst"),
    ],
)
def test_what_a_variant_gives_is_refused(tmp_path, flag, method):
    words = flag.split()
    code, calls, error = sweep(tmp_path, "methods", *words, METHODS=f"erm {method}")
    assert (code, calls) == (2, [])
    assert error == f"error: {words[0]} is given by {method}: take one of them out\n"
    code, calls, _ = sweep(tmp_path, "methods", *words, METHODS="erm x:My_balanced", SEEDS="0")
    assert code == 0 and calls == [f"{call('erm')} {flag}", f"{call('x:My_balanced')} {flag}"]


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        ("--totl_epoch 3", "unrecognized arguments: --totl_epoch 3: did you mean --total_epoch?"),
        ("--total_epoch -3", "argument --total_epoch: -3 is not a whole number >= 1"),
    ],
)
def test_wrong_flags_are_refused_once(tmp_path, flags, error):
    for variables in ({}, {"PRINT": "1"}):
        code, calls, errors = sweep(tmp_path, "methods", *flags.split(), **variables)
        assert (code, calls) == (2, []) and errors.count("\n") == 1
        assert errors.startswith(f"main.py: error: {error}")


def test_tells_at_the_end_what_failed(tmp_path):
    code, calls, errors = sweep(tmp_path, "methods", METHODS="sam groupdro erm", SEEDS="3 4")
    assert code == 1 and len(calls) == 6
    assert errors.splitlines() == [
        f"failed: {call(method, seed).removesuffix(' --resume')} (exit code {code})"
        for seed in (3, 4)
        for method, code in (("sam", 2), ("groupdro", 137))
    ]


def test_the_whole_grid(tmp_path):
    variables = {"DATASETS": "cifar10 cifar100", "CORRUPTIONS": "fog snow", "METHODS": "erm jtt"}
    code, calls, _ = sweep(tmp_path, "severities", **variables, SEVERITIES="3 5", DESC="x")
    expected = {
        call(m, 0, d, c, s, desc)
        for m in ("erm", "jtt")
        for d in ("cifar10", "cifar100")
        for c in ("fog", "snow")
        for s, desc in ((3, "x-severity3"), (5, "x"))
    }
    assert code == 0 and len(calls) == 16 and set(calls) == expected


def test_defaults(tmp_path):
    for name, count in (("corruptions", 15), ("severities", 5)):
        (tmp_path / name).mkdir()
        code, calls, _ = sweep(tmp_path / name, name)
        assert code == 0 and len(set(calls)) == count
    calls = (tmp_path / "corruptions" / "calls").read_text().splitlines()
    assert calls == [call("sharpdro", corruption=name) for name in STANDARD]
    text = (ROOT / "scripts" / "sweep_methods.sh").read_text()
    (line,) = (line for line in text.splitlines() if line.startswith(': "${METHODS:='))
    plain = METHODS.keys() - {"irm", "vrex"}
    balanced = {"groupdro_balanced", "irm_balanced", "vrex_balanced"}
    assert set(line.split(":=")[1].split("}")[0].split()) == plain | balanced


def test_variants(tmp_path):
    methods = "erm_worst erm_clean sam_uniform jtt_balanced"
    code, calls, _ = sweep(tmp_path, "methods", METHODS=methods, SEEDS="0", SEVERITIES="4")
    assert calls == [
        call("erm --severity_law worst", severity=4, desc="run-severity4-worst"),
        call("erm --severity_law clean", severity=4, desc="run-severity4-clean"),
        call("sam --severity_law uniform", severity=4, desc="run-severity4-uniform"),
        call("jtt --sampler balanced", severity=4, desc="run-severity4-balanced"),
    ]


def test_tables_of_results(tmp_path):
    """A failed run stops nothing; what makes a table is not taken from outside."""
    outside = {"SEEDS": "0 1", "DATASETS": "cifar100", "SEVERITIES": "3", "METHODS": "x"}
    found = {}
    names = "table1", "table2", "table3", "confirmation"
    for name in names:
        (tmp_path / name).mkdir()
        code, calls, _ = sweep(tmp_path / name, name, "--lr", "1", **outside, CORRUPTIONS="fog")
        found[name] = calls
        assert code == (130 if name == "table1" else 1)  # the stub stops at irm
        assert all("-d cifar10 " in c and "--num_severity 5 " in c for c in calls)
        assert len(set(calls)) == len(calls) and all("--lr 1" in c for c in calls)
    assert all("-c gaussian_noise" in c for name in ("table1", "table3") for c in found[name])
    assert all("-c fog" in c for c in found["table2"] + found["confirmation"])
    assert [len(found[name]) for name in names] == [24, 22, 6, 6]
    two_passes = {"sam", "sharpdro"}
    for call_of_main in found["table2"] + found["table3"] + found["confirmation"]:
        words = call_of_main.split()
        is_short = words[words.index("--method") + 1] in two_passes or words[1] == "table2-half"
        full = 16 if "table3" in words[1] else 80
        assert int(words[words.index("--total_epoch") + 1]) == full // (1 + is_short)


@pytest.mark.parametrize(
    ("name", "variable", "value", "expected"),
    [
        ("methods", "METHODS", "erm grupdro", "'grupdro', did you mean groupdro?"),
        ("methods", "METHODS", "erm grupdro_balanced", "'grupdro', did you mean groupdro?"),
        ("methods", "METHODS", "erm_best", "'erm_best' (choose from sharpdro, sharpdro_agnostic, "),
        ("corruptions", "CORRUPTIONS", "fog Gauss-Noise", "'Gauss-Noise', did you mean gaussian"),
        ("severities", "DATASETS", "mnist", "'mnist' (choose from synthetic, cifar10, "),
        ("severities", "SEVERITIES", "5 6", "'6' (choose from 1, 2, 3, 4, 5)"),
    ],
)
def test_unknown_names_are_refused_before_anything_starts(
    tmp_path, name, variable, value, expected
):
    code, calls, error = sweep(tmp_path, name, **{variable: value})
    assert code == 2 and not calls and error.count("\n") == 1
    assert error.startswith(f"error: {variable}: invalid choice: {expected}")


def test_a_variable_that_lacks_its_s_is_noted(tmp_path):
    code, calls, error = sweep(tmp_path, "methods", METHOD="sam", METHODS="erm", SEEDS="0")
    assert (code, len(calls)) == (0, 1)
    assert error == "note: METHOD=sam has no effect; did you mean METHODS?\n"


def test_seeds_are_numbers(tmp_path):
    code, calls, error = sweep(tmp_path, "methods", SEEDS="0 1a")
    assert (code, calls, error) == (2, [], "error: 1a in SEEDS is not a whole number\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_the_run(tmp_path, number):
    """SIGTERM to the sweep alone; SIGINT as a terminal sends it, to the whole group."""
    stub, calls = tmp_path / "python", tmp_path / "calls"
    stub.write_text(
        f'#!/bin/bash\n[[ "$1 $2" == "-c from "* ]] && exec {sys.executable} "$@"\n'
        f'[ "$1" = main.py ] || exit 0\nexec {sys.executable} -c "import signal, sys, time\n'
        f"log = open('{calls}', 'wb', buffering=0)  # a signal may fall into the first write\n"
        "for n in signal.SIGINT, signal.SIGTERM:\n"
        "    signal.signal(n, lambda n, _: (log.write(b'%d\\\\n' % n), sys.exit(128 + n)))\n"
        "log.write(b'begun\\\\n'); time.sleep(60)\"\n"
    )
    stub.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "VIRTUAL_ENV": "x"}
    command = ["bash", str(ROOT / "scripts" / "sweep_methods.sh")]
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    wait_until(process, lambda: calls.exists() and calls.read_text())
    send = os.kill if number == signal.SIGTERM else os.killpg
    send(process.pid, number)
    assert process.wait(30) == 128 + number
    assert calls.read_text() == f"begun\n{int(number)}\n"


def test_prints_commands_that_run_anywhere(tmp_path):
    stub = tmp_path / "python"
    variables = {"METHODS": "erm sharpdro_agnostic", "SEEDS": "3", "PRINT": "1"}
    code, calls, _ = sweep(tmp_path, "methods", "--data_dir", "my data", **variables)
    assert code == 0 and not calls
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "VIRTUAL_ENV": "x"}
    command = ["bash", str(ROOT / "scripts" / "sweep_methods.sh"), "--data_dir", "my data"]
    how = {"env": environment | variables, "capture_output": True, "text": True}
    lines = subprocess.run(command, **how).stdout.splitlines()
    assert lines[0] == (
        f"cd {ROOT} && {stub} main.py --desc run -d cifar10 -c gaussian_noise --num_severity 5 "
        f"--seed 3 --method erm --resume --data_dir my\\ data"
    )
    for line in lines:
        subprocess.run(["bash", "-c", line], cwd=tmp_path, check=True)
    expected = [call("erm", 3), call("sharpdro --distribution_agnostic", 3)]
    written = (tmp_path / "calls").read_text().splitlines()
    assert written == [f"{flags} --data_dir my data" for flags in expected]


# Writes down the run and its cores, and waits for what `wait` says; a signal is written down, too.
WAITING = """#!/bin/bash
[ "$1" = -c ] && exec {python} "$@"
[ "$1" = main.py ] || exit 0
exec {python} {program} "$@"
"""
PROGRAM = """
import os, signal, sys, time

def note(text):
    with open({calls!r}, "a") as file:
        file.write(text + "\\n")

def stop(number, _):
    note(f"stopped {{int(number)}}")
    sys.exit(128 + number)

signal.signal(signal.SIGINT, stop), signal.signal(signal.SIGTERM, stop)
note(f"begun {{sorted(os.sched_getaffinity(0))}} {{'--no-show_progress' in sys.argv}}")
{wait}
"""


def start_two(tmp_path, wait, **variables):
    """A sweep of two jobs at a time, and the file where its runs write."""
    stub, program, calls = (tmp_path / name for name in ("python", "program.py", "calls"))
    stub.write_text(WAITING.format(python=sys.executable, program=program))
    program.write_text(PROGRAM.format(calls=str(calls), wait=wait))
    stub.chmod(0o755)
    calls.touch()
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "VIRTUAL_ENV": "x"}
    environment |= {"JOBS": "2", **variables}
    command = ["bash", str(ROOT / "scripts" / "sweep_methods.sh")]
    how = {"env": environment, "start_new_session": True, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, **how), calls


def test_two_jobs_at_a_time_share_the_cores(tmp_path):
    """Each of the first two waits for the other; of three, the one that fails is named."""
    wait = (
        f"while open({str(tmp_path / 'calls')!r}).read().count('begun') < 2: time.sleep(0.05)\n"
        "sys.exit(7 * ('sam' in sys.argv))"
    )
    process, calls = start_two(tmp_path, wait, METHODS="erm sam jtt", SEEDS="0")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors == f"failed: {call('sam').removesuffix(' --resume')} (exit code 7)\n"
    begun = calls.read_text().splitlines()
    own = sorted(os.sched_getaffinity(0))
    halves = [own[: len(own) // 2], own[len(own) // 2 :]] if len(own) > 1 else [own, own]
    assert len(begun) == 3
    assert {line.split(" ", 1)[1] for line in begun} == {f"{half} True" for half in halves}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_all_jobs(tmp_path, number):
    process, calls = start_two(tmp_path, "time.sleep(60)")
    wait_until(process, lambda: calls.read_text().count("begun") == 2)
    send = os.kill if number == signal.SIGTERM else os.killpg
    send(process.pid, number)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert errors == "stopped: start the sweep again, and it goes on\n"
    assert calls.read_text().splitlines()[2:] == [f"stopped {int(number)}"] * 2


@pytest.mark.parametrize("jobs", ["0", "two", "-1"])
def test_jobs_are_a_number(tmp_path, jobs):
    code, calls, error = sweep(tmp_path, "methods", JOBS=jobs)
    expected = f"error: JOBS={jobs} is not a whole number of at least 1\n"
    assert (code, calls, error) == (2, [], expected)


@pytest.mark.parametrize(
    "flag", ["--seed", "-d", "-cfog", "--desc=x", "--num_severity", "--method", "--method=sam"]
)
def test_what_the_sweep_gives_is_refused(tmp_path, flag):
    code, calls, error = sweep(tmp_path, "methods", flag, "7")
    assert code == 2 and not calls
    assert error.startswith(f"error: {flag} is given by the sweep: set DATASETS, CORRUPTIONS")


def test_other_flags_that_begin_alike_are_passed_on(tmp_path):
    flags = ["--data_dir", "x", "--depth", "10", "--method_settings", "tilt=2"]
    code, calls, _ = sweep(tmp_path, "methods", *flags, METHODS="erm", SEEDS="0")
    assert code == 0 and calls == [f"{call('erm')} {' '.join(flags)}"]
