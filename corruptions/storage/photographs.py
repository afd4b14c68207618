"""Decoding photographs of unknown origin."""

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from corruptions.errors import DataError
from corruptions.storage.files import check_file

# The decoders that photographs need; some of Pillow's others start programs.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")
# Resizing a line of pixels takes memory for each of them. JPEG goes no further, either.
_MAX_SIDE = 2**16


@contextlib.contextmanager
def opened_photograph(path: Path) -> Iterator[Image.Image]:
    """A photograph, to be decoded inside the block.

    Raises:
        DataError: it is none, is damaged, or has more than 90 million pixels or 65,536 on a side;
            the message does not name it.
        OSError: the file cannot be read, or there is too little memory.
    """
    check_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                if max(image.size) > _MAX_SIDE:
                    raise DataError(f"{image.width} × {image.height} pixels are too many")
                yield image
    except UnidentifiedImageError as error:
        raise DataError(f"not one of {', '.join(FORMATS)}") from error
    except DataError:
        raise
    except MemoryError as error:
        raise OSError(f"too little memory to decode {path}: lower --num_workers") from error
    except Exception as error:  # decoding foreign bytes can raise about anything
        if isinstance(error, OSError) and error.errno is not None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise DataError(" ".join(str(error).split()) or type(error).__name__) from error


def as_rgb(image: Image.Image) -> Image.Image:
    """A photograph of any kind as RGB of 8 bits: its first frame, transparency left out.

    It is not turned as its EXIF orientation says. Of 16 bits of grey the upper eight are kept.

    Raises:
        DataError: its pixels are no whole numbers of at most 16 bits, so nobody knows what is
            white.
    """
    if image.mode.startswith("I"):
        pixels = np.asarray(image).astype(np.int64)
        if pixels.min() < 0 or pixels.max() >= 2**16:
            raise DataError("its pixels are whole numbers of more than 16 bits")
        image = Image.fromarray((pixels >> 8).astype(np.uint8))
    elif image.mode == "F":
        raise DataError("its pixels are floating-point numbers")
    return image.convert("RGB")


def decode(path: Path, side: int | None = None) -> np.ndarray:
    """A photograph as RGB, resized straight to `side`×`side`, or as large as it is.

    Bilinear with antialiasing, aspect ratio not kept, as the published preparation does.

    Returns:
        uint8 (H, W, 3).

    Raises:
        DataError: it cannot be decoded as a whole, see `opened_photograph` and `as_rgb`.
        OSError: it cannot be read.
    """
    with opened_photograph(path) as file:
        image = as_rgb(file)
        if side is not None:
            image = image.resize((side, side), Image.Resampling.BILINEAR)
        return np.asarray(image)
