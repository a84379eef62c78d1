"""Appearance of a face and of a scene in a few numbers, to follow people through a video without learnt weights.

A look survives small turns, other sizes, light and compression. It does not recognise a person in another recording:
two photographs of one person differ by it as those of two people do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

_SIDE: Final = 64
"""Side of the aligned face in px."""
_CELLS: Final = 8
_BINS: Final = 8
_ROW: Final = np.arange(_SIDE) * _CELLS // _SIDE
_PLACE: Final = (_ROW[:, None] * _CELLS + _ROW[None, :]) * _BINS
"""First bin of the cell that each pixel of a face lies in."""
_COLOURS: Final = 6
_COLOUR_WEIGHT: Final = 0.02
"""A difference of 10 in a or b of CIELAB counts as much as one of 0.2 between the gradients, whose most is √2."""
_PLACES: Final = np.array([[0.398, 0.382], [0.602, 0.382], [0.5, 0.498], [0.416, 0.618], [0.584, 0.618]], np.float32)
"""The five landmarks in the aligned face, as shares of its side: a head with hair and chin fills it."""
_NOISE: Final = 6.0
"""Gradients of a cell below this (grey levels a pixel) are noise rather than a feature."""
_THUMB: Final = 16
_CUT_STRUCTURE: Final = 0.15
_CUT_COLOURS: Final = 0.15


class Look(NamedTuple):
    """The look of one face.

    Attributes:
        gradients: ``(512,)`` float32: histograms of oriented gradients (Dalal & Triggs 2005) of the aligned grey face.
        colours: ``(72,)`` float32: a and b of CIELAB over a coarse grid.
    """

    gradients: NDArray[np.float32]
    colours: NDArray[np.float32]


class Scene(NamedTuple):
    """The look of a whole frame.

    Attributes:
        structure: ``(16, 16, 3)`` float32: the frame scaled down.
        colours: ``(128,)`` float32, sums to 1: histogram of hue, saturation and value.
    """

    structure: NDArray[np.float32]
    colours: NDArray[np.float32]


def look_of(image: NDArray[np.uint8], box: NDArray[np.float32], landmarks: NDArray[np.float32]) -> Look | None:
    """The look of a face.

    Args:
        image: ``(H, W, 3)`` uint8 RGB.
        box: ``(4,)`` float32 x0, y0, x1, y1 in px; used where a landmark is unknown.
        landmarks: ``(5, 2)`` float32 in px, see ``faces``.

    Returns:
        None if the face has no extent.
    """
    face = _aligned(image, box, landmarks)
    if face is None:
        return None
    grey = cv2.GaussianBlur(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 1.0).astype(np.float32)
    lab = cv2.cvtColor(face.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2LAB)
    colours = cv2.resize(lab[:, :, 1:], (_COLOURS, _COLOURS), interpolation=cv2.INTER_AREA).ravel()
    return Look(_gradients(grey), (colours / _COLOURS).astype(np.float32))


def unlikenesses(one: Sequence[Look], other: Sequence[Look]) -> NDArray[np.float64]:
    """Difference of each of some faces from each of others: ``(n, m)``, 0 for the same picture, see ``tracking``."""
    gradients, colours = (
        np.sqrt(np.maximum(_squares(a)[:, None] + _squares(b) - 2 * a @ b.T, 0.0))
        for a, b in ((np.stack([look[part] for look in looks]) for looks in (one, other)) for part in (0, 1))
    )
    found: NDArray[np.float64] = gradients.astype(np.float64) + _COLOUR_WEIGHT * colours
    return found


def unlikeness(one: Sequence[Look], other: Sequence[Look]) -> float:
    """Difference of the two most alike of two faces' looks."""
    return float(unlikenesses(one, other).min())


