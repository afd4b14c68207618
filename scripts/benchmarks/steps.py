"""A training step: the methods against ERM, SharpDRO against oneDNN's own time and PyTorch."""

import ctypes
import importlib.util
import os
import sys
import tempfile
import time
from collections.abc import Iterator

from benchmarks import pytorch
from benchmarks.made_up import NUM_GROUPS, made_up_batch
from benchmarks.measuring import Options, Peer, Row, in_turns, ratio
from dataset.specs import CIFAR10
from sharpdro.device import select_device  # sets the environment before MindSpore is imported

# Passes over the network in one step.
METHODS = {"erm": 1, "sam": 2, "groupdro": 1, "sharpdro_agnostic": 2, "sharpdro": 2}
KINDS = ("convolution", "batch_normalization")


def step_timer(method, depth, widen_factor, batch_size):
    """A function that does one step as `Trainer` does it and returns the seconds it took."""
    import mindspore as ms
    from mindspore import Tensor

    from sharpdro.networks import create_network
    from sharpdro.optimizer import create_sgd
    from sharpdro.train_step import create_train_step
    from sharpdro.trainer import TrainingGraph

    select_device("CPU")
    ms.set_seed(0)
    network, normalize = create_network("wideresnet", CIFAR10, depth, widen_factor)
    optimizer = create_sgd(network.trainable_params(), 0.03, 0.9, 5e-4)
    method, _, agnostic = method.partition("_")
    step = create_train_step(method, network, optimizer, NUM_GROUPS, bool(agnostic))
    graph = TrainingGraph(normalize, step)
    batch = made_up_batch(batch_size)

    def run():
        start = time.perf_counter()
        for output in graph(*map(Tensor, batch)):
            output.asnumpy()
        return time.perf_counter() - start

    run(), run()  # compiles; warms up
    return run


def listened_step_timer(method, *shape):
    """A function that does one step and returns its seconds and oneDNN's in it, per KINDS."""
    file = tempfile.NamedTemporaryFile("r", prefix="onednn")  # noqa: SIM115
    os.dup2(os.open(file.name, os.O_WRONLY | os.O_APPEND), 1)
    run = step_timer(method, *shape)

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
    """Steps of all methods in turns, then those of SharpDRO beside others."""
    shape = options.depth, options.widen_factor, options.batch_size
    times = in_turns({m: step_timer(m, *shape) for m in METHODS}, options.rounds)
    yield Row("erm", "s", tuple(times["erm"]))
    for method, passes in METHODS.items():
        if method != "erm":
            against = ratio(times[method], times["erm"])
            limit = 2.05 if method == "sharpdro" else None
            yield Row(method, "s", tuple(times[method]), f"erm ({passes}:1)", against, limit)
    with Peer(listened_step_timer, "sharpdro", *shape, ONEDNN_VERBOSE="1") as listened:
        runs = [listened() for _ in range(options.rounds)]
    whole, *spent = zip(*runs)
    floor = [sum(run[1:]) for run in runs]
    yield Row("sharpdro", "s", whole, "oneDNN in it", ratio(whole, floor), at_most=1.06)
    for kind, values in zip(KINDS, spent):
        yield Row(f"oneDNN's {kind}", "s", values, "the step", ratio(values, whole))
    if importlib.util.find_spec("torch") is None:
        print("no comparison with PyTorch: it is not installed", file=sys.stderr)
        return
    ours = Peer(step_timer, "sharpdro", *shape)
    with ours, Peer(pytorch.step_timer, *shape) as theirs:
        times = in_turns({"ours": ours, "theirs": theirs}, options.rounds)
    against = ratio(times["theirs"], times["ours"])
    yield Row("sharpdro in PyTorch", "s", tuple(times["theirs"]), "ours", against)
