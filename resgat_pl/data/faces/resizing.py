"""Resizing of frames and face crops."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def resize_frame(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Resize a frame for the face detector, or a face cut out of it to the size of a crop.

    Args:
        image: ``(H, W)`` or ``(H, W, 3)`` uint8.
        width: Of the result in px.
        height: Of the result in px.
    """
    if image.shape[:2] == (height, width):
        return np.ascontiguousarray(image)
    shrinks = width < image.shape[1] or height < image.shape[0]
    # INTER_AREA is the antialiased choice when shrinking and degrades to nearest neighbour when enlarging.
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC).astype(
        np.uint8, copy=False
    )
