"""A tiny folder in the format of CIFAR-10's python archive."""

import pickle

import numpy as np

FILES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]


def make_batch(rng, per_class):
    """Images whose brightness tells the class, channel-first rows, and shuffled labels."""
    labels = rng.permutation(np.repeat(np.arange(10), per_class))
    base = 20 + 23 * labels[:, None] + rng.integers(-15, 16, (len(labels), 3072))
    return np.clip(base, 0, 255).astype(np.uint8), labels.tolist()


def write_batch(path, data, labels):
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {b"data": data, b"labels": labels, b"batch_label": b"x", b"filenames": [b"a"]}
    path.write_bytes(pickle.dumps(content, protocol=4))


def write_cifar10(data_dir, per_class=4, seed=0):
    """5 · 10 · per_class training and 10 · per_class test images."""
    rng = np.random.default_rng(seed)
    for name in FILES:
        write_batch(data_dir / "cifar-10-batches-py" / name, *make_batch(rng, per_class))
