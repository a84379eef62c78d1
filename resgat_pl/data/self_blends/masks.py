"""Shapes of self-blend masks, laid over a face by its five landmarks: deformed, feathered, partly transparent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from resgat_pl.data.synth.blend import pose

Mask = NDArray[np.float32]
"""``(H, W)`` float32 in [0, 1]: how much of each pixel is taken from the source."""

OPACITIES: Final = (0.5, 0.75, 1.0, 1.0, 1.0)
"""Opacities that are drawn. Li et al., "Face X-ray" (CVPR 2020), and Shiohara & Yamasaki, "Detecting Deepfakes with
Self-Blended Images" (CVPR 2022), blend in part as well."""

_JAW: Final = np.array(
    [[-0.93, -0.1], [-0.9, 0.35], [-0.78, 0.78], [-0.5, 1.18], [-0.2, 1.38], [0.2, 1.38], [0.5, 1.18], [0.78, 0.78],
     [0.9, 0.35], [0.93, -0.1]]
)  # fmt: skip
"""Outline of the lower face of an average face, in face units (``synth.blend``), from temple to temple."""
_BROWS: Final = np.array([[0.78, -0.36], [0.4, -0.46], [0.0, -0.4], [-0.4, -0.46], [-0.78, -0.36]])
_FOREHEAD: Final = np.array([[0.84, -0.45], [0.6, -0.85], [0.25, -1.05], [-0.25, -1.05], [-0.6, -0.85], [-0.84, -0.45]])
_PARTS: Final = {
    "left eye": (-0.42, -0.1, 0.32, 0.24),
    "right eye": (0.42, -0.1, 0.32, 0.24),
    "nose": (0.0, 0.26, 0.28, 0.42),
    "mouth": (0.0, 0.83, 0.48, 0.27),
    "left cheek": (-0.58, 0.48, 0.32, 0.36),
    "right cheek": (0.58, 0.48, 0.32, 0.36),
    "left brow": (-0.42, -0.36, 0.36, 0.16),
    "right brow": (0.42, -0.36, 0.36, 0.16),
    "forehead": (0.0, -0.66, 0.55, 0.3),
    "chin": (0.0, 1.2, 0.42, 0.26),
}
"""Centre and half axes in face units; left and right are the image's."""

Points = NDArray[np.float64]


def draw_mask(rng: np.random.Generator, shape: str, landmarks: NDArray[np.float32], size: int) -> Mask:
    """Draw a mask of one of ``SHAPES``.

    Args:
        rng: Source of everything that varies.
        shape: Name of the shape.
        landmarks: ``(5, 2)`` float32, pixels.
        size: Side of the mask.

    Returns:
        ``(size, size)`` float32 in [0, 1]; 0 everywhere if the face lies outside.
    """
    face = pose(landmarks)
    inside = np.zeros((size, size), np.uint8)
    for outline in SHAPES[shape](rng):
        corners = outline @ face[:, :2].T + face[:, 2]
        cv2.fillPoly(inside, [np.rint(corners * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    unit = float(np.sqrt(abs(np.linalg.det(face[:, :2]))))  # px of a face unit
    mask = _deformed(rng, np.asarray(inside, np.float32) / np.float32(255), unit)
    # The softest rim is a sixth of the face wide; a narrow part keeps a core.
    reach = 0.5 * float(np.sqrt(mask.sum() / np.pi))
    sigma = min(unit * float(np.exp(rng.uniform(np.log(0.01), np.log(0.16)))), reach)
    if sigma > 0.3:
        mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), sigma), np.float32)
        mask /= max(float(mask.max()), 1e-6)
    if rng.random() < 0.3:  # the rim on the inside alone, as erosion before the blur gives it
        mask = np.clip(2 * mask - 1, 0, 1)
    return mask * np.float32(rng.choice(OPACITIES))


def _whole(rng: np.random.Generator) -> list[Points]:
    """The face down from the brows or from the hair, as swaps replace it."""
    top = _BROWS if rng.random() < 0.5 else _FOREHEAD
    scale = rng.uniform([0.8, 0.85], [1.06, 1.06])
    middle = np.array([0.0, 0.3])
    return [(np.concatenate([_JAW, top]) - middle) * scale + middle + rng.normal(0, 0.03, 2)]


