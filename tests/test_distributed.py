"""Several processes against one, started by MindSpore's launcher on this machine's CPU."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from distributed_steps import METHODS
from running import (
    ERM,
    ROOT,
    TINY,
    begun_second_epoch,
    rows,
    same_weights,
    wait_until,
    weights,
    without_speed,
)

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
        assert 1e-4 < found["local"] < 0.5
        assert found["happened"] is False and found["unchanged"] is True
        assert found["gathered"] == list(range(number))
        assert found["differs"].startswith("the rank differs between the processes (0, 1")


def test_two_processes_follow_one(tmp_path):
    check_steps(tmp_path, 2, ["sharpdro", "sharpdro_agnostic"])


@pytest.mark.slow
def test_three_processes_follow_one(tmp_path):
    check_steps(tmp_path, 3, METHODS)


@pytest.mark.slow
def test_killed_process_ends_the_run_which_goes_on_to_the_same_bits(data_dir, tmp_path):
    flags = [*TINY, *ERM, "--data_dir", str(data_dir), "--log_train", "1", "--eval_batch_size", "4"]
    flags += ["--total_epoch", "4", "--resume"]

    def run(logs, *environment):
        logs.mkdir(exist_ok=True)
        command = ["env", *environment, str(ROOT / "scripts" / "distributed.sh"), "2"]
        command += [*flags, "--log_dir", str(logs)]
        virtual = {"VIRTUAL_ENV": sys.prefix, "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}"}
        how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, env={**os.environ, **virtual}, **how)

    undisturbed = run(tmp_path / "a", "PORT=8131")
    assert undisturbed.wait(400) == 0, undisturbed.stderr.read()
    (whole,) = (tmp_path / "a").iterdir()
    assert "2 processes, 20 images of a batch each" in (whole / "log.txt").read_text()
    assert [row["count"] for row in rows(whole / "test.csv")][:5] == ["5", "5", "5", "15", "5"]

    process = run(tmp_path / "b", "PORT=8132")
    wait_until(process, lambda: any(map(begun_second_epoch, tmp_path.glob("b/*/train.csv"))))
    os.kill(worker(str(tmp_path / "b"), 1), signal.SIGKILL)
    output, error = process.communicate(timeout=400)
    assert process.returncode == 1 and "a process has ended before its time" in error, output
    process = run(tmp_path / "b", "PORT=8133")
    assert process.wait(400) == 0, process.stderr.read()
    (resumed,) = (tmp_path / "b").iterdir()
    assert same_weights(weights(resumed), weights(whole))
    assert without_speed(resumed / "train.csv") == without_speed(whole / "train.csv")
    assert (resumed / "test.csv").read_bytes() == (whole / "test.csv").read_bytes()


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
