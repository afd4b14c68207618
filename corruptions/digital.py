"""Digital artefacts. Each function takes uint8 (N, H, W, 3) and returns the same."""

import io

import numpy as np
from PIL import Image

from corruptions.random_streams import RandomStreams


def jpeg_compression(images: np.ndarray, quality: int, streams: RandomStreams) -> np.ndarray:
    """A round trip through the JPEG codec (libjpeg, default subsampling). Draws nothing."""
    decoded = np.empty_like(images)
    for i, image in enumerate(images):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=quality)
        decoded[i] = Image.open(file)
    return decoded
