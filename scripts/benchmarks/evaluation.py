"""Evaluation at all severities against the network's forward pass alone."""

from collections.abc import Iterator

import numpy as np

from benchmarks.made_up import NUM_GROUPS, clouds
from benchmarks.measuring import Options, Row, in_turns, ratio, seconds
from dataset.sets import EvaluationSet
from sharpdro.device import select_device

NUM_IMAGES = 200


def evaluation_functions(workload, cpu_kernels="stock"):
    """Functions that measure a network at all severities, and that only pass the images forward."""
    from mindspore import Tensor

    from sharpdro.evaluation.evaluator import Evaluator, for_each_severity

    select_device("CPU", cpu_kernels)
    network, normalize = workload.create_network(cpu_kernels)
    spec, size = workload.spec, workload.batch_size
    images = clouds(NUM_IMAGES, spec.side)
    labels = np.arange(NUM_IMAGES, dtype=np.int32) % spec.num_classes
    data = EvaluationSet([images] * NUM_GROUPS, np.arange(NUM_IMAGES), labels)
    evaluator = Evaluator(network, normalize)
    ready = [normalize(Tensor(images[i : i + size])) for i in range(0, NUM_IMAGES, size)]

    def evaluate():
        for_each_severity(evaluator, "test", data, size)

    def forward():
        network.set_train(False)
        for _ in range(NUM_GROUPS):
            for batch in ready:
                network(batch).asnumpy()

    evaluate(), forward()
    return evaluate, forward


def measure(options: Options) -> Iterator[Row]:
    """Images per second, with batches of `batch_size`."""
    evaluate, forward = evaluation_functions(options.workload)
    functions = {"evaluate": lambda: seconds(evaluate), "forward": lambda: seconds(forward)}
    times = in_turns(functions, options.rounds)
    speeds = {k: tuple(NUM_GROUPS * NUM_IMAGES / t for t in times[k]) for k in times}
    yield Row("forward passes alone", "images/s", speeds["forward"])
    against = ratio(speeds["evaluate"], speeds["forward"])
    yield Row("evaluation", "images/s", speeds["evaluate"], "forward alone", against, None, 0.95)
