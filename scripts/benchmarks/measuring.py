"""What all parts share: rows of the table, comparisons in turns, processes of their own."""

import contextlib
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dataset.specs import CIFAR10, IMAGENET30, DatasetSpec


@dataclass(frozen=True)
class Workload:
    """A network, and how many images it takes at a time.

    Args:
        model: wideresnet, or one of the ResNets.
        depth, widen_factor: of the WideResNet.
        batch_size: images per step.
    """

    model: str
    depth: int
    widen_factor: int
    batch_size: int

    @property
    def spec(self) -> DatasetSpec:
        """The dataset whose images and classes it has: CIFAR-10 or, for a ResNet, ImageNet-30."""
        return CIFAR10 if self.model == "wideresnet" else IMAGENET30

    def create_network(self, cpu_kernels: str = "stock"):
        """Ours, on the CPU, with the normalisation in front of it."""
        from sharpdro.networks.build import create_network

        is_wide = self.model == "wideresnet"
        shape = (self.depth, self.widen_factor) if is_wide else ()
        return create_network(self.model, self.spec, *shape, cpu_kernels=cpu_kernels)


@dataclass(frozen=True)
class Options:
    """What is measured.

    Args:
        workload: the network and batch size.
        rounds: how often each thing is measured.
        data_dir: CIFAR-10 with one corruption, complete.
    """

    workload: Workload
    rounds: int
    data_dir: Path


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Args:
        what: was measured.
        unit: of the values.
        values: one per run.
        against: what the ratios compare it with; empty: nothing.
        ratios: one per round, of values measured right after one another.
        at_most, at_least: the target of the ratios' median or, without ratios, of the values'.
    """

    what: str
    unit: str
    values: tuple[float, ...]
    against: str = ""
    ratios: tuple[float, ...] = ()
    at_most: float | None = None
    at_least: float | None = None

    def judged(self) -> float:
        """The number that the target is about."""
        return float(np.median(self.ratios or self.values))

    def is_met(self) -> bool | None:
        """Whether the target is; None: there is none."""
        if self.at_most is not None:
            return self.judged() <= self.at_most
        return None if self.at_least is None else self.judged() >= self.at_least


def in_turns(functions: dict[str, Callable], rounds: int) -> dict[str, list]:
    """What each function returns, called one after the other, every second time backwards.

    So whatever slows the machine down for a while falls on all of them.
    """
    results = {name: [] for name in functions}
    for number in range(rounds):
        names = list(functions)
        for name in names if number % 2 == 0 else reversed(names):
            results[name].append(functions[name]())
    return results


def ratio(values, others) -> tuple[float, ...]:
    """Round by round."""
    return tuple(a / b for a, b in zip(values, others))


def seconds(function: Callable, *args) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    function(*args)
    return time.perf_counter() - start


@contextlib.contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Variables that processes started in the block find set."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(connection, make, args):
    function = make(*args)
    connection.send(None)
    while connection.recv():
        connection.send(function())


class Peer:
    """A process that makes a function, calls it each time it is asked, and else does nothing.

    Args:
        make: returns the function, of no arguments.
        args: for it.
        variables: of the process's environment.
    """

    def __init__(self, make: Callable, *args, **variables: str):
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make, args), daemon=True)
        with environment(**variables):
            self._process.start()
        theirs.close()
        self._connection.recv()

    def __call__(self):
        """What the function returns."""
        self._connection.send(True)
        return self._connection.recv()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._connection.send(False)
        self._process.join()