def _lower(rng: np.random.Generator) -> list[Points]:
    """The lower half, as lip-sync replaces it."""
    height = rng.uniform(0.2, 0.6)
    jaw = _JAW[_JAW[:, 1] > height] * rng.uniform([0.75, 0.9], [1.02, 1.04])
    width = rng.uniform(0.55, 0.95)
    return [np.concatenate([jaw, [[width, height], [0.2, height - 0.05], [-0.2, height - 0.05], [-width, height]]])]


def _eyes(rng: np.random.Generator) -> list[Points]:
    """Both eyes: a band, or two ellipses."""
    if rng.random() < 0.5:
        return [_ellipse(rng, 0, -0.1, rng.uniform(0.75, 0.95), rng.uniform(0.2, 0.36), tilt=0.05)]
    scale = rng.uniform(0.75, 1.2)
    return [_ellipse(rng, x, -0.1, 0.32 * scale, 0.24 * scale, tilt=0.2) for x in (-0.42, 0.42)]


def _part(rng: np.random.Generator) -> list[Points]:
    """A single part; now and then two."""
    names = rng.choice(list(_PARTS), 1 if rng.random() < 0.8 else 2, replace=False)
    outlines = []
    for name in names:
        x, y, width, height = _PARTS[str(name)]
        width, height = (width, height) * rng.uniform(0.7, 1.3, 2)
        outlines.append(_ellipse(rng, x + rng.normal(0, 0.05), y + rng.normal(0, 0.05), width, height, tilt=0.3))
    return outlines


def _blob(rng: np.random.Generator) -> list[Points]:
    """Something of any form anywhere on the face or at its edge."""
    angle, distance = rng.uniform(0, 2 * np.pi), np.sqrt(rng.random())
    x, y = 0.85 * distance * np.cos(angle), 0.25 + 1.15 * distance * np.sin(angle)
    radius = float(np.exp(rng.uniform(np.log(0.15), np.log(0.6))))
    return [_ellipse(rng, x, y, radius * rng.uniform(0.7, 1.4), radius * rng.uniform(0.7, 1.4), tilt=3.14, ragged=0.2)]


def _ellipse(
    rng: np.random.Generator, x: float, y: float, width: float, height: float, tilt: float, ragged: float = 0.08
) -> Points:
    """Outline ``(64, 2)`` of an ellipse with waves in it."""
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    radius = np.ones_like(angle)
    for waves in range(2, 6):
        radius += rng.normal(0, ragged / np.sqrt(waves)) * np.cos(waves * angle + rng.uniform(0, 2 * np.pi))
    turn = rng.uniform(-tilt, tilt)
    u, v = width * radius * np.cos(angle), height * radius * np.sin(angle)
    return np.stack([x + u * np.cos(turn) - v * np.sin(turn), y + u * np.sin(turn) + v * np.cos(turn)], axis=1)


SHAPES: Final[dict[str, Callable[[np.random.Generator], list[Points]]]] = {
    "whole": _whole,
    "lower": _lower,
    "eyes": _eyes,
    "part": _part,
    "blob": _blob,
}
"""Outlines by name, in face units."""


def wave(rng: np.random.Generator, size: int, cells: int) -> NDArray[np.float32]:
    """A smooth random field ``(size, size)`` float32 of standard deviation about 1, with so many waves across."""
    coarse = rng.standard_normal((cells + 3, cells + 3), np.float32)
    return np.asarray(cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC), np.float32)


def displaced(picture: NDArray[Any], x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[Any]:
    """Each pixel from so many pixels to the right and below: ``(H, W[, 3])``, shifts ``(H, W)`` float32."""
    rows, columns = np.arange(len(x), dtype=np.float32)[:, None], np.arange(x.shape[1], dtype=np.float32)[None, :]
    return np.asarray(cv2.remap(picture, columns + x, rows + y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101))


def _deformed(rng: np.random.Generator, mask: Mask, unit: float) -> Mask:
    size = len(mask)
    strength = rng.uniform(0.01, 0.07) * unit
    cells = int(rng.integers(4, 9))
    return np.asarray(displaced(mask, strength * wave(rng, size, cells), strength * wave(rng, size, cells)), np.float32)
