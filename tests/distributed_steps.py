"""Run by msrun in several processes, see test_distributed.py: steps together and alone."""

import json
import sys
from pathlib import Path

from sharpdro.startup import start_program

if __name__ == "__main__":
    start_program()

import numpy as np
from mindspore import Tensor, nn

from sharpdro.device import select_device
from sharpdro.distributed.process_group import is_scheduler, join, schedule
from sharpdro.errors import RunError
from sharpdro.methods.create import create_train_step
from sharpdro.training.nan_guard import NanGuard
from sharpdro.training.optimizer import create_sgd

METHODS = {
    "sharpdro": {"absent_groups": "ema", "rho": 0.5, "clip_grad": 0.5},  # of a length of 1
    "sharpdro_agnostic": {"rho": 0.5},
    "groupdro": {"step_size": 0.5},
    "vrex": {"vrex_beta": 2.0, "vrex_warmup": 1},
    "irm": {"irm_lambda": 2.0, "irm_warmup": 1},
}
BATCH_SIZE, NUM_GROUPS = 12, 4


class Network(nn.Cell):
    """Two layers without batch norm, whose statistics differ between parts of a batch."""

    def __init__(self):
        super().__init__()
        self.hidden = nn.Dense(12, 7)
        self.classifier = nn.Dense(7, 3)

    def construct(self, images):
        hidden = self.hidden(images.reshape((images.shape[0], -1)))
        return self.classifier(hidden / (1 + hidden * hidden))


def make_step(method, collectives):
    rng, network = np.random.default_rng(1), Network()
    for parameter in network.get_parameters():
        parameter.set_data(Tensor(rng.normal(0, 0.5, parameter.shape).astype("float32")))
    optimizer = create_sgd(network.trainable_params(), 0.1, 0.9, 0.02)
    settings = {**METHODS[method], "collectives": collectives}
    return create_train_step(method, network, optimizer, NUM_GROUPS, **settings)


def batches(count):
    rng = np.random.default_rng(0)
    for _ in range(count):
        images = rng.normal(0, 1, (BATCH_SIZE, 3, 2, 2)).astype("float32")
        yield images, *(rng.integers(0, n, BATCH_SIZE).astype("int32") for n in (3, NUM_GROUPS))


def train(step, part, count=4):
    """Parameters and all outputs of some steps."""
    outputs = []
    for images, *others in batches(count):
        result = step(Tensor(images[part]), *map(Tensor, others)).asnumpy()
        outputs += [value.astype("float64") for value in result if value is not None]
    return {p.name: p.asnumpy() for p in step.get_parameters()}, outputs


def distance(a, b):
    """The largest difference, relative to the largest value of its array."""
    return max(float(np.abs(x - y).max() / (np.abs(x).max() + 1e-12)) for x, y in zip(a, b))


def check_local_perturbations(processes, own, parameters_alone):
    """They differ; a step that is not finite in one process is taken back in all."""
    step = make_step("sharpdro", processes.collectives(True))
    parameters, _ = train(step, own)
    processes.check_same_parameters(step.get_parameters(), "with local perturbations")
    guard = NanGuard(step)
    ((images, labels, groups),) = batches(1)
    images[0] = np.nan  # of the first process
    result = guard(Tensor(images[own]), Tensor(labels), Tensor(groups)).asnumpy()
    now = [p.asnumpy() for p in step.get_parameters()]
    return {
        "local": distance(parameters_alone.values(), parameters.values()),
        "applied": bool(result.was_applied),
        "unchanged": distance(parameters.values(), now) == 0,
    }


def main(folder, *methods):
    """With all of the methods, local perturbations are tried, too."""
    select_device("CPU")
    if is_scheduler():
        return schedule()
    processes = join(True)
    size = BATCH_SIZE // processes.size
    own = slice(processes.rank * size, (processes.rank + 1) * size)
    found, parameters_alone = {}, {}
    for method in methods:
        step = make_step(method, processes.collectives(False))
        expected, alone = train(make_step(method, None), slice(None))
        parameters_alone[method] = expected
        parameters, together = train(step, own)
        processes.check_same_parameters(step.get_parameters(), method)
        found[method] = [
            distance(expected.values(), parameters.values()),
            distance(alone, together),
        ]
    found["rank"], found["size"] = processes.rank, processes.size

    if len(methods) == len(METHODS):
        found |= check_local_perturbations(processes, own, parameters_alone["sharpdro"])
    gathered = processes.all_gather(np.full((2, 3), processes.rank, np.int32))
    found["gathered"] = gathered[:, 0, 0].tolist()
    try:
        processes.check_equal("the ranks", processes.rank, "none")
    except RunError as error:
        found["differs"] = str(error)
    (Path(folder) / f"{processes.rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
