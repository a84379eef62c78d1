"""The square crop of a face: where it lies in the frame, and cutting it out.

The only place where a face is cut, so that the crops of training, of fakes beside their originals and of a user's own
media are the same pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from resgat_pl.data.faces.detection import Face, FaceDetector, WholeFrame
from resgat_pl.data.faces.resizing import resize_frame


class CropBox(NamedTuple):
    """The box to cut out of one frame.

    Attributes:
        box: ``(4,)`` int32 x0, y0, x1, y1 in px of the frame; may reach beyond it.
        landmarks: ``(5, 2)`` float32 in px of the frame; NaN where unknown.

    Example:
        >>> place = CropBox(np.array([10, 10, 30, 30]), np.full((5, 2), 15, np.float32))
        >>> place.relative_landmarks[0].tolist()
        [0.25, 0.25]
    """

    box: NDArray[np.int32]
    landmarks: NDArray[np.float32]

    @property
    def relative_landmarks(self) -> NDArray[np.float32]:
        """``(5, 2)`` float32, the landmarks in [0, 1] of the crop; NaN where unknown."""
        return ((self.landmarks - self.box[:2]) / (self.box[2:] - self.box[:2])).astype(np.float32)

    @property
    def relative(self) -> list[float] | None:
        """The landmarks in [0, 1] of the crop, ``x, y`` of five points, as in the manifest; None where unknown."""
        points = self.relative_landmarks
        return None if np.isnan(points).any() else points.ravel().tolist()


def crop_box(face: Face, detector: FaceDetector, margin: float) -> CropBox:
    """The square around a face; a crop made elsewhere (``WholeFrame``) is taken whole, even if it is not square.

    Args:
        face: The face.
        detector: Found the face.
        margin: Side of the square as a multiple of the longer side of the face's box.
    """
    whole = isinstance(detector, WholeFrame)
    return CropBox(face.box.astype(np.int32) if whole else square_box(face.box, margin), face.landmarks)


def square_box(box: NDArray[np.float32], margin: float) -> NDArray[np.int32]:
    """Grow a box to a square around its centre, ``margin`` times its longer side, in whole pixels.

    Whole pixels, so that the same box cuts a fake and its original exactly alike.

    Returns:
        ``(4,)`` int32 x0, y0, x1, y1; may reach beyond the frame.
    """
    x0, y0, x1, y1 = (float(value) for value in box)
    side = max(2, round(margin * max(x1 - x0, y1 - y0)))
    left = round((x0 + x1 - side) / 2)
    top = round((y0 + y1 - side) / 2)
    return np.array([left, top, left + side, top + side], np.int32)


def touches(box: NDArray[np.int32], size: Sequence[int]) -> bool:
    """True if any pixel of ``box`` lies within a frame of ``size`` (w, h): a detector may place one beside it."""
    x0, y0, x1, y1 = (int(value) for value in box)
    return min(x1, size[0]) > max(x0, 0) and min(y1, size[1]) > max(y0, 0)


def crop_face(image: NDArray[np.uint8], box: NDArray[np.int32], size: int) -> NDArray[np.uint8]:
    """Cut ``box`` out of a frame, or out of its mask, and resize it to ``(size, size)``.

    Args:
        image: ``(H, W, 3)`` or ``(H, W)`` uint8.
        box: ``(4,)`` int32 x0, y0, x1, y1. What lies beyond the frame is filled by repeating its border.
        size: Side of the result in pixels. A box that is not square is stretched, as the paper does with crops.

    Returns:
        ``(size, size, 3)`` or ``(size, size)`` uint8.

    Raises:
        ValueError: The box lies outside the frame.
    """
    height, width = image.shape[:2]
    x0, y0, x1, y1 = (int(value) for value in box)
    inner = image[max(0, y0) : max(0, min(height, y1)), max(0, x0) : max(0, min(width, x1))]
    if inner.size == 0:
        raise ValueError(f"box {box.tolist()} lies outside the {width}x{height} frame")
    beyond = (max(0, -y0), max(0, y1 - height), max(0, -x0), max(0, x1 - width))
    if any(beyond):
        inner = cv2.copyMakeBorder(inner, *beyond, borderType=cv2.BORDER_REPLICATE).astype(np.uint8)
    return resize_frame(inner, size, size)
