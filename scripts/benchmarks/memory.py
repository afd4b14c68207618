"""Memory of a run on CIFAR-10, and whether it grows from epoch to epoch."""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil

from benchmarks.made_up import write_cifar10
from benchmarks.measuring import Options, Row, seconds
from dataset.prepare_dataset import prepare_dataset
from dataset.specs import CIFAR10

ROOT = Path(__file__).resolve().parents[2]
EPOCHS = 30
STEPS_PER_EPOCH = 2


class Watch:
    """The largest memory that this process and its children had together, in bytes.

    `resident` counts mapped files as far as they are in memory, pages that several processes share
    once for each; `own` leaves out what is mapped from files.
    """

    def __init__(self):
        self.resident = self.own = 0
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        me = psutil.Process()
        while True:
            resident = own = 0
            for process in [me, *me.children(recursive=True)]:
                try:
                    memory = process.memory_info()
                except psutil.NoSuchProcess:
                    continue
                resident, own = resident + memory.rss, own + memory.rss - memory.shared
            self.resident, self.own = max(self.resident, resident), max(self.own, own)
            time.sleep(0.05)


def watched_run(options: Options) -> tuple[int, list[int]]:
    """Bytes resident at most, and those not mapped from files after each epoch."""
    per_class = (
        STEPS_PER_EPOCH * options.workload.batch_size // 10 + 4
    )  # some are lost to rounding down
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "main.py", "-d", "cifar10", "-c", "gaussian_noise"]
        command += ["--data_dir", str(options.data_dir), "--log_dir", folder]
        command += ["-n", str(per_class), "-b", str(options.workload.batch_size)]
        command += [
            "--depth",
            str(options.workload.depth),
            "--widen_factor",
            str(options.workload.widen_factor),
        ]
        command += ["--total_epoch", str(EPOCHS), "--num_val", "100", "--num_test", "100"]
        with open(Path(folder) / "output", "w+", encoding="utf-8") as output:
            process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
            peak, after_epoch = watch(psutil.Process(process.pid), Path(folder))
            if process.wait():
                output.seek(0)
                raise RuntimeError(f"main.py failed:\n{output.read()}")
    return peak, after_epoch


def watch(process, folder):
    """Look at a process until it ends; what `watched_run` returns."""
    peak, after_epoch = 0, []
    while process.status() != psutil.STATUS_ZOMBIE:
        memory = process.memory_info()
        peak = max(peak, memory.rss)
        for table in folder.glob("*/test.csv"):
            last = table.read_text(encoding="utf-8").splitlines()[-1]
            if last.split(",")[0] == str(len(after_epoch) + 1):
                after_epoch.append(memory.rss - memory.shared)
        time.sleep(0.05)
    return peak, after_epoch


def measure(options: Options) -> Iterator[Row]:
    """One run of 30 epochs of two steps; preparing CIFAR-10 with one corruption."""
    peak, after_epoch = watched_run(options)
    yield Row("peak resident memory", "MB", (peak / 1e6,), at_most=2500)
    values = tuple(value / 1e6 for value in after_epoch)
    growth = (values[-1] / values[4],)
    yield Row("own memory, last epoch", "MB", values[-1:], "the fifth epoch", growth, at_most=1.02)
    with tempfile.TemporaryDirectory() as folder:
        write_cifar10(Path(folder))
        watch = Watch()
        how = {"num_workers": len(os.sched_getaffinity(0)), "report": lambda line: None}
        prepare = partial(prepare_dataset, CIFAR10, Path(folder), "gaussian_noise", 4000, 5, 0)
        yield Row("preparing CIFAR-10", "s", (seconds(lambda: prepare(**how)),))
        yield Row("preparing, own memory", "MB", (watch.own / 1e6,))
        yield Row("with mapped files", "MB", (watch.resident / 1e6,))
