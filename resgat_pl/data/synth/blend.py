"""Regions of a face to alter, and soft, irregular masks that move with the face."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from resgat_pl.data.synth.clip import Affine


class Region(NamedTuple):
    """A part of the face in face units (the face is 2 wide, the origin between the eyes' middle and the nose)."""

    x: float
    y: float
    width: float
    height: float


REGIONS: Final[dict[str, Region]] = {
    "left_eye": Region(-0.42, -0.06, 0.34, 0.27),
    "right_eye": Region(0.42, -0.06, 0.34, 0.27),
    "nose": Region(0.0, 0.3, 0.3, 0.38),
    "mouth": Region(0.0, 0.87, 0.44, 0.28),
    "left_cheek": Region(-0.6, 0.45, 0.32, 0.34),
    "right_cheek": Region(0.6, 0.45, 0.32, 0.34),
    "forehead": Region(0.0, -0.62, 0.45, 0.28),
    "chin": Region(0.0, 1.22, 0.38, 0.27),
    "left_ear": Region(-0.97, 0.1, 0.28, 0.36),
    "right_ear": Region(0.97, 0.1, 0.28, 0.36),
    "whole_face": Region(0.0, 0.3, 0.86, 1.1),
}
"""Centre and half axes of each region; left and right are the image's. Every region but the last spans 0.27 to 0.45 of
the face's width, and the centres are spread over the face, so that position alone says little of what was altered."""

_LANDMARKS = np.array([[-0.42, -0.07], [0.42, -0.07], [0.0, 0.44], [-0.35, 0.86], [0.35, 0.86]])
"""The five landmarks of an average face in face units."""
_LEFT, _TOP, _SPAN, _TEXELS = -1.7, -1.4, 3.4, 192


def pose(landmarks: NDArray[np.float32]) -> Affine:
    """Return the ``(2, 3)`` map from face units to pixels that fits five landmarks ``(5, 2)`` best."""
    source = np.hstack([_LANDMARKS, np.ones((5, 1))])
    return np.asarray(np.linalg.lstsq(source, landmarks.astype(np.float64), rcond=None)[0].T)


@dataclass(frozen=True, slots=True)
class SoftMask:
    """A soft mask fixed to the face.

    Attributes:
        region: Where it lies, after jitter.
        texture: ``(192, 192)`` float32 in [0, 1], the mask in face units; exactly 0 outside its outline.
    """

    region: Region
    texture: NDArray[np.float32]

    @staticmethod
    def draw(rng: np.random.Generator, name: str, extent: float = 1.0) -> SoftMask:
        """Draw a mask over a region of ``REGIONS``: jittered, tilted, with an irregular outline and a feathered rim.

        ``extent`` multiplies the region's axes; the whole face stays as it is.
        """
        x, y, width, height = REGIONS[name]
        dx, dy = rng.uniform(-0.06, 0.06, 2)
        scale_x, scale_y = rng.uniform(0.88, 1.08, 2)
        scale = 1.0 if name == "whole_face" else extent
        region = Region(x + dx, y + dy, width * scale_x * scale, height * scale_y * scale)
        steps = (np.arange(_TEXELS) + 0.5) * (_SPAN / _TEXELS)
        across, along = steps[None, :] + _LEFT - region.x, steps[:, None] + _TOP - region.y
        tilt = rng.uniform(-0.25, 0.25)
        u = (across * np.cos(tilt) + along * np.sin(tilt)) / region.width
        v = (along * np.cos(tilt) - across * np.sin(tilt)) / region.height
        angle = np.arctan2(v, u)
        outline = np.ones_like(angle)
        for waves in range(2, 7):
            outline += rng.normal(0, 0.09 / np.sqrt(waves)) * np.cos(waves * angle + rng.uniform(0, 2 * np.pi))
        level = np.hypot(u, v) / outline
        feather = rng.uniform(0.25, 0.5)
        rise = np.clip((1 - level) / feather, 0, 1)
        return SoftMask(region, np.asarray(rise * rise * (3 - 2 * rise), np.float32))

    def place(self, face: Affine, size: int) -> NDArray[np.float32]:
        """Return the mask ``(S, S)`` float32 in [0, 1] for a face whose pose is ``face``."""
        texel = _SPAN / _TEXELS
        # Pixel centres lie on whole numbers in both images.
        to_units = np.array([[texel, 0, _LEFT + texel / 2], [0, texel, _TOP + texel / 2], [0, 0, 1]])
        return np.asarray(cv2.warpAffine(self.texture, face @ to_units, (size, size)), np.float32)


def blend(genuine: NDArray[np.uint8], altered: NDArray[np.uint8], mask: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return ``altered`` over ``genuine``, both ``(H, W, 3)``, where ``mask`` ``(H, W)`` says; equal where it is 0."""
    weight = mask[..., None]
    mixed = genuine + weight * (altered.astype(np.float32) - genuine)
    return np.asarray(np.clip(mixed + 0.5, 0, 255), np.uint8)
