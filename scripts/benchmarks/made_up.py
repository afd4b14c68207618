"""Images to measure with, where it does not matter what they show."""

import pickle
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from dataset.poisson import severity_counts
from dataset.specs import CIFAR10, DatasetSpec

NUM_GROUPS = 6


def clouds(count: int, side: int) -> np.ndarray:
    """Coloured clouds, uint8 (count, side, side, 3): about as compressible as photographs."""
    rng = np.random.default_rng(0)
    noise = gaussian_filter(rng.standard_normal((count, side, side, 3)), (0, 2, 2, 0), mode="wrap")
    return np.clip(128 + 60 / noise.std() * noise, 0, 255).astype(np.uint8)


def made_up_batch(
    batch_size: int, spec: DatasetSpec = CIFAR10
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images uint8 (B, H, W, 3), labels and severities int32, these as frequent as in training."""
    rng = np.random.default_rng(0)
    frequency = severity_counts(spec.num_per_class, NUM_GROUPS - 1)
    groups = rng.choice(NUM_GROUPS, batch_size, p=frequency / frequency.sum())
    labels = rng.integers(0, spec.num_classes, batch_size, dtype=np.int32)
    return clouds(batch_size, spec.side), labels, groups.astype(np.int32)


def write_cifar10(folder: Path) -> None:
    """Files like those of CIFAR-10's python archive, of its size, with 1,000 images repeated."""
    rows = np.tile(clouds(1000, CIFAR10.side).transpose(0, 3, 1, 2).reshape(1000, -1), (10, 1))
    labels = [i % CIFAR10.num_classes for i in range(10_000)]
    folder = folder / CIFAR10.clean_folder
    folder.mkdir(parents=True)
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        (folder / name).write_bytes(pickle.dumps({b"data": rows, b"labels": labels}))
