"""A small folder of photographs as people have them: umlauts, spaces, every kind of file."""

import numpy as np
from PIL import Image

# In label order, with the number of their training and test photographs.
CLASSES = {"Hund": (30, 5), "große Katze": (24, 4), "öltanker 2": (40, 6)}
_KINDS = ("RGB", "L", "P", "RGBA", "LA", "CMYK")


def picture(rng, label, kind="RGB", suffix=".png"):
    """One whose colour tells the class, as far as its kind has colours."""
    height, width = rng.integers(20, 60, 2)
    pixels = 70 + 60 * np.eye(3)[label % 3] + rng.integers(-30, 31, (height, width, 3))
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    return image.quantize(16) if kind == "P" else image.convert(kind)


def write_folder(data_dir, splits=("train", "test"), seed=0):
    """{train,test}/CLASS/*; returns the folder."""
    rng = np.random.default_rng(seed)
    for number, split in enumerate(splits):
        for label, (name, counts) in enumerate(CLASSES.items()):
            place = data_dir / split / name
            place.mkdir(parents=True)
            for index in range(counts[number]):
                kind = _KINDS[index % len(_KINDS)]
                suffix = ".jpg" if kind == "CMYK" else (".png", ".tif", ".PNG")[index % 3]
                picture(rng, label, kind).save(place / f"Bild {index:02d} ü{suffix}")
    return data_dir


def write_arrays(data_dir, sizes=(30, 24, 40), side=16, name="train", seed=0, **changes):
    """DATA_DIR/NAME.npz, of which `changes` replace arrays; returns images and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    images = rng.integers(0, 256, (len(labels), side, side, 3), dtype=np.uint8)
    data_dir.mkdir(exist_ok=True)
    np.savez(data_dir / f"{name}.npz", **{"images": images, "labels": labels, **changes})
    return images, labels
