"""Three steps of a real network, as the trainer makes them, for comparing processes."""

import os
from collections.abc import Iterator
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from benchmarks.made_up import NUM_GROUPS, made_up_batch
from dataset.specs import CIFAR10
from device_checks.results import Options, save
from sharpdro.device import compute_in_float32, select_device
from sharpdro.methods.create import create_train_step
from sharpdro.methods.specs import METHODS
from sharpdro.networks.build import create_network
from sharpdro.run_folder import checkpoint
from sharpdro.training.optimizer import create_sgd
from sharpdro.training.trainer import TrainingGraph

DEPTH, WIDEN_FACTOR, BATCH_SIZE, STEPS, LR = 10, 1, 16, 3, 0.02
CHECKPOINT = "after_1.ckpt"


def _set_weights(network: nn.Cell) -> None:
    """The same initial weights on every device: He-normal, from NumPy."""
    rng = np.random.default_rng(0)
    for parameter in network.trainable_params():
        if parameter.ndim > 1:
            scale = np.sqrt(2 / (parameter.shape[0] * np.prod(parameter.shape[2:])))
            values = rng.normal(0, scale, parameter.shape).astype(np.float32)
            parameter.set_data(Tensor(values))


def make_graph(method: str) -> TrainingGraph:
    """A method's step on WideResNet-10-1, with the normalisation in front of it."""
    network, normalize = create_network("wideresnet", CIFAR10, DEPTH, WIDEN_FACTOR)
    _set_weights(network)
    optimizer = create_sgd(network.trainable_params(), LR, 0.9, 5e-4)
    how = {"group_sizes": [10] * NUM_GROUPS} if METHODS[method].weights_groups else {}
    return TrainingGraph(
        normalize, create_train_step(method, network, optimizer, NUM_GROUPS, **how)
    )


def batches() -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Images uint8 (B, 32, 32, 3), labels and groups int32 (B,), for each step."""
    arrays = made_up_batch(STEPS * BATCH_SIZE)
    for start in range(0, STEPS * BATCH_SIZE, BATCH_SIZE):
        yield tuple(array[start : start + BATCH_SIZE] for array in arrays)


def parameters_of(cell: nn.Cell) -> dict[str, np.ndarray]:
    """Copies of all that a step remembers."""
    return {p.name: p.asnumpy().copy() for p in cell.get_parameters()}


def make_steps(
    graph: TrainingGraph, first: int = 0, checkpoint_path: Path | None = None
) -> dict[str, np.ndarray]:
    """What the steps from the `first` on return, and what they leave.

    Args:
        graph: from `make_graph`.
        first: the number of steps that are made already.
        checkpoint_path: where to save the step after the first of three; None: nowhere.
    """
    results = {}
    for number, batch in enumerate(batches()):
        if number < first:
            continue
        result = graph(*map(Tensor, batch)).asnumpy()._asdict()
        results |= {f"{k} {number}": v for k, v in result.items() if v is not None}
        if checkpoint_path is not None and number == 0:
            checkpoint.save(checkpoint_path, graph.step, 0, {})
    return results | parameters_of(graph.step)


def _updates(start: dict, now: dict) -> dict:
    """What was returned, and how far the parameters that have moved have come."""
    names = [name for name in now if name in start and (now[name] != start[name]).any()]
    returned = {name: value for name, value in now.items() if name not in start}
    return returned | {f"{name} moved": now[name] - start[name] for name in names}


def all_methods(options: Options, role: str) -> Iterator[str | None]:
    """Saves each method's three steps; yields why they could not be made, or None.

    The role "cpu" computes on the CPU, any other on the device. Where that is the CPU, too, the
    first has other kernels, or there would be nothing to compare.
    """
    if role == "cpu" == options.device.lower():
        os.environ["ONEDNN_MAX_CPU_ISA"] = "SSE41"
    device = select_device("CPU" if role == "cpu" else options.device)
    compute_in_float32(device)
    for method in options.methods:
        try:
            graph = make_graph(method)
            start = parameters_of(graph.step)
            save(options, role, method, _updates(start, make_steps(graph)))
            yield None
        except Exception as error:
            yield f"{role}: {error}"


def whole(options: Options, methods: tuple[str, ...]) -> Iterator[str | None]:
    """Three steps, a checkpoint after the first; equal runs are asked for."""
    select_device(options.device)
    ms.set_deterministic(True)
    for method in methods:
        try:
            path = options.folder / f"{method}-{CHECKPOINT}"
            save(options, "whole", method, make_steps(make_graph(method), checkpoint_path=path))
            yield None
        except Exception as error:
            yield str(error)


def again(options: Options, methods: tuple[str, ...]) -> Iterator[str | None]:
    """The same in another process, then the second and third step from the checkpoint."""
    select_device(options.device)
    ms.set_deterministic(True)
    for method in methods:
        try:
            graph = make_graph(method)
            save(options, "again", method, make_steps(graph))
            path = options.folder / f"{method}-{CHECKPOINT}"
            checkpoint.restore(graph.step, checkpoint.load(path), path)
            save(options, "resumed", method, make_steps(graph, first=1))
            yield None
        except Exception as error:
            yield str(error)
