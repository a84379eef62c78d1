"""Encoding of crops as they are stored, and their size for the network."""

from __future__ import annotations

from typing import Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

ImageFormat = Literal["png", "jpg"]
_PNG: Final = (cv2.IMWRITE_PNG_COMPRESSION, 3, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)
"""Half the time of the defaults."""
_444: Final = 0x111111


def encode_crop(image: NDArray[np.uint8], image_format: ImageFormat, quality: int = 95) -> bytes:
    """Encode a crop as ``extract`` stores it: PNG, or JPEG without subsampling of the colours (4:4:4).

    Args:
        image: ``(S, S, 3)`` uint8 RGB.
        image_format: ``png`` or ``jpg``.
        quality: Of JPEG, 1 to 100.
    """
    jpeg = (cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, _444)
    options = _PNG if image_format == "png" else jpeg
    return cv2.imencode(f".{image_format}", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)[1].tobytes()


def as_stored(image: NDArray[np.uint8], image_format: ImageFormat, quality: int = 95) -> NDArray[np.uint8]:
    """The crop as it is read back after ``encode_crop``: of JPEG, with the traces of its compression."""
    if image_format == "png":
        return image
    data = np.frombuffer(encode_crop(image, image_format, quality), np.uint8)
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB), np.uint8)


def resize_crop(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Resize a stored crop, or its mask, for the network.

    Args:
        image: ``(S, S, 3)`` or ``(S, S)`` uint8.
        side: Side of the result in px.
    """
    if image.shape[:2] == (side, side):
        return np.ascontiguousarray(image)
    interpolation = cv2.INTER_AREA if side < image.shape[0] else cv2.INTER_LINEAR
    return cv2.resize(image, (side, side), interpolation=interpolation).astype(np.uint8, copy=False)
