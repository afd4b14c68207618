"""Corruptions: images per second on one core and on all, and CPU time against the published code.

The published times were measured elsewhere; so that both sides see the same machine, each is
multiplied by how much longer than there one thing takes here and at this moment that needs only
Pillow: the published JPEG round trip. Reading and writing are left out.
"""

import io
import os
import time
from collections.abc import Iterator
from functools import partial

import numpy as np
from PIL import Image

from benchmarks.made_up import clouds
from benchmarks.measuring import Options, Row, ratio, seconds
from corruptions import CORRUPTIONS, MAX_SEVERITY, corrupt
from corruptions.storage.workers import worker_pool

# Milliseconds per image of the published code on one core of an AMD EPYC at 32×32 and 64×64, mean
# of the five severities.
PUBLISHED = {
    "gaussian_noise": (0.087, 0.295),
    "shot_noise": (0.226, 0.757),
    "impulse_noise": (0.087, 0.118),
    "defocus_blur": (0.166, 0.180),
    "glass_blur": (10.553, 32.932),
    "motion_blur": (1.439, 4.334),
    "zoom_blur": (2.692, 6.119),
    "snow": (1.103, 2.990),
    "frost": (4.809, 4.732),
    "fog": (0.422, 0.354),
    "brightness": (0.405, 1.225),
    "contrast": (0.055, 0.155),
    "elastic_transform": (0.539, 1.920),
    "pixelate": (0.035, 0.079),
    "jpeg_compression": (0.124, 0.173),
    "speckle_noise": (0.082, 0.306),
    "gaussian_blur": (0.083, 0.195),
    "spatter": (0.209, 0.462),
    "saturate": (0.412, 0.922),
}
SIZES = {"cifar": (32, 1000), "imagenet64": (64, 250)}  # side and number of images, per variant
SEVERITIES = range(1, MAX_SEVERITY + 1)
ENVIRONMENT = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def slowness(images):
    """How much longer the published JPEG round trip takes than where PUBLISHED was measured."""
    start = time.process_time()
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=58)
        np.asarray(Image.open(file))
    spent = time.process_time() - start
    return spent / len(images) * 1e3 / PUBLISHED["jpeg_compression"][0]


def all_severities(name, variant, images):
    """Corrupt the images at each severity."""
    for severity in SEVERITIES:
        corrupt(images, name, severity, variant=variant)


def cpu_milliseconds(name, variant, images):
    """CPU time per image, the mean of the severities."""
    start = time.process_time()
    all_severities(name, variant, images)
    return (time.process_time() - start) / len(images) / len(SEVERITIES) * 1e3


def rows_of(name, variant, column, pool, cores, rounds):
    """Rows of one corruption and one size of image."""
    side, count = SIZES[variant]
    images, yardstick = clouds(count, side), clouds(200, 32)
    parts = [images] * cores
    work = partial(all_severities, name, variant)
    work(images[:10])  # tables and pictures are made once, here and in the workers
    list(pool.map(work, [images[:10]] * cores))
    number = count * len(SEVERITIES)
    one, every, own, published = [], [], [], []
    for _ in range(rounds):
        published.append(PUBLISHED[name][column] * slowness(yardstick))
        own.append(cpu_milliseconds(name, variant, images))
        one.append(number / seconds(work, images))
        every.append(cores * number / seconds(lambda: list(pool.map(work, parts))))
    what = f"{name} {side}×{side}"
    yield Row(what, "CPU ms", tuple(own), "published/ours", ratio(published, own))
    yield Row(f"{what}, one core", "images/s", tuple(one))
    against = ratio(every, one)
    yield Row(f"{what}, {cores} cores", "images/s", tuple(every), "one core", against)


def measure(options: Options) -> Iterator[Row]:
    """All corruptions at both sizes."""
    cores = len(os.sched_getaffinity(0))
    with worker_pool(max(2, cores)) as pool:
        for column, variant in enumerate(SIZES):
            for name in CORRUPTIONS:
                yield from rows_of(name, variant, column, pool, cores, options.rounds)
