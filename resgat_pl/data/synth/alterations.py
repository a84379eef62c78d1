"""Six kinds of alteration, each leaving another trace. Type and strength are fixed for a clip."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from resgat_pl.data.synth.blend import Region
from resgat_pl.data.synth.clip import Affine

Patch = NDArray[np.uint8]


class View(NamedTuple):
    """Position of the face in the patch that is altered.

    Attributes:
        face: ``(2, 3)`` map from face units to pixels of the patch.
        region: The region that will be replaced, in face units.
        rng: Source of what differs from frame to frame.
    """

    face: Affine
    region: Region
    rng: np.random.Generator


Alteration = Callable[[Patch, View, float], Patch]
"""Alters a patch ``(H, W, 3)`` uint8, RGB; returns a new one of the same shape. The last argument is the strength, of
``STRENGTHS``."""

STRENGTHS: Final = (0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0)
"""From hardly visible to glaring. How strong an alteration must be to show depends on what it falls on."""


def _resampled(rng: np.random.Generator) -> Alteration:
    """Shrink and enlarge again, as a face generator of low resolution does."""
    factor = rng.uniform(0.8, 1.2)
    enlarge = int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_NEAREST], p=[0.4, 0.4, 0.2]))

    def alter(patch: Patch, _view: View, strength: float) -> Patch:
        height, width = patch.shape[:2]
        shrink = 1 / (1 + factor * strength)
        small = (max(2, round(width * shrink)), max(2, round(height * shrink)))
        return _bytes(
            cv2.resize(cv2.resize(patch, small, interpolation=cv2.INTER_AREA), (width, height), interpolation=enlarge)
        )

    return alter


def _warped(rng: np.random.Generator) -> Alteration:
    """Shift, stretch and twist, as a face fitted badly does."""
    direction = rng.uniform(0, 2 * np.pi)
    shift = rng.uniform(0.08, 0.14) * np.array([np.cos(direction), np.sin(direction)])
    twist = rng.choice([-1, 1]) * rng.uniform(0.06, 0.14)
    stretch = rng.choice([-1, 1], 2) * rng.uniform(0.06, 0.13, 2)

    def alter(patch: Patch, view: View, strength: float) -> Patch:
        region = view.region
        middle = np.array([region.x, region.y])
        cos, sin = np.cos(twist * strength), np.sin(twist * strength)
        linear = np.array([[cos, -sin], [sin, cos]]) * np.exp(stretch * strength)
        reach = min(region.width, region.height, 0.4) * strength
        # Each point p shows what was at middle + linear (p - middle) + shift: in face units, then in pixels.
        units = np.vstack([np.hstack([linear, (middle - linear @ middle + shift * reach)[:, None]]), [0, 0, 1]])
        face = np.vstack([view.face, [0, 0, 1]])
        pixels = (face @ units @ np.linalg.inv(face))[:2]
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        return _bytes(cv2.warpAffine(patch, pixels, patch.shape[1::-1], flags=flags, borderMode=cv2.BORDER_REFLECT_101))

    return alter


def _recoloured(rng: np.random.Generator) -> Alteration:
    """Shift brightness, contrast and colour, as a badly matched swap does."""
    tint = rng.normal(0, 1, 3)
    tint = (tint - tint.mean()) / max(float(np.abs(tint - tint.mean()).max()), 1e-6)
    sign = rng.choice([-1, 1])
    gains = sign * rng.uniform(0.03, 0.07) + 0.05 * tint
    offset = rng.uniform(2, 4) * (sign + 0.6 * tint)
    contrast = rng.uniform(-0.1, 0.1)

    def alter(patch: Patch, _view: View, strength: float) -> Patch:
        picture = patch.astype(np.float32)
        middle = picture.mean(axis=(0, 1))
        picture = (picture - middle) * np.float32(1 + contrast * strength) + middle
        return _bytes(picture * np.exp(gains * strength).astype(np.float32) + (offset * strength).astype(np.float32))

    return alter


def _recompressed(rng: np.random.Generator) -> Alteration:
    """Compress as JPEG, twice on shifted block grids: blocks where the video's own compression leaves none."""
    qualities = rng.uniform(18, 26, 2)

    def alter(patch: Patch, _view: View, strength: float) -> Patch:
        patch = patch.copy()
        for shift, quality in zip((0, 3), qualities, strict=True):
            inner = np.ascontiguousarray(patch[shift:, shift:, ::-1])
            code = cv2.imencode(".jpg", inner, [cv2.IMWRITE_JPEG_QUALITY, max(6, round(quality / strength))])[1]
            patch[shift:, shift:] = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR))[..., ::-1]
        return patch

    return alter


def _sharpened(rng: np.random.Generator) -> Alteration:
    """Sharpen by unsharp masking."""
    amount, radius = rng.uniform(1.2, 1.8), rng.uniform(1.0, 1.7)

    def alter(patch: Patch, _view: View, strength: float) -> Patch:
        picture = patch.astype(np.float32)
        return _bytes(picture + amount * strength * (picture - cv2.GaussianBlur(picture, (0, 0), radius)))

    return alter


def _renoised(rng: np.random.Generator) -> Alteration:
    """Add noise, or take away what noise and texture there is."""
    if rng.random() < 0.5:
        level, clump = rng.uniform(3.5, 5.5), rng.uniform(0.45, 0.8)

        def add(patch: Patch, view: View, strength: float) -> Patch:
            grain = cv2.GaussianBlur(view.rng.standard_normal(patch.shape, np.float32), (0, 0), clump)
            return _bytes(patch + grain * np.float32(level * strength / float(grain.std())))

        return add
    tolerance, reach = rng.uniform(18, 26), rng.uniform(2.0, 3.0)

    def smooth(patch: Patch, _view: View, strength: float) -> Patch:
        for _ in range(2):
            patch = _bytes(cv2.bilateralFilter(patch, 9, tolerance * strength, reach))
        return patch

    return smooth


KINDS: Final[dict[str, Callable[[np.random.Generator], Alteration]]] = {
    "resampled": _resampled,
    "warped": _warped,
    "recoloured": _recoloured,
    "recompressed": _recompressed,
    "sharpened": _sharpened,
    "renoised": _renoised,
}
"""Functions that draw an alteration of each kind. Some add detail and some remove it, so that no simple measure
(sharpness, the size of the file) separates fake from genuine."""


def _bytes(picture: NDArray[np.integer[Any] | np.floating[Any]]) -> Patch:
    return np.asarray(picture if picture.dtype == np.uint8 else np.clip(picture + 0.5, 0, 255), np.uint8)
