"""Changes of both partners of a pair after the forgery: light, blur, size, noise, compression, mirroring."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Final, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from resgat_pl.data.media.intra_frame import through_h264
from resgat_pl.data.self_blends.edits import Image, jpeg, to_bytes
from resgat_pl.data.self_blends.masks import Mask

Source = Literal["photo", "video"]
"""What genuine crops come from. ``photo``: clean pictures, which are compressed as videos are, or as pictures.
``video``: they went through a codec before, so less is done to them."""

_MIRRORED: Final = [1, 0, 2, 4, 3]
"""Order of the landmarks of a mirrored face: the eye on the left stays the first."""


class _Strengths(NamedTuple):
    resized: float
    blurred: float
    noisy: float
    coded: float
    video: float


_STRENGTHS: Final = {
    "photo": _Strengths(resized=0.6, blurred=0.25, noisy=0.25, coded=0.85, video=0.6),
    "video": _Strengths(resized=0.4, blurred=0.15, noisy=0.15, coded=0.5, video=0.5),
}
"""Probabilities; ``video`` is that of H.264 instead of JPEG where something is coded."""


class Camera:
    """One camera: the same for both partners, to the grain of the noise.

    Args:
        rng: Source of its parameters.
        source: What genuine crops come from.
        side: Of the crops, in px.
    """

    def __init__(self, rng: np.random.Generator, source: Source, side: int) -> None:
        odds = _STRENGTHS[source]
        chance = rng.random(6)
        self._side = side
        self._mirror = chance[0] < 0.5
        # A window of the crop: faces of tests are cut otherwise, too
        zoom = rng.uniform(1.0, 1.18)
        slack = (1 - 1 / zoom) * side
        self._window = (zoom, *(rng.uniform(0, slack, 2)), rng.uniform(-6, 6) if chance[1] < 0.5 else 0.0)
        contrast, brightness = rng.uniform([0.85, -14], [1.15, 14])
        levels = np.clip((np.arange(256) - 128) * contrast + 128 + brightness + 0.5, 0, 255)
        self._curve = levels.astype(np.uint8)
        self._scale = float(rng.uniform(0.35, 0.95)) if chance[2] < odds.resized else 1.0
        self._blur = float(rng.uniform(0.35, 1.3)) if chance[3] < odds.blurred else 0.0
        self._noise = float(rng.uniform(1.0, 6.0)) if chance[4] < odds.noisy else 0.0
        self._seed = int(rng.integers(2**31))
        is_coded, is_video = rng.random(2) < (odds.coded, odds.video)
        self._crf = int(rng.integers(18, 36)) if is_coded and is_video else 0
        self._quality = float(rng.uniform(35, 96)) if is_coded and not is_video else 0.0

    def shoot(self, image: Image) -> Image:
        """A crop ``(S, S, 3)`` uint8 after the camera."""
        image = np.asarray(cv2.LUT(self._turned(image), self._curve), np.uint8)
        if self._blur:
            image = np.asarray(cv2.GaussianBlur(image, (0, 0), self._blur), np.uint8)
        if self._scale < 1:
            small = 2 * max(8, round(self._side * self._scale / 2))
            image = np.asarray(cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA), np.uint8)
        if self._noise:  # of the sensor, so that compression takes some of it away
            grain = np.random.default_rng(self._seed).standard_normal(image.shape, np.float32)
            image = to_bytes(image + grain * np.float32(self._noise))
        if self._crf:
            image = through_h264(image, self._crf, preset="veryfast", tune="zerolatency")
        if self._quality:
            image = jpeg(image, self._quality)
        if self._scale < 1:
            image = np.asarray(cv2.resize(image, (self._side,) * 2, interpolation=cv2.INTER_LINEAR), np.uint8)
        return image

    def follow(self, mask: Mask) -> Mask:
        """A mask ``(S, S)`` moved as the image is, and otherwise as it was."""
        return np.asarray(self._turned(mask), np.float32)

    def move(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Landmarks ``(5, 2)`` in px moved as the image is; mirrored, left and right ones change places."""
        seen = (points @ self._matrix[:, :2].T + self._matrix[:, 2]).astype(np.float32)
        return seen[_MIRRORED] if self._mirror else seen

    @cached_property
    def _matrix(self) -> NDArray[np.float64]:
        zoom, left, top, angle = self._window
        matrix = cv2.getRotationMatrix2D((self._side / 2, self._side / 2), angle, 1.0)
        matrix[:, 2] -= (left, top)
        matrix *= zoom
        if self._mirror:
            matrix[0] *= -1
            matrix[0, 2] += self._side - 1
        return np.asarray(matrix, np.float64)

    def _turned(self, image: NDArray[Any]) -> NDArray[Any]:
        size = (self._side, self._side)
        border = cv2.BORDER_REFLECT_101 if image.ndim == 3 else cv2.BORDER_CONSTANT
        return np.asarray(cv2.warpAffine(image, self._matrix, size, flags=cv2.INTER_LINEAR, borderMode=border))
