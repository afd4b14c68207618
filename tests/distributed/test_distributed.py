"""Several processes against one, started by MindSpore's launcher on this machine's CPU."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import fake_cifar
import numpy as np
import pytest
from distributed_steps import METHODS
from running import (
    ERM,
    ROOT,
    TINY,
    begun_second_epoch,
    check_equal,
    rows,
    script_environment,
    wait_until,
)

from dataset.sets import EvaluationSet, PreparedData, TrainingSet
from sharpdro.command_line.settings import parse
from sharpdro.jobs import prepare

MSRUN = Path(sys.executable).with_name("msrun")


def msrun(folder, number, *command):
    """The launcher as a process; the workers' outputs go to worker_0.log … in the folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launch = [MSRUN, f"--worker_num={number}", f"--local_worker_num={number}", "--join=True"]
    launch += [f"--master_port={port}", f"--log_dir={folder}"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    how = {"env": environment, "cwd": folder, "timeout": 400, "capture_output": True}
    return subprocess.run([*launch, *command], text=True, **how)


def check_steps(folder, number, methods):
    script = str(ROOT / "tests" / "distributed_steps.py")
    done = msrun(folder, number, script, str(folder), *methods)
    assert done.returncode == 0, done.stdout + done.stderr
    results = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(number)]
    for rank, found in enumerate(results):
        assert (found["rank"], found["size"]) == (rank, number)
        for method in methods:
            parameters, outputs = found[method]
            assert parameters < 1e-5 and outputs < 1e-4, method
        if len(methods) == len(METHODS):
            assert 1e-4 < found["local"] < 0.5
            assert found["applied"] is False and found["unchanged"] is True
        assert found["gathered"] == list(range(number))
        assert found["differs"].startswith("the ranks differ between the processes (0, 1")


def test_two_processes_follow_one(tmp_path):
    check_steps(tmp_path, 2, ["sharpdro"])


@pytest.mark.slow
def test_three_processes_follow_one(tmp_path):
    check_steps(tmp_path, 3, METHODS)


def launch(data_dir, logs, *flags, **environment):
    """Two processes by the script."""
    command = [str(ROOT / "scripts" / "distributed.sh"), "2", *TINY, *ERM, *flags]
    command += ["--data_dir", str(data_dir), "--log_dir", str(logs)]
    command += ["--log_train", "1", "--eval_batch_size", "4"]
    environment = script_environment(**environment)
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, start_new_session=True, **how)


STOPPED = "distributed.sh: stopped: the same command with --resume goes on after what is saved\n"


def test_port_in_use_is_named_at_once(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        process = launch(tmp_path, tmp_path, PORT=port, TMPDIR=str(tmp_path))
        output, error = process.communicate(timeout=60)
    assert process.returncode == 2 and output == ""
    assert error.startswith(f"error: port {port} of 127.0.0.1 cannot be used (Address already")
    assert error.count("\n") == 1 and not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.1, 0.5, 1.5, 4])
