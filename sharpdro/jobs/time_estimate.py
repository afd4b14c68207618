"""How long a training would take, from a few real steps with random weights and images."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import repeat

import numpy as np
from mindspore import Tensor, nn

from corruptions.interrupts import check_interrupts
from dataset.batches import evaluation_batches, training_batches
from dataset.sets import EvaluationSet, TrainingSet
from dataset.specs import DatasetSpec
from sharpdro.evaluation.evaluator import Evaluator
from sharpdro.methods.create import TrainStep
from sharpdro.training.nan_guard import guarded
from sharpdro.training.trainer import TrainingGraph

# Steps that are timed: so many, or fewer where these take longer than so many seconds.
MAX_STEPS, MIN_STEPS, SECONDS = 20, 3, 15


@dataclass(frozen=True)
class Speed:
    """Seconds of the first step, which is compiled; of one later step, mean of `steps`."""

    first: float
    later: float
    steps: int

    def seconds(self, steps: int) -> float:
        """Of so many steps, the first one included."""
        return self.first + (steps - 1) * self.later if steps else 0.0


def _time_steps(make_step: Callable, batches: Iterable) -> Speed:
    """Time a step on batch after batch, until there are enough."""
    marks = [time.perf_counter()]
    for batch in batches:
        make_step(batch)
        check_interrupts()
        marks.append(time.perf_counter())
        num_timed = len(marks) - 2  # all except the first
        is_slow = num_timed >= MIN_STEPS and marks[-1] - marks[1] > SECONDS
        if num_timed == MAX_STEPS or is_slow:
            break
    seconds = np.diff(marks)
    return Speed(seconds[0], seconds[1:].mean(), len(seconds) - 1)


def time_training(
    step: TrainStep,
    normalize: nn.Cell,
    spec: DatasetSpec,
    batch_size: int,
    augment_data: bool = False,
    on_nan: str = "stop",
) -> Speed:
    """Train for a few steps, on batches that are drawn as in training.

    Args:
        step: the method's training step; its weights change.
        normalize: uint8 (B, H, W, 3) to what it takes.
        spec: the dataset, for the images' size and the number of classes.
        batch_size: B.
        augment_data: also crop.
        on_nan: what becomes of a step that is not finite, see `guarded`.
    """
    images, labels = _random_images(spec, batch_size)
    groups = (np.arange(batch_size) % step.num_groups).astype(np.int32)
    train = TrainingSet(images, labels, groups, np.arange(batch_size))
    graph = TrainingGraph(normalize, guarded(step, on_nan))

    def make_step(epoch):
        for batch in training_batches(train, batch_size, 0, epoch, augment_data):  # a single one
            result = graph(Tensor(batch.images), Tensor(batch.labels), Tensor(batch.groups))
            result.asnumpy()  # waits for the device

    return _time_steps(make_step, range(1, MAX_STEPS + 2))


def time_evaluation(
    network: nn.Cell, normalize: nn.Cell, spec: DatasetSpec, batch_size: int
) -> Speed:
    """Evaluate for a few steps; arguments as for `time_training`."""
    images, labels = _random_images(spec, batch_size)
    data = EvaluationSet([images], np.arange(batch_size), labels)
    evaluator = Evaluator(network, normalize)

    def make_step(severity):
        evaluator(evaluation_batches(data, severity, batch_size))

    return _time_steps(make_step, repeat(0))


def _random_images(spec, num_images):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (num_images, spec.side, spec.side, 3), dtype=np.uint8)
    return images, rng.integers(0, spec.num_classes, num_images, dtype=np.int32)


def format_seconds(seconds: float) -> str:
    """A duration as one says it: "45 s", "12 min", "3 h 20 min", "4 days 2 h"."""
    if seconds < 120:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    if seconds < 86400:
        hours, minutes = divmod(round(seconds / 60), 60)
        return f"{hours} h {minutes} min"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days} day{'s' if days > 1 else ''} {hours} h"
