"""Preparing ImageNet-30 at its full size, on made-up photographs: time, memory, disk."""

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.measuring import Options, Row, seconds
from benchmarks.watching import Watch
from corruptions.storage.workers import worker_pool
from dataset.batches import training_batches
from dataset.prepare_dataset import prepare_dataset, read_clean
from dataset.readers.decoding import decode
from dataset.readers.imagenet30 import find_photographs
from dataset.specs import IMAGENET30

SIZES = {"train": 1300, "test": 100}
SIDE = 120


def write_class(folder, label, count, side):
    """Photographs of smooth blobs, encoded as cameras' are."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(label)
    for number in range(count):
        coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((4 * side // 3, side), Image.Resampling.BICUBIC)
        picture.save(folder / f"{number:05d}.JPEG", quality=90)


def write_photographs(data_dir, side, num_workers):
    """The made-up folder, in ImageNet-30's layout."""
    with worker_pool(num_workers) as pool:
        jobs = [
            pool.submit(write_class, data_dir / "ImageNet-30" / split / name, label, count, side)
            for split, count in SIZES.items()
            for label, name in enumerate(IMAGENET30.class_names)
        ]
        for job in jobs:
            job.result()


def time_decoding(folder):
    """CPU milliseconds per real photograph on one core, their mean size in pixels, their number."""
    paths = list(find_photographs(folder, IMAGENET30.class_names).values())
    pixels = []
    for path in paths:
        with Image.open(path) as image:
            pixels.append(image.width * image.height)
    start = time.process_time()
    for path in paths:
        decode(path, IMAGENET30.side)
    spent = time.process_time() - start
    return 1e3 * spent / len(paths), float(np.mean(pixels)), len(paths)


def measure(options: Options) -> Iterator[Row]:
    """42,000 photographs of 160×120; one corruption at five severities; one epoch's batches."""
    cores = len(os.sched_getaffinity(0))
    how = {"num_workers": cores, "report": lambda line: None}
    with tempfile.TemporaryDirectory() as name:
        data_dir = Path(name)
        write_photographs(data_dir, SIDE, max(2, cores))
        watch = Watch()
        yield Row("decoding", "s", (seconds(lambda: read_clean(IMAGENET30, data_dir, **how)),))

        def prepare():
            return prepare_dataset(IMAGENET30, data_dir, "gaussian_noise", 1000, 5, 0, **how)

        yield Row("corrupting", "s", (seconds(prepare),))
        yield Row("again, nothing to make", "s", (seconds(prepare),))
        train = prepare().train

        def epoch():
            return sum(1 for _ in training_batches(train, options.batch_size, 0, 1, False))

        yield Row("one epoch's batches", "s", (seconds(epoch),))
        yield Row("own memory, at most", "MB", (watch.own / 1e6,))
        yield Row("with mapped files, at most", "MB", (watch.resident / 1e6,), at_most=3000)
        real = options.data_dir / "ImageNet-30" / "train"
        if real.is_dir():
            spent, pixels, number = time_decoding(real)
            what = f"{number} real ones, {pixels:,.0f} pixels"
            yield Row(what, "CPU ms each", (spent,))
        size = sum(path.stat().st_size for path in data_dir.rglob("*.npy"))
        yield Row("arrays", "MB", (size / 1e6,))
