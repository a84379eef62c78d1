"""One picture coded as a single intra frame of H.264, and decoded again."""

from __future__ import annotations

from fractions import Fraction

import av
import cv2
import numpy as np
from numpy.typing import NDArray


def through_h264(image: NDArray[np.uint8], crf: int, **options: str) -> NDArray[np.uint8]:
    """Code a picture by libx264 and decode it.

    Args:
        image: ``(H, W, 3)`` uint8 RGB; stays unchanged.
        crf: Constant rate factor, 0 (lossless) to 51.
        **options: Others of libx264, such as ``preset``.

    Returns:
        The same shape.

    Example:
        >>> through_h264(np.full((5, 6, 3), 100, np.uint8), crf=23).shape
        (5, 6, 3)
    """
    height, width = image.shape[:2]
    # With chroma at half the resolution both sides must be even.
    even = np.asarray(cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE), np.uint8)
    encoder = av.CodecContext.create("libx264", "w")
    encoder.height, encoder.width = even.shape[:2]
    encoder.pix_fmt = "yuv420p"
    encoder.time_base = Fraction(1, 25)
    encoder.options = {"crf": str(crf), **options}
    encoder.thread_count = 1
    packets = [*encoder.encode(av.VideoFrame.from_ndarray(even, format="rgb24")), *encoder.encode(None)]
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    frames = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    return np.asarray(frames[0].to_ndarray(format="rgb24")[:height, :width], np.uint8)
