"""How long steps and input take, and whether training's own precision is good enough."""

import warnings
from collections.abc import Iterator

import mindspore as ms
import numpy as np

from benchmarks.inputs import input_timer
from benchmarks.made_up import made_up_batch
from benchmarks.measuring import Workload
from benchmarks.steps import step_timer
from dataset.sets import TrainingSet
from device_checks.formulas import ROUGH, Pair, load_module
from device_checks.results import MEASURED, Check, Options, distance, failed, judged
from sharpdro.device import select_device
from sharpdro.distributed.process_group import SINGLE_PROCESS

# That of the paper, and for a CPU, on which a step of it takes 3 s, the smallest.
WORKLOADS = {"CPU": Workload("wideresnet", 10, 1, 16)}
PAPER = Workload("wideresnet", 28, 2, 100)
ROUNDS = 5
METHODS = ("erm", "sharpdro")
INPUT = "times: a batch of input"


def _step_rows(options: Options, how: str) -> Iterator[Check]:
    workload = WORKLOADS.get(options.device, PAPER)
    batch = workload.batch_size
    for method in METHODS:
        name = f"times: a step of {method}{how}"
        try:
            with warnings.catch_warnings():
                # The groups' sizes are missing, which take no time.
                warnings.simplefilter("ignore")
                run = step_timer(method, workload, SINGLE_PROCESS)
            times = [run() for _ in range(ROUNDS)]
        except Exception as error:
            yield failed(name, error)
            continue
        median = float(np.median(times))
        speed = f"{1e3 * median:.1f} ms, {batch / median:,.0f} images/s"
        note = f"{speed} (WideResNet-{workload.depth}-{workload.widen_factor}, batch {batch})"
        yield Check(name, MEASURED, note=note)


def _input_row(options: Options) -> Check:
    """An epoch's batches up to the device."""
    batch = WORKLOADS.get(options.device, PAPER).batch_size
    images, labels, groups = made_up_batch(20 * batch)
    train = TrainingSet(images, labels, severities=groups, indices=np.arange(len(labels)))
    seconds = input_timer(train, batch, augment_data=True)()
    note = f"{1e3 * seconds:.2f} ms, {batch / seconds:,.0f} images/s (batch {batch}, cropped)"
    return Check(INPUT, MEASURED, note=note)


def check(options: Options) -> Iterator[Check]:
    """Steps as training makes them; on a device also their precision, which is not float32's."""
    device = select_device(options.device)
    if device != "CPU":
        name = f"times: {options.methods[0]}, as precise as training"
        try:
            pair = Pair(options.methods[0], load_module(options.oracle))
            yield judged(name, distance(*pair.follow()), ROUGH)
        except Exception as error:
            yield failed(name, error)
    yield from _step_rows(options, "")
    try:
        yield _input_row(options)
    except Exception as error:
        yield failed(INPUT, error)


def check_deterministic(options: Options) -> Iterator[Check]:
    """The same steps where equal runs are asked for: what that costs."""
    select_device(options.device)
    ms.set_deterministic(True)
    yield from _step_rows(options, ", deterministic")
