"""The shift between a fake and its original, by what is around the faces."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Box = NDArray[np.int32]

_DETAIL: Final = 4
"""Only detail finer than so many px is compared: light changes slowly."""
_LEAST: Final = 1.0
"""Shifts in px from which pixels do not correspond; compression moves nothing by more than a few hundredths."""
_BETTER: Final = 0.8
"""Share of the difference that is left at most when a shift is undone; else it was none."""


class Shift(NamedTuple):
    """A shift in px of the original, to the right and down."""

    x: float
    y: float

    def __str__(self) -> str:
        return f"it is shifted by {self.x:.1f} px to the right and {self.y:.1f} px down"


def shift_between(fake: Picture, original: Picture, boxes: Iterable[Box], margin: float) -> Shift | None:
    """Measure by how much a fake is shifted against its original (phase correlation outside the faces).

    Args:
        fake: ``(H, W, 3)`` uint8 RGB.
        original: The same frame of the original, of the same size.
        boxes: ``(4,)`` int32 in pixels, of what is cut out around each face.
        margin: Side of a box as a multiple of the face's.

    Returns:
        None where the two fit, or are so different that no shift explains it.

    Example:
        >>> original = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
        >>> print(shift_between(np.roll(original, 3, axis=1), original, [], 1.3))
        it is shifted by 3.0 px to the right and 0.0 px down
        >>> shift_between(original, original, [], 1.3)
    """
    height, width = original.shape[:2]
    weight = np.ones((height, width), np.float32)
    for box in boxes:
        centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / (2 * max(1.0, margin))
        x0, y0, x1, y1 = np.rint([*(centre - half), *(centre + half)]).clip(0).astype(int)
        weight[y0:y1, x0:x1] = 0
    keep = weight > 0
    if not keep.any():
        return None
    soft = np.minimum(weight, cv2.GaussianBlur(weight, (0, 0), _DETAIL))
    detail = [_detail(picture) * soft for picture in (original, fake)]
    (x, y), _ = cv2.phaseCorrelate(*detail)
    if np.hypot(x, y) < _LEAST:
        return None
    undone = cv2.warpAffine(
        fake, np.array([[1, 0, -x], [0, 1, -y]]), (width, height), borderMode=cv2.BORDER_REFLECT_101
    )
    before, after = (float(cv2.absdiff(picture, original)[keep].mean()) for picture in (fake, undone))
    return Shift(round(x, 1) + 0.0, round(y, 1) + 0.0) if after <= _BETTER * before else None


def _detail(picture: Picture) -> NDArray[Any]:
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return np.asarray(grey - cv2.GaussianBlur(grey, (0, 0), _DETAIL))
