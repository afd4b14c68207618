"""A tiny folder like ImageNet-30's: photographs of several sizes, whose colour tells the class."""

import numpy as np
from PIL import Image

from dataset.specs import IMAGENET30


def photograph(rng, label, width, height):
    colour = 40 + 18 * np.array([label % 3, label // 3 % 4, label // 12]) * (2, 2, 3)
    pixels = colour + rng.integers(-40, 41, (height, width, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def write_imagenet30(data_dir, train=4, test=2, folders=("train", "test"), seed=0):
    """30 · train and 30 · test JPEG files; returns the folder."""
    rng = np.random.default_rng(seed)
    for folder, count in zip(folders, (train, test)):
        for label, name in enumerate(IMAGENET30.class_names):
            place = data_dir / "ImageNet-30" / folder / name
            place.mkdir(parents=True)
            for number in range(count):
                width, height = rng.integers(40, 120, 2)
                path = place / f"n{label:08d}_{number}.JPEG"
                photograph(rng, label, width, height).save(path, quality=90)
    return data_dir / "ImageNet-30"
