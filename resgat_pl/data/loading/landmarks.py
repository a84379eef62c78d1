"""Landmarks that move along with an augmentation of the crop."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from resgat_pl.data.transforms import Augmentation

_PAIRS: Final = ([0, 1], [3, 4])
"""Landmarks of the left and of the right: eyes and corners of the mouth."""
_DOT: Final = 96
"""The half side of a dot is about 1/96 of the crop's: a single pixel could be lost in a rotation."""


def moved_landmarks(
    landmarks: tuple[float, ...] | None, image: NDArray[np.uint8], augmentation: object, seed: int | None
) -> NDArray[np.float32]:
    """Landmarks of a crop after an augmentation, found by dots that are changed as its mask would be.

    Left and right are the picture's, so they change places where a crop is mirrored.

    Args:
        landmarks: x and y of the five points, in [0, 1] of the crop; None where they are unknown.
        image: ``(H, W, 3)`` uint8, the crop before the augmentation.
        augmentation: What is applied with the seed; None for nothing.
        seed: None for no augmentation.

    Returns:
        ``(5, 2)`` float32; NaN for points that are unknown or were moved out of the crop, and for all of them where
        the augmentation is not one that moves masks along.
    """
    points = np.full((5, 2), np.nan, np.float32)
    if landmarks is None:
        return points
    points = np.asarray(landmarks, np.float32).reshape(5, 2)
    if augmentation is None or seed is None:
        return points
    if not isinstance(augmentation, Augmentation):
        return np.full((5, 2), np.nan, np.float32)
    found = np.full((5, 2), np.nan, np.float32)
    dots = _dots(points, image.shape[:2])
    _, dots = augmentation.with_mask(image, dots, seed)
    for place in range(5):
        y, x = np.nonzero(dots == place + 1)
        if len(x):
            found[place] = (x.mean() + 0.5) / dots.shape[1], (y.mean() + 0.5) / dots.shape[0]
    return upright(found)


def upright(landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
    """Landmarks ``(5, 2)`` with left and right as in the picture, of a face that may be mirrored.

    Example:
        >>> points = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.4, 0.8], [0.6, 0.8]], np.float32)
        >>> mirrored = points * [-1, 1] + [1, 0]
        >>> np.allclose(upright(mirrored.astype(np.float32)), points)
        True
    """
    left, right, _, one, other = landmarks
    across, down = right - left, (one + other) / 2 - (left + right) / 2
    if not across[0] * down[1] - across[1] * down[0] < 0:  # also where a point is unknown
        return landmarks
    swapped = landmarks.copy()
    for pair in _PAIRS:
        swapped[pair] = landmarks[pair[::-1]]
    return swapped


def _dots(points: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """A picture ``(H, W)`` with a square of the value 1 to 5 at each landmark."""
    height, width = shape
    dots = np.zeros((height, width), np.uint8)
    reach = 1 + max(shape) // _DOT
    for place, (x, y) in enumerate(points.tolist()):
        if not (0 <= x < 1 and 0 <= y < 1):  # also NaN
            continue
        row, column = int(y * height), int(x * width)
        dots[max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1] = place + 1
    return dots
