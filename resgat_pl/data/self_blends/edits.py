"""Changes of a whole crop that make the source of a self-blend differ from its target, and those of a camera."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""``(H, W, 3)`` uint8, RGB."""
Edit = Callable[[np.random.Generator, Image], Image]


def to_bytes(picture: NDArray[np.generic]) -> Image:
    """Round and clip to uint8."""
    return np.asarray(cv2.convertScaleAbs(np.maximum(picture, 0)), np.uint8)


def _colour(rng: np.random.Generator, image: Image) -> Image:
    """Shift the channels, by as much everywhere or in proportion."""
    shift = rng.uniform(-20, 20, 3)
    if rng.random() < 0.5:
        return _through(image, lambda level, channel: level + shift[channel])
    return _through(image, lambda level, channel: level * (1 + shift[channel] / 128))


def _hue(rng: np.random.Generator, image: Image) -> Image:
    """Shift hue, scale saturation and value."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    levels = np.arange(256, dtype=np.float64)
    hue = np.mod(levels + rng.uniform(-7, 7), 180)
    saturation, value = np.clip(levels[:, None] * rng.uniform([0.7, 0.8], [1.35, 1.2]), 0, 255).T
    table = np.rint(np.stack([hue, saturation, value], axis=1)).astype(np.uint8)
    return np.asarray(cv2.cvtColor(cv2.LUT(hsv, table[None]), cv2.COLOR_HSV2RGB), np.uint8)


def _tone(rng: np.random.Generator, image: Image) -> Image:
    """Change contrast, brightness and gamma."""
    contrast, brightness, gamma = rng.uniform([0.75, -18, 0.75], [1.25, 18, 1.35])

    def curve(level: NDArray[np.float64], _channel: int) -> NDArray[np.float64]:
        bright = np.clip(((level - 128) * contrast + 128 + brightness) / 255, 0, 1)
        return np.asarray(255 * bright**gamma, np.float64)

    return _through(image, curve)


def resampled(rng: np.random.Generator, image: Image, least: float = 0.2, most: float = 0.7) -> Image:
    """Shrink to a share of the side and enlarge again."""
    height, width = image.shape[:2]
    scale = rng.uniform(least, most)
    small = (max(2, round(width * scale)), max(2, round(height * scale)))
    enlarge = int(rng.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4, cv2.INTER_NEAREST], p=_ENLARGE))
    shrink = cv2.INTER_AREA if rng.random() < 0.7 else cv2.INTER_LINEAR
    shrunk = cv2.resize(image, small, interpolation=shrink)
    return np.asarray(cv2.resize(shrunk, (width, height), interpolation=enlarge), np.uint8)


_ENLARGE: Final = [0.4, 0.35, 0.2, 0.05]


def _sharpened(rng: np.random.Generator, image: Image) -> Image:
    """Unsharp masking."""
    amount, radius = rng.uniform([0.5, 0.8], [2.0, 2.5])
    return np.asarray(cv2.addWeighted(image, 1 + amount, cv2.GaussianBlur(image, (0, 0), radius), -amount, 0), np.uint8)


def blurred(rng: np.random.Generator, image: Image, most: float = 2.0) -> Image:
    """Gaussian blur of 0.4 to so many px."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, most)), np.uint8)


def jpeg(image: Image, quality: float) -> Image:
    """The image after coding as JPEG."""
    code = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, round(quality)])[1]
    return np.ascontiguousarray(np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), np.uint8)[..., ::-1])


def _compressed(rng: np.random.Generator, image: Image) -> Image:
    return jpeg(image, rng.uniform(20, 70))


def noisy(rng: np.random.Generator, image: Image, least: float = 2.0, most: float = 11.0) -> Image:
    """Gaussian noise, of single pixels or of grains two pixels wide, grey or coloured."""
    level = rng.uniform(least, most)
    height, width = image.shape[:2]
    is_grey = rng.random() < 0.3
    grain = rng.standard_normal((height, width, 1 if is_grey else 3), np.float32)
    if rng.random() < 0.5:
        grain = cv2.GaussianBlur(grain, (0, 0), 0.7).reshape(grain.shape) * np.float32(2.2)
    return to_bytes(image + grain * np.float32(level))


EDITS: Final[dict[str, Edit]] = {
    "colour": _colour,
    "hue": _hue,
    "tone": _tone,
    "resampled": resampled,
    "sharpened": _sharpened,
    "blurred": blurred,
    "compressed": _compressed,
    "noisy": noisy,
}
"""Edits of the source by name."""
_CHANCES: Final = np.array([0.16, 0.14, 0.16, 0.16, 0.1, 0.1, 0.08, 0.1])


def edited(rng: np.random.Generator, image: Image) -> Image:
    """The image after one to three of ``EDITS``, in any order, then moved a little."""
    for name in rng.choice(list(EDITS), int(rng.integers(1, 4)), replace=False, p=_CHANCES):
        image = EDITS[str(name)](rng, image)
    return moved(rng, image) if rng.random() < 0.8 else image


def moved(rng: np.random.Generator, image: Image, reach: float = 0.03) -> Image:
    """The image shifted by up to a share of its side, turned by 3° and scaled by 5 % at most."""
    side = image.shape[0]
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), rng.uniform(-3, 3), rng.uniform(0.95, 1.05))
    matrix[:, 2] += rng.uniform(-reach, reach, 2) * side
    return np.asarray(
        cv2.warpAffine(image, matrix, image.shape[1::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    )


def _through(image: Image, curve: Callable[[NDArray[np.float64], int], NDArray[np.float64]]) -> Image:
    """The image through a curve of grey levels for each channel: a table look-up, ten times as fast as arithmetic."""
    levels = np.arange(256, dtype=np.float64)
    table = np.stack([np.clip(curve(levels, channel) + 0.5, 0, 255) for channel in range(3)], axis=1)
    return np.asarray(cv2.LUT(image, table.astype(np.uint8)[None]), np.uint8)
