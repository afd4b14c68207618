"""SharpDRO, ERM and evaluation by --cpu_kernels onednn, and SharpDRO in PyTorch, against stock."""

import importlib.util
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from benchmarks.evaluation import evaluation_functions
from benchmarks.measuring import Options, Peer, Row, in_turns, ratio
from benchmarks.pytorch import step_timer as pytorch_step_timer
from benchmarks.steps import step_timer

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


def measure(options: Options) -> Iterator[Row]:
    """Each in a process of its own, in turns."""
    shape = options.depth, options.widen_factor, options.batch_size
    for what, make, args in (
        ("sharpdro", step_timer, ("sharpdro", *shape, None)),
        ("erm", step_timer, ("erm", *shape, None)),
        ("evaluation", evaluation, shape),
    ):
        with ExitStack() as stack:
            peers = {
                kernels: stack.enter_context(Peer(timed, make, *args, kernels))
                for kernels in ("stock", "onednn")
            }
            if what == "sharpdro" and importlib.util.find_spec("torch") is not None:
                peers["PyTorch"] = stack.enter_context(Peer(timed, pytorch_step_timer, *shape))
            times = in_turns(peers, options.rounds)
        for i, unit in enumerate(("s", "CPU s")):
            values = {name: tuple(pair[i] for pair in pairs) for name, pairs in times.items()}
            for name in values:
                against = ("stock", ratio(values[name], values["stock"])) if name != "stock" else ()
                is_judged = (what, name) == ("sharpdro", "onednn")
                target = {"at_most": AT_MOST} if is_judged else {}
                yield Row(f"{what}, {name}", unit, values[name], *against, **target)
