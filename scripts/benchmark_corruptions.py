#!/usr/bin/env python3
"""CPU time per image of every corruption, beside that of the published code.

    python scripts/benchmark_corruptions.py [NAME ...]

One core, the mean of the five severities, the fastest of some repetitions each; reading, writing
and worker processes are left out. The images are coloured clouds. The published times were measured
elsewhere; so that both sides see the same machine, each is multiplied by how much longer than there
one thing takes here and at this moment that needs only Pillow: the published JPEG round trip.
"""

import argparse
import io
import os
import sys
import time
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"  # before NumPy is imported
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402
from scipy.ndimage import gaussian_filter  # noqa: E402

from corruptions import CORRUPTIONS, MAX_SEVERITY, corrupt  # noqa: E402

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
SIZES = (("cifar", 32, 1000), ("imagenet64", 64, 250))  # variant, side, images
REPETITIONS = 3


def slowness(images):
    """How much longer the published JPEG round trip takes than where PUBLISHED was measured."""
    times = []
    for _ in range(REPETITIONS):
        start = time.process_time()
        for image in images:
            file = io.BytesIO()
            Image.fromarray(image).save(file, "JPEG", quality=58)
            np.asarray(Image.open(file))
        times.append(time.process_time() - start)
    return min(times) / len(images) * 1e3 / PUBLISHED["jpeg_compression"][0]


def milliseconds(name, severity, variant, images):
    """CPU time per image, the fastest repetition."""
    corrupt(images[:10], name, severity, variant=variant)  # tables and pictures are made once
    times = []
    for _ in range(REPETITIONS):
        start = time.process_time()
        corrupt(images, name, severity, variant=variant)
        times.append(time.process_time() - start)
    return min(times) / len(images) * 1e3


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="corruptions; default: all")
    names = parser.parse_args().names or CORRUPTIONS
    for unknown in set(names) - set(CORRUPTIONS):
        parser.error(f"unknown corruption {unknown}; choose from {', '.join(CORRUPTIONS)}")
    print(f"{'':18}{'32×32 images':^38}{'64×64 images':^38}")
    print(
        f"{'CPU ms per image':18}" + 2 * f"{'ours':>9}{'published':>11}{'times':>8}{'slowest':>10}"
    )
    print(f"{'':18}" + 2 * f"{'':>20}{'faster':>8}{'severity':>10}")
    ratios = {variant: [] for variant, _, _ in SIZES}
    yardstick, slow = smooth_images(100, 32), []
    for name in names:
        row = f"{name:18}"
        for i, (variant, side, count) in enumerate(SIZES):
            images = smooth_images(count, side)
            ours, factors = [], []
            for severity in range(1, MAX_SEVERITY + 1):
                factors.append(slowness(yardstick))
                ours.append(milliseconds(name, severity, variant, images))
            published = PUBLISHED[name][i] * np.mean(factors)
            ratios[variant].append(published / np.mean(ours))
            row += f"{np.mean(ours):9.4f}{published:11.3f}{ratios[variant][-1]:8.1f}"
            row += f"{published / max(ours):10.1f}"
            slow += factors
        print(row, flush=True)
    for variant, side, _ in SIZES:
        mean = np.exp(np.mean(np.log(ratios[variant])))
        least = min(ratios[variant])
        print(f"{side}×{side}: {mean:.1f} times faster in the geometric mean, at least {least:.1f}")
    print(
        f"published times multiplied by {min(slow):.2f} to {max(slow):.2f}: this machine just now"
    )


def smooth_images(count, side):
    """Coloured clouds: about as compressible as photographs."""
    rng = np.random.default_rng(0)
    noise = gaussian_filter(rng.standard_normal((count, side, side, 3)), (0, 2, 2, 0), mode="wrap")
    return np.clip(128 + 60 / noise.std() * noise, 0, 255).astype(np.uint8)


if __name__ == "__main__":
    main()
