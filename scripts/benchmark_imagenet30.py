#!/usr/bin/env python3
"""Measure time, disk and memory of preparing ImageNet-30 at its full size, on made-up photographs.

Writes 42,000 small JPEG files, prepares them as main.py does (decoding, one corruption at five
severities) and takes one epoch's batches, while the memory of all processes is watched. With
--photographs it also times the decoding of real ones, one by one, on one core.
"""

import argparse
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from corruptions.workers import worker_pool
from dataset.imagenet30 import decode, find_photographs
from dataset.pipeline import training_batches
from dataset.prepare_dataset import prepare_dataset, read_clean
from dataset.specs import IMAGENET30

SIZES = {"train": 1300, "test": 100}


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


class Watch:
    """The largest memory that this process and its children had together, in bytes.

    `resident` counts mapped files as far as they are in memory, pages that several processes share
    once for each; `own` leaves out what is mapped from files.
    """

    def __init__(self):
        self.resident = self.own = 0
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        me = psutil.Process()
        while True:
            resident = own = 0
            for process in [me, *me.children(recursive=True)]:
                try:
                    memory = process.memory_info()
                except psutil.NoSuchProcess:
                    continue
                resident, own = resident + memory.rss, own + memory.rss - memory.shared
            self.resident, self.own = max(self.resident, resident), max(self.own, own)
            time.sleep(0.05)


def measure(data_dir, num_workers, connection):
    """Prepare and read; sends rows of the table."""
    watch, rows = Watch(), []

    def timed(what, function):
        cpu, start = os.times(), time.perf_counter()
        result = function()
        seconds, now = time.perf_counter() - start, os.times()
        used = sum(now[:4]) - sum(cpu[:4])
        rows.append((what, seconds, used, watch.own, watch.resident))
        return result

    how = {"num_workers": num_workers, "report": print}
    timed("decoding", lambda: read_clean(IMAGENET30, data_dir, **how))
    own = {"num_per_class": 1000, "num_severity": 5, "seed": 0}
    prepare = lambda: prepare_dataset(IMAGENET30, data_dir, "gaussian_noise", **own, **how)  # noqa: E731
    data = timed("corrupting", prepare)
    timed("again, nothing to make", prepare)
    images = timed("one epoch's batches", lambda: sum(map(_size, epoch_of(data.train))))
    connection.send((rows, images))


def epoch_of(train):
    return training_batches(train, 100, 0, 1, False)


def _size(batch):
    return len(batch.images)


def time_decoding(folder):
    """Seconds per photograph on one core, and their mean size in pixels."""
    paths = list(find_photographs(folder, IMAGENET30.class_names).values())
    pixels = []
    for path in paths:
        with Image.open(path) as image:
            pixels.append(image.width * image.height)
    start = time.process_time()
    for path in paths:
        decode(path, IMAGENET30.side)
    return (time.process_time() - start) / len(paths), float(np.mean(pixels)), len(paths)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=120, help="height of the made-up photographs")
    parser.add_argument("--num_workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument(
        "--photographs", type=Path, help="a folder with ImageNet-30's class folders"
    )
    args = parser.parse_args()
    if args.photographs:
        seconds, pixels, count = time_decoding(args.photographs)
        print(
            f"{1e3 * seconds:.2f} ms CPU a photograph ({count} of {pixels:,.0f} pixels on average)"
        )
    with tempfile.TemporaryDirectory() as name:
        data_dir = Path(name)
        write_photographs(data_dir, args.side, max(2, args.num_workers))
        context = multiprocessing.get_context("spawn")
        receiver, sender = context.Pipe(duplex=False)
        child = context.Process(target=measure, args=(data_dir, args.num_workers, sender))
        child.start()
        rows, images = receiver.recv()
        child.join()
        files = list(data_dir.rglob("*.npy"))
        size = sum(path.stat().st_size for path in files)
    print(f"\n{'':24}seconds   CPU s   peak MB of its own   with mapped files")
    for what, seconds, used, own, resident in rows:
        print(f"{what:24}{seconds:7.1f} {used:7.1f} {own / 1e6:20,.0f} {resident / 1e6:19,.0f}")
    print(f"{images:,} images in one epoch; arrays: {size / 1e6:,.0f} MB in {len(files)} files")


if __name__ == "__main__":
    main()