def test_stopped_script_leaves_nothing(data_dir, tmp_path, delay):
    """SIGTERM to the whole group, as by `timeout` and batch systems, before anything is trained."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    process = launch(data_dir, tmp_path / "logs", TMPDIR=str(temporary))
    time.sleep(delay)
    os.killpg(process.pid, signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    # bash itself names a command of its own that the same signal has ended.
    assert (process.returncode, error.removeprefix("Terminated\n")) == (143, STOPPED)
    assert not list(temporary.glob("sharpdro.*"))  # a pip that is ended leaves folders of its own
    with pytest.raises(AssertionError, match="no such process"):
        worker(str(tmp_path / "logs"), 0)


@pytest.mark.slow
def test_what_only_the_workers_notice_ends_the_run(tmp_path):
    """In half a minute, not after the ten that msrun gives the processes to find one another."""
    fake_cifar.write_cifar10(tmp_path / "data")
    (tmp_path / "data" / "cifar-10-batches-py" / "data_batch_2").write_bytes(b"x")
    process = launch(tmp_path / "data", tmp_path / "logs")
    output, error = process.communicate(timeout=200)
    assert process.returncode == 2 and "data_batch_2 is not a file of" in output + error
    assert not (tmp_path / "logs").exists()


EPOCHS = ("--total_epoch", "20", "--resume", "--save_logits")


@pytest.fixture(scope="module")
def undisturbed(data_dir, tmp_path_factory):
    logs = tmp_path_factory.mktemp("undisturbed")
    process = launch(data_dir, logs, *EPOCHS)
    _, error = process.communicate(timeout=400)
    assert process.returncode == 0, error
    (whole,) = logs.iterdir()
    assert "2 processes, 20 images of a batch each" in (whole / "log.txt").read_text()
    assert [row["count"] for row in rows(whole / "test.csv")][:5] == ["5", "5", "5", "15", "5"]
    best = json.loads((whole / "summary.json").read_text())["best"]["test"]
    for severity, (logits, labels) in enumerate(logits_of(whole)):
        assert logits.shape == (5, 10) and logits.dtype == np.float32
        accuracy = (logits.argmax(1) == labels).mean()
        assert accuracy == pytest.approx(best[str(severity)]["accuracy"], abs=1e-6)
    return whole


def logits_of(folder):
    """Logits and labels by severity."""
    names = ("clean", "gaussian_noise_1", "gaussian_noise_2", "labels")
    *logits, labels = (np.load(folder / "logits" / f"{name}.npy") for name in names)
    return [(array, labels) for array in logits]


def begin(data_dir, logs):
    """A run in its second epoch."""
    process = launch(data_dir, logs, *EPOCHS)
    wait_until(process, lambda: any(map(begun_second_epoch, logs.glob("*/train.csv"))))
    return process


def check_resumed(data_dir, logs, undisturbed):
    process = launch(data_dir, logs, *EPOCHS)
    _, error = process.communicate(timeout=400)
    assert process.returncode == 0, error
    (resumed,) = logs.iterdir()
    check_equal(resumed, undisturbed)
    for pair, expected in zip(logits_of(resumed), logits_of(undisturbed), strict=True):
        assert all(map(np.array_equal, pair, expected))


@pytest.mark.slow
@pytest.mark.parametrize("is_whole_group", [False, True])
def test_stopped_run_saves_its_epoch_and_goes_on_to_the_same_bits(
    data_dir, tmp_path, undisturbed, is_whole_group
):
    process = begin(data_dir, tmp_path)
    if is_whole_group:
        os.killpg(process.pid, signal.SIGTERM)
    else:
        process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=100)
    assert (process.returncode, error) == (143 if is_whole_group else 130, STOPPED)
    (log,) = tmp_path.glob("*/log.txt")
    found = re.search(r"stopped in epoch (\d+) after step \d+, which is saved", log.read_text())
    assert 2 <= int(found.group(1)) < 20
    check_resumed(data_dir, tmp_path, undisturbed)


@pytest.mark.slow
def test_one_stopped_process_stops_all(data_dir, tmp_path, undisturbed):
    process = begin(data_dir, tmp_path)
    os.kill(worker(str(tmp_path), 1), signal.SIGTERM)
    output, error = process.communicate(timeout=100)
    assert (process.returncode, error) == (143, STOPPED), output
    assert "which is saved" in output
    check_resumed(data_dir, tmp_path, undisturbed)


@pytest.mark.slow
def test_killed_process_ends_the_run_which_goes_on_to_the_same_bits(
    data_dir, tmp_path, undisturbed
):
    process = begin(data_dir, tmp_path)
    os.kill(worker(str(tmp_path), 1), signal.SIGKILL)
    output, error = process.communicate(timeout=400)
    assert process.returncode == 1 and "a process has ended before its time" in error, output
    check_resumed(data_dir, tmp_path, undisturbed)


def worker(logs, rank):
    """Process id of a run's process."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_text().split("\0")
            environment = (folder / "environ").read_text().split("\0")
        except OSError:
            continue
        if logs in command and f"RANK_ID={rank}" in environment:
            return int(folder.name)
    raise AssertionError("no such process")


class FakeTeam:
    """Of two; keeps what they are to have in common."""

    size = 2

    def __init__(self):
        self.numbers = []

    def check_equal(self, what, number, advice):
        self.numbers.append(number)


@pytest.mark.parametrize(
    ("change", "differs"),
    [
        (lambda args, data: None, (False, False)),
        (lambda args, data: vars(args).update(num_workers=3), (False, False)),
        (lambda args, data: vars(args).update(lr=0.3), (True, False)),
        (lambda args, data: data.train.labels.__setitem__(7, 9), (False, True)),
        (lambda args, data: data.train.severities.__setitem__(7, 0), (False, True)),
        (lambda args, data: data.train.images.__setitem__(0, 0), (False, True)),
        (lambda args, data: data.test.labels.__setitem__(3, 9), (False, True)),
    ],
)
def test_processes_have_flags_and_data_in_common(change, differs):
    """Else the sums of their gradients would be of nothing, and equal in all all the same."""
    found = []
    for altered in (False, True):
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (50, 4, 4, 3), np.uint8)
        labels, severities = (rng.integers(1, 3, 50).astype(np.int32) for _ in range(2))
        train = TrainingSet(images, labels, severities, np.arange(50))
        sets = (EvaluationSet([images] * 3, np.arange(9), np.arange(9)) for _ in range(2))
        data = PreparedData(train, *sets)
        args, processes = parse(["--method", "erm"]), FakeTeam()
        if altered:
            change(args, data)
        prepare.check_equal(args, processes, data.checksums())
        found.append(processes.numbers)
    assert tuple(a != b for a, b in zip(*found)) == differs