def scene_of(image: NDArray[np.uint8]) -> Scene:
    """The look of a frame ``(H, W, 3)`` uint8 RGB."""
    step = max(1, min(image.shape[:2]) // 192)  # of a large frame every k-th pixel is enough, and four times as fast
    small = cv2.resize(image[::step, ::step], (64, 64), interpolation=cv2.INTER_AREA)
    thumb = cv2.resize(small, (_THUMB, _THUMB), interpolation=cv2.INTER_AREA).astype(np.float32)
    hsv = cv2.cvtColor(small, cv2.COLOR_RGB2HSV)
    counts = cv2.calcHist([hsv], [0, 1, 2], None, [8, 4, 4], [0, 180, 0, 256, 0, 256]).ravel()
    return Scene(thumb, (counts / counts.sum()).astype(np.float32))


def may_be_cut(one: Scene, other: Scene) -> bool:
    """True if there may be a cut between two frames: both their structure and their colours differ.

    A person who walks through a still picture changes the first alone, a slow pan neither much. Fast motion of the
    camera may be taken for a cut; faces then have to look alike to be one person's, no more.
    """
    a, b = (scene.structure - scene.structure.mean() for scene in (one, other))
    alike = float((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum() + 1.0))
    shared = float(np.minimum(one.colours, other.colours).sum())
    return 1 - alike > _CUT_STRUCTURE and 1 - shared > _CUT_COLOURS


def _aligned(
    image: NDArray[np.uint8], box: NDArray[np.float32], landmarks: NDArray[np.float32]
) -> NDArray[np.uint8] | None:
    """The face upright at ``(64, 64, 3)``: the similarity that takes its landmarks closest to their places."""
    if not np.isfinite(landmarks).all():
        x0, y0, x1, y1 = (float(value) for value in box)
        side = 1.3 * max(x1 - x0, y1 - y0)
        if side <= 0:
            return None
        scale = _SIDE / side
        turn = np.array([[scale, 0.0], [0.0, scale]])
        start, end = np.array([(x0 + x1) / 2, (y0 + y1) / 2]), np.full(2, _SIDE / 2)
    else:
        points, places = landmarks.astype(np.float64), _PLACES.astype(np.float64) * _SIDE
        start, end = points.mean(axis=0), places.mean(axis=0)
        # As complex numbers, a rotation with scaling is one factor, found by least squares (Umeyama 1991).
        moved, wanted = (points - start) @ [1, 1j], (places - end) @ [1, 1j]
        spread = float((np.abs(moved) ** 2).sum())
        if spread <= 0:
            return None
        factor = complex((np.conj(moved) * wanted).sum() / spread)
        turn = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    scale = float(np.hypot(turn[0, 0], turn[1, 0]))
    if scale <= 0:
        return None
    reach = 0.5 * _SIDE * np.sqrt(2) / scale + 2  # of what the square shows, whichever way it is turned
    reach += float(np.abs(end - _SIDE / 2).max()) / scale
    left, top = np.maximum(0, np.floor(start - reach)).astype(int).tolist()
    right, bottom = np.ceil(start + reach).astype(int).tolist()
    part = image[top:bottom, left:right]
    if part.size == 0:
        return None
    start = start - (left, top)
    step = min(round(1 / scale), *part.shape[:2])
    if step > 1:  # warpAffine takes single pixels and would alias; whole steps are averaged fastest
        part = part[: part.shape[0] // step * step, : part.shape[1] // step * step]
        size = (part.shape[1] // step, part.shape[0] // step)
        part = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), np.uint8)
        turn, start = turn * step, (start - (step - 1) / 2) / step
    matrix = np.column_stack([turn, end - turn @ start])
    return np.asarray(
        cv2.warpAffine(part, matrix, (_SIDE, _SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8
    )


def _squares(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = (vectors**2).sum(axis=1)
    return found


def _gradients(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    across, down = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    length, angle = cv2.cartToPolar(across, down)
    strength = np.asarray(length, np.float32) / np.float32(8)  # Sobel's kernel sums to 8
    turned = np.asarray(angle, np.float32) * np.float32(_BINS / (2 * np.pi))
    low = turned.astype(np.int64)
    upper = strength * (turned - low)
    where = np.concatenate([(_PLACE + low % _BINS).ravel(), (_PLACE + (low + 1) % _BINS).ravel()])
    found = np.bincount(where, np.concatenate([(strength - upper).ravel(), upper.ravel()]), _CELLS * _CELLS * _BINS)
    cube = (found / (_SIDE // _CELLS) ** 2).reshape(_CELLS, _CELLS, _BINS).astype(np.float32)
    # Light differs over a face, so each cell is judged by its neighbourhood.
    around = np.sqrt(cv2.blur((cube**2).sum(axis=2), (3, 3)) + (_NOISE / 8) ** 2)
    flat: NDArray[np.float32] = np.minimum(cube / around[:, :, None], 0.6).ravel()
    return flat / np.float32(max(float(np.linalg.norm(flat)), 1.0))
