"""How long a training would take, from a few real steps with random weights and images."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
from mindspore import Tensor, nn

from corruptions.interrupts import check_interrupts
from dataset.batches import evaluation_batches, training_batches
from dataset.prepare_dataset import EvaluationSet, TrainingSet
from dataset.specs import DatasetSpec
from dataset.survey import Sizes
from sharpdro.evaluation.evaluator import Evaluator
from sharpdro.methods.create import TrainStep
from sharpdro.training.plan import Plan
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


class _Clock:
    """Times steps, until there are enough."""

    def __init__(self):
        self._marks = [time.perf_counter()]

    def tick(self) -> None:
        """A step is done."""
        self._marks.append(time.perf_counter())

    def until_enough(self, batches: Iterable) -> Iterator:
        """Batches for the steps."""
        for batch in batches:
            timed = len(self._marks) - 2  # but for the first
            slow = timed >= MIN_STEPS and self._marks[-1] - self._marks[1] > SECONDS
            if timed == MAX_STEPS or slow:
                return
            yield batch

    def speed(self) -> Speed:
        """Of the steps since the beginning."""
        seconds = np.diff(self._marks)
        return Speed(seconds[0], seconds[1:].mean(), len(seconds) - 1)


def time_training(
    step: TrainStep,
    normalize: nn.Cell,
    spec: DatasetSpec,
    batch_size: int,
    augment_data: bool = False,
) -> Speed:
    """Train for a few steps, on batches that are drawn as in training.

    Args:
        step: the method's training step; its weights change.
        normalize: uint8 (B, H, W, 3) to what it takes.
        spec: the dataset, for the images' size and the number of classes.
        batch_size: B.
        augment_data: also crop.
    """
    images, labels = _random_images(spec, batch_size)
    groups = (np.arange(batch_size) % step.num_groups).astype(np.int32)
    train = TrainingSet(images, labels, groups, np.arange(batch_size))
    epochs = (training_batches(train, batch_size, 0, epoch, augment_data) for epoch in count(1))
    graph, clock = TrainingGraph(normalize, step), _Clock()
    for batch in clock.until_enough(batch for epoch in epochs for batch in epoch):
        result = graph(Tensor(batch.images), Tensor(batch.labels), Tensor(batch.groups))
        result.asnumpy()  # waits for the device
        check_interrupts()
        clock.tick()
    return clock.speed()


def time_evaluation(
    network: nn.Cell, normalize: nn.Cell, spec: DatasetSpec, batch_size: int
) -> Speed:
    """Evaluate for a few steps; arguments as for `time_training`."""
    images, labels = _random_images(spec, batch_size)
    data, clock = EvaluationSet([images], np.arange(batch_size), labels), _Clock()
    batches = (batch for _ in count() for batch in evaluation_batches(data, 0, batch_size))
    Evaluator(network, normalize)(clock.until_enough(batches), clock.tick)
    return clock.speed()


def _random_images(spec, num_images):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (num_images, spec.side, spec.side, 3), dtype=np.uint8)
    return images, rng.integers(0, spec.num_classes, num_images, dtype=np.int32)


@dataclass(frozen=True)
class Done:
    """What is finished of a training: epochs, steps of the next, and their checkpoint, if any."""

    epochs: int = 0
    checkpoint: Path | None = None
    steps: int = 0


@dataclass(frozen=True)
class Stage:
    """A training that a run consists of, as far as it is left to do.

    Args:
        name: of it.
        done: what is finished.
        epochs: left.
        evaluations: left.
        evaluation_steps: in all of them, and whatever else is evaluated.
        create: makes network, normalisation and training step.
    """

    name: str
    done: Done
    epochs: int
    evaluations: int
    evaluation_steps: int
    create: Callable[[], tuple[nn.Cell, nn.Cell, TrainStep]]


def stages_left(
    plan: Plan,
    sizes: Sizes,
    eval_batch_size: int,
    last: Done,
    first: Done | None,
    method: str,
    first_stage,
    create: Callable[[str, int], tuple[nn.Cell, nn.Cell, TrainStep]],
) -> list[Stage]:
    """What a run has still to do.

    Args:
        plan: of the last stage.
        sizes: of the data.
        eval_batch_size: images per evaluation step.
        last, first: what is finished; first None: that stage is over, or there is none.
        method: key into METHODS.
        first_stage: an object of the class that the method's spec names; None: there is none.
        create: a method and a number of groups to network, normalisation and training step.
    """
    groups = len(sizes.per_severity)
    once = groups * sum(-(-n // eval_batch_size) for n in (sizes.validation, sizes.test))
    left = range(last.epochs + 1, plan.total_epoch + 1)
    number = sum(epoch % plan.eval_every == 0 or epoch == plan.total_epoch for epoch in left)
    inferred = first_stage.num_inferred if first_stage else None
    name = "stage 2: " if first_stage else ""
    create_last = partial(create, method, inferred or groups)
    stages = [Stage(name, last, len(left), number, number * once, create_last)]
    if first is not None:
        epochs = first_stage.epochs - first.epochs
        every_image = -(-sum(sizes.per_severity) // eval_batch_size)
        steps = once * (epochs > 0) + every_image
        erm = partial(create, "erm", groups)
        stages.insert(0, Stage("stage 1: ", first, epochs, int(epochs > 0), steps, erm))
    return stages


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
