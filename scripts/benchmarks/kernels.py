"""SharpDRO, ERM and evaluation by each of the --cpu_kernels, and in PyTorch, against stock."""

import importlib.util
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import numpy as np

from benchmarks import pytorch
from benchmarks.evaluation import evaluation_functions
from benchmarks.measuring import Options, Peer, Row, in_turns, ratio
from benchmarks.steps import step_timer
from sharpdro.cpu_kernels.build import check_machine
from sharpdro.device import CPU_KERNELS
from sharpdro.errors import RunError

# Target of the SharpDRO step's ratio.
AT_MOST = 0.65


def timed(make: Callable, *args) -> Callable:
    """What `make` returns, as a function that returns seconds by the clock, and of CPU time."""
    function = make(*args)

    def run():
        start, cpu_start = time.perf_counter(), time.process_time()
        function()
        return time.perf_counter() - start, time.process_time() - cpu_start

    return run


def evaluation(*args) -> Callable:
    """A function that measures a network at all severities."""
    return evaluation_functions(*args)[0]


def is_possible(cpu_kernels: str) -> bool:
    """Whether this machine can have these kernels."""
    try:
        check_machine(cpu_kernels)
    except RunError as error:
        print(f"left out: {error}", file=sys.stderr)
        return False
    return True


def measure(options: Options) -> Iterator[Row]:
    """Each in a process of its own, in turns."""
    kernels = ["stock", *(name for name in CPU_KERNELS[1:] if is_possible(name))]
    has_pytorch = importlib.util.find_spec("torch") is not None
    for what, make, args, theirs in (
        ("sharpdro", step_timer, ("sharpdro", options.workload, None), pytorch.step_timer),
        ("erm", step_timer, ("erm", options.workload, None), pytorch.step_timer),
        ("evaluation", evaluation, (options.workload,), pytorch.evaluation),
    ):
        with ExitStack() as stack:
            peers = {name: stack.enter_context(Peer(timed, make, *args, name)) for name in kernels}
            if has_pytorch:
                own = args[:2]
                peers["PyTorch"] = stack.enter_context(Peer(timed, theirs, *own))
            times = in_turns(peers, options.rounds)
        yield from rows(what, times)


def rows(what: str, times: dict[str, list]) -> Iterator[Row]:
    """By the clock and in CPU time, against stock and, where PyTorch was measured, against it."""
    for i, unit in enumerate(("s", "CPU s")):
        values = {name: tuple(pair[i] for pair in pairs) for name, pairs in times.items()}
        for name in values:
            against = ("stock", ratio(values[name], values["stock"])) if name != "stock" else ()
            is_judged = (what, name) == ("sharpdro", "onednn")
            target = {"at_most": AT_MOST} if is_judged else {}
            yield Row(f"{what}, {name}", unit, values[name], *against, **target)
        if "PyTorch" in values:
            best = min(values.keys() - {"PyTorch"}, key=lambda name: np.median(values[name]))
            against = ratio(values[best], values["PyTorch"])
            yield Row(f"{what}, {best}", unit, values[best], "PyTorch", against)
