"""Training batches up to the device's boundary, and what share of a step they take."""

import itertools
import time
from collections.abc import Iterator

from benchmarks.measuring import Options, Row, in_turns, ratio
from benchmarks.steps import step_timer
from dataset.batches import training_batches
from dataset.prepare_dataset import prepare_dataset
from dataset.specs import CIFAR10


def input_timer(train, batch_size, augment_data):
    """A function that makes one epoch's batches into tensors and returns the seconds of each."""
    from mindspore import Tensor

    epochs = itertools.count(1)

    def run():
        number, start = 0, time.perf_counter()
        for batch in training_batches(train, batch_size, 0, next(epochs), augment_data):
            number += 1
            for array in (batch.images, batch.labels, batch.groups):
                Tensor(array)
        return (time.perf_counter() - start) / number

    run()
    return run


def measure(options: Options) -> Iterator[Row]:
    """Whole epochs of CIFAR-10 with and without cropping, in turns with a step of SharpDRO."""
    step = step_timer("sharpdro", options.workload)
    batch_size = options.workload.batch_size
    train = prepare_dataset(CIFAR10, options.data_dir, "gaussian_noise", 4000, 5, 0).train
    functions = {
        "flipped": input_timer(train, batch_size, False),
        "cropped": input_timer(train, batch_size, True),
        "step": step,
    }
    times = in_turns(functions, options.rounds)
    for name, target in (("flipped", 300_000), ("cropped", None)):
        speeds = tuple(batch_size / t for t in times[name])
        yield Row(f"batches, {name}", "images/s", speeds, at_least=target)
    against = ratio(times["flipped"], times["step"])
    values = tuple(1e3 * t for t in times["flipped"])
    yield Row("a batch, flipped", "ms", values, "a sharpdro step", against, at_most=0.02)
