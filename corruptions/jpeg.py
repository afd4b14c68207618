"""JPEG: the codec needs every image by itself; what surrounds it is shared."""

import io

import numpy as np
from PIL import Image

from corruptions.random_streams import RandomStreams

# Pixels: the side of what JPEG codes at once with its default subsampling, the longest image.
_JPEG_BLOCK, _JPEG_LONGEST = 16, 65500


def jpeg_compression(images: np.ndarray, quality: int, streams: RandomStreams) -> np.ndarray:
    """A round trip through the JPEG codec (libjpeg, default subsampling). Draws nothing."""
    return jpeg_round_trip(images, quality)


def jpeg_round_trip(images: np.ndarray, quality: int) -> np.ndarray:
    """Encode and decode every image of uint8 (N, H, W, 3) with libjpeg, default subsampling."""
    n, height, width, _ = images.shape
    together = _JPEG_LONGEST // height if height % _JPEG_BLOCK == 0 else 1
    if height * width >= _JPEG_LONGEST * _JPEG_BLOCK**2:  # more than fits between two markers
        together = 1
    decoded = np.empty_like(images)
    for start in range(0, n, max(1, together)):
        part = images[start : start + max(1, together)]
        files = _jpeg_files(part, quality) if len(part) > 1 else [_jpeg_file(part[0], quality)]
        for i, file in enumerate(files, start):
            # Decoding without opening the bytes as a file takes 40 % less time.
            decoded[i] = Image.frombytes("RGB", (width, height), file, "jpeg", "RGB", "")
    return decoded


def _jpeg_file(image: np.ndarray, quality: int, **settings) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality, **settings)
    return file.getvalue()


def _jpeg_files(images: np.ndarray, quality: int) -> list[bytes]:
    """The JPEG file of every image.

    All are encoded in one go, on top of each other, with a restart marker after each: from such a
    marker on nothing depends on what came before. Each part, between the header with the height put
    right and an end marker, is the file of one image. This halves the time of the round trip.
    """
    n, height, width, _ = images.shape
    stack = images.reshape(n * height, width, 3)
    stack = _jpeg_file(stack, quality, restart_marker_rows=height // _JPEG_BLOCK)
    scan = 2
    while (marker := stack[scan + 1]) != 0xDA:  # start of scan
        if marker == 0xC0:  # start of frame
            frame = scan
        scan += 2 + int.from_bytes(stack[scan + 2 : scan + 4], "big")
    scan += 2 + int.from_bytes(stack[scan + 2 : scan + 4], "big")
    header = bytearray(stack[:scan])
    header[frame + 5 : frame + 7] = height.to_bytes(2, "big")
    codes = np.frombuffer(stack, np.uint8)[scan:-2]
    # In the coded data 0xff is followed by 0 unless it begins a marker.
    ends = np.flatnonzero((codes[:-1] == 0xFF) & (codes[1:] >= 0xD0) & (codes[1:] <= 0xD7))
    starts = [0, *(ends + 2).tolist()]
    ends = [*ends.tolist(), len(codes)]
    return [header + codes[a:b].tobytes() + b"\xff\xd9" for a, b in zip(starts, ends)]
