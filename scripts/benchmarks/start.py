"""From the start of main.py to its first finished step, with all data there.

Seen from outside, by the files of a run: it writes settings.json once it has its data, and with
`--log_train 1` a row of train.csv after every step.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measuring import Options, Row

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("imports and data", "network, compiling, first step", "second step")


def num_stages_passed(log_dir: Path) -> int:
    """How many of STAGES the run in a --log_dir has behind it."""
    if not any(log_dir.glob("*/settings.json")):
        return 0
    tables = [path.read_text(encoding="utf-8") for path in log_dir.glob("*/train.csv")]
    num_steps = sum(max(0, text.count("\n") - 1) for text in tables)  # below the head
    return min(1 + num_steps, len(STAGES))


def stage_seconds(process: subprocess.Popen, log_dir: Path) -> list[float]:
    """The seconds of each of STAGES of a run that has just been started."""
    times = [time.perf_counter()]
    while len(times) <= len(STAGES):
        has_ended = process.poll() is not None
        passed = num_stages_passed(log_dir)
        times += [time.perf_counter()] * (1 + passed - len(times))
        if has_ended and passed < len(STAGES):
            raise RuntimeError("main.py did not get to its second step")
        time.sleep(0.002)
    return [later - earlier for earlier, later in zip(times, times[1:])]


def run_once(options: Options) -> list[float]:
    """Seconds of the stages in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        log_dir = Path(folder) / "logs"
        command = [sys.executable, "main.py", "-d", "cifar10", "-c", "gaussian_noise"]
        command += ["--data_dir", str(options.data_dir), "--log_dir", str(log_dir)]
        command += [
            "-b",
            str(options.workload.batch_size),
            "--log_train",
            "1",
            "--no-show_progress",
        ]
        command += [
            "--depth",
            str(options.workload.depth),
            "--widen_factor",
            str(options.workload.widen_factor),
        ]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        try:
            return stage_seconds(process, log_dir)
        finally:
            process.kill()
            process.wait()


def measure(options: Options) -> Iterator[Row]:
    """Processes one after the other; the first, which may find cold files, does not count."""
    run_once(options)
    runs = [run_once(options) for _ in range(options.rounds)]
    for name, values in zip(STAGES, zip(*runs)):
        yield Row(name, "s", values)
    yield Row("all but the second step", "s", tuple(sum(run[:-1]) for run in runs))
