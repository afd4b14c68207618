"""Training steps: the methods against ERM."""

import time
from collections.abc import Iterator

from benchmarks.made_up import NUM_GROUPS, made_up_batch
from benchmarks.measuring import Options, Row, in_turns, ratio
from sharpdro.device import select_device  # sets the environment before MindSpore is imported
from sharpdro.distributed.process_group import SINGLE_PROCESS

# Passes over the network in one step.
METHODS = {"erm": 1, "sam": 2, "groupdro": 1, "sharpdro_agnostic": 2, "sharpdro": 2}


def step_timer(method, workload, processes=None, cpu_kernels="stock"):
    """A function that does one step as `Trainer` does it and returns the seconds it took.

    In several processes, whose device is selected already, the batch's images are shared out.
    """
    import mindspore as ms
    from mindspore import Tensor

    from sharpdro.methods.create import create_train_step
    from sharpdro.training.optimizer import create_sgd
    from sharpdro.training.trainer import TrainingGraph

    if processes is None:
        select_device("CPU", cpu_kernels)
        processes = SINGLE_PROCESS
    ms.set_seed(0)
    network, normalize = workload.create_network(cpu_kernels)
    optimizer = create_sgd(network.trainable_params(), 0.03, 0.9, 5e-4)
    method, _, agnostic = method.partition("_")
    how = {"distribution_agnostic": bool(agnostic), "collectives": processes.collectives(False)}
    step = create_train_step(method, network, optimizer, NUM_GROUPS, **how)
    graph = TrainingGraph(normalize, step)
    images, *others = made_up_batch(workload.batch_size, workload.spec)
    size = workload.batch_size // processes.size
    batch = images[processes.rank * size :][:size], *others

    def run():
        start = time.perf_counter()
        graph(*map(Tensor, batch)).asnumpy()
        return time.perf_counter() - start

    run(), run()  # compiles; warms up
    return run


def measure(options: Options) -> Iterator[Row]:
    """Steps of all methods in turns."""
    times = in_turns({m: step_timer(m, options.workload) for m in METHODS}, options.rounds)
    yield Row("erm", "s", tuple(times["erm"]))
    for method, passes in METHODS.items():
        if method != "erm":
            against = ratio(times[method], times["erm"])
            limit = 2.05 if method == "sharpdro" else None
            yield Row(method, "s", tuple(times[method]), f"erm ({passes}:1)", against, limit)
