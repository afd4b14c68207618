"""From the start of main.py to its first finished step, with all data there."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from benchmarks.measuring import Options, Row

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("imports", "data", "network and log", "compile", "step")


def timed_start(argv):
    """Run main.py until its second step is done; returns the seconds of each of STAGES."""
    import main
    from sharpdro.jobs import prepare as beginning

    marks = {}

    def mark(name):
        marks[name] = time.time()

    select_device, read_data = beginning.select_device, beginning.read_data

    def select_and_import(target):
        import sharpdro.jobs.shared
        import sharpdro.training.trainer  # noqa: F401

        return select_device(target)

    def read(*args):
        mark("imports")
        data = read_data(*args)
        mark("data")
        return data

    def step(graph, *args):
        mark("network and log" if "network and log" not in marks else "between")
        result = call(graph, *args)
        result.asnumpy()
        if "compile" in marks:
            report(marks)
        mark("compile")
        return result

    beginning.select_device, beginning.read_data = select_and_import, read
    from sharpdro.training.trainer import TrainingGraph

    call, TrainingGraph.__call__ = TrainingGraph.__call__, step
    main.main(argv)


def report(marks):
    """Print the seconds of each stage and end the process."""
    step = time.time() - marks["between"]
    began = psutil.Process().create_time()
    times = [began, *(marks[name] for name in STAGES[:-1])]
    stages = [b - a for a, b in zip(times, times[1:])]
    stages[-1] -= step  # the first call does one step, too
    print("STAGES", json.dumps([*stages, step]), flush=True)
    os._exit(0)


def run_once(options: Options) -> list[float]:
    """Seconds of the stages in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.start", "-d", "cifar10"]
        command += ["--data_dir", str(options.data_dir), "--log_dir", folder]
        command += ["-c", "gaussian_noise", "-b", str(options.batch_size)]
        command += ["--depth", str(options.depth), "--widen_factor", str(options.widen_factor)]
        where = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'scripts'}"}
        done = subprocess.run(command, cwd=ROOT, env=where, capture_output=True, text=True)
    for line in done.stdout.splitlines():
        if line.startswith("STAGES "):
            return json.loads(line.removeprefix("STAGES "))
    raise RuntimeError(f"main.py did not get to its second step:\n{done.stderr}")


def measure(options: Options) -> Iterator[Row]:
    """Processes one after the other; the first, which may find cold files, does not count."""
    run_once(options)
    runs = [run_once(options) for _ in range(options.rounds)]
    for name, values in zip(STAGES, zip(*runs)):
        yield Row(name, "s", values)
    rest = tuple(run[1] + run[2] + run[4] for run in runs)
    yield Row("all but imports and compile", "s", rest, at_most=3)
    yield Row("all", "s", tuple(map(sum, runs)))


if __name__ == "__main__":
    timed_start(sys.argv[1:])
