"""Corruptions: CPU time per image on one core, and images per second on one core and on all.

What is timed is one call of `corrupt` for many images at once, with one thread for each numerical
library. Reading and writing are left out.
"""

import os
import time
from collections.abc import Iterator
from functools import partial

from benchmarks.made_up import clouds
from benchmarks.measuring import Options, Row, ratio, seconds
from corruptions import CORRUPTIONS, MAX_SEVERITY, corrupt
from corruptions.storage.workers import worker_pool

SIZES = {"cifar": (32, 1000), "imagenet64": (64, 250)}  # side and number of images, per variant
SEVERITIES = range(1, MAX_SEVERITY + 1)
ENVIRONMENT = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def all_severities(name, variant, images):
    """Corrupt the images at each severity."""
    for severity in SEVERITIES:
        corrupt(images, name, severity, variant=variant)


def cpu_milliseconds(name, variant, images):
    """CPU time per image, the mean of the severities."""
    start = time.process_time()
    all_severities(name, variant, images)
    return (time.process_time() - start) / len(images) / len(SEVERITIES) * 1e3


def rows_of(name, variant, pool, cores, rounds):
    """Rows of one corruption and one size of image."""
    side, count = SIZES[variant]
    images = clouds(count, side)
    work = partial(all_severities, name, variant)
    work(images[:10])  # tables and pictures are made once, here and in the workers
    list(pool.map(work, [images[:10]] * cores))
    number = count * len(SEVERITIES)
    cpu_times, one_core, all_cores = [], [], []
    for _ in range(rounds):
        cpu_times.append(cpu_milliseconds(name, variant, images))
        one_core.append(number / seconds(work, images))
        spent = seconds(lambda: list(pool.map(work, [images] * cores)))
        all_cores.append(cores * number / spent)
    title = f"{name} {side}×{side}"
    yield Row(title, "CPU ms", tuple(cpu_times))
    yield Row(f"{title}, one core", "images/s", tuple(one_core))
    against = ratio(all_cores, one_core)
    yield Row(f"{title}, {cores} cores", "images/s", tuple(all_cores), "one core", against)


def measure(options: Options) -> Iterator[Row]:
    """All corruptions at both sizes."""
    cores = len(os.sched_getaffinity(0))
    with worker_pool(max(2, cores)) as pool:
        for variant in SIZES:
            for name in CORRUPTIONS:
                yield from rows_of(name, variant, pool, cores, options.rounds)
