"""The pictures that the frost corruption lays over an image: drawn ones, or the published ones."""

import functools
from pathlib import Path

import numpy as np

from corruptions.errors import DataError
from corruptions.frost_textures import HEIGHT, WIDTH, draw_frost_textures
from corruptions.parameters import PARAMETERS
from corruptions.storage.photographs import opened_photograph

# The published code draws from these five alone, each as often; frost6.jpg is never used. The
# second and the third show the same.
PUBLISHED = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg")


def frost_photographs(scale: float, folder: Path | None = None) -> tuple[np.ndarray, ...]:
    """Five pictures of frost, uint8 (H, W, 3) of various sizes.

    Args:
        scale: by which they are shrunk.
        folder: where the published photographs lie; None: pictures drawn here.

    Raises:
        OSError: the folder lacks one of the photographs, or it cannot be read.
    """
    if folder is None:
        return _shrunk_photographs(scale, None)
    # With the files' times, so that photographs that are replaced are noticed.
    times = tuple(_path(folder, name).stat().st_mtime_ns for name in PUBLISHED)
    return _shrunk_photographs(scale, folder, times)


@functools.lru_cache(maxsize=4)
def _shrunk_photographs(scale: float, folder: Path | None, times: tuple = ()) -> tuple:
    photographs = read_photographs(folder) if folder else draw_frost_textures()
    shrunk = tuple(_shrunk(_shrunk(picture, scale, 0), scale, 1) for picture in photographs)
    for picture in shrunk:
        picture.flags.writeable = False  # everybody gets the same arrays
    return shrunk


def smallest_picture(variant: str, folder: Path | None = None) -> tuple[int, int]:
    """Height and width that all pictures of frost have, as they are laid over images.

    Images may be as large. Arguments as for `corruptions.corrupt`; errors as above.
    """
    scale = min(strength[2] for strength in PARAMETERS[variant]["frost"])
    sizes = [picture.shape[:2] for picture in read_photographs(folder)] if folder else []
    return tuple(round(min(lengths) * scale) for lengths in zip(*(sizes or [(HEIGHT, WIDTH)])))


def _path(folder: Path, name: str) -> Path:
    path = Path(folder) / name
    if not path.exists():
        raise FileNotFoundError(
            f"{path} is missing: --frost_dir needs {', '.join(PUBLISHED)} of the published "
            f"corruptions; without it frost is drawn"
        )
    return path


def read_photographs(folder: Path) -> list[np.ndarray]:
    """The published photographs, uint8 (H, W, 3); errors as for `frost_photographs`."""
    photographs = []
    for name in PUBLISHED:
        path = _path(folder, name)
        try:
            with opened_photograph(path) as image:
                photographs.append(np.asarray(image.convert("RGB")))
        except DataError as error:
            raise OSError(f"{path} cannot be read as an image: {error}") from error
    return photographs


def _shrunk(picture: np.ndarray, scale: float, axis: int) -> np.ndarray:
    """Shrink one axis by bilinear sampling without antialiasing, as published (OpenCV does)."""
    length = picture.shape[axis]
    source = (np.arange(round(length * scale)) + 0.5) / scale - 0.5
    source = np.clip(source, 0, length - 1)
    below = np.floor(source).astype(int)
    above = np.minimum(below + 1, length - 1)
    share = (source - below)[(slice(None),) + (None,) * (2 - axis)]
    lines = picture.take(below, axis) * (1 - share) + picture.take(above, axis) * share
    return np.rint(lines).astype(np.uint8)
