"""A step of SharpDRO against the time that oneDNN itself reports for its kernels in it."""

import ctypes
import os
import tempfile
from collections.abc import Iterator

from benchmarks.measuring import Options, Peer, Row, ratio
from benchmarks.steps import step_timer

KINDS = ("convolution", "batch_normalization")


def listened_step_timer(method, workload):
    """A function that does one step and returns its seconds and oneDNN's in it, per KINDS."""
    file = tempfile.NamedTemporaryFile("r", prefix="onednn")  # noqa: SIM115
    os.dup2(os.open(file.name, os.O_WRONLY | os.O_APPEND), 1)
    run = step_timer(method, workload)

    def listen():
        ctypes.CDLL(None).fflush(None)
        file.read()
        whole = run()
        ctypes.CDLL(None).fflush(None)
        return whole, *spent_by_kind(file.read()).values()

    return listen


def spent_by_kind(text: str) -> dict[str, float]:
    """Seconds of each of KINDS in what oneDNN prints with ONEDNN_VERBOSE=1."""
    spent = dict.fromkeys(KINDS, 0.0)
    for line in text.splitlines():
        fields = line.split(",")
        if len(fields) > 5 and fields[3] == "exec" and fields[5] in spent:
            spent[fields[5]] += float(fields[-1]) / 1e3
    return spent


def measure(options: Options) -> Iterator[Row]:
    """Steps in a process that listens to oneDNN."""
    with Peer(listened_step_timer, "sharpdro", options.workload, ONEDNN_VERBOSE="1") as listened:
        runs = [listened() for _ in range(options.rounds)]
    whole, *spent = zip(*runs)
    floor = [sum(run[1:]) for run in runs]
    yield Row("sharpdro", "s", whole, "oneDNN in it", ratio(whole, floor), at_most=1.06)
    for kind, values in zip(KINDS, spent):
        yield Row(f"oneDNN's {kind}", "s", values, "the step", ratio(values, whole))
