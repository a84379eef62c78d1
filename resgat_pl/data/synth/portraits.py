"""Clips made from portraits: a still picture before a moving camera."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from resgat_pl.core.errors import ConfigError
from resgat_pl.data.faces.detection import MTCNN
from resgat_pl.data.synth.clip import Affine, Camera, Clip, Motion, Place, places, transform

_log = logging.getLogger(__name__)

_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
_LEAST_FACE = 64
"""A face lower than this (px) would be enlarged, and enlarging is one of the traces that fakes must have alone."""
_LETTERBOX = 0.1
"""Height of the black bars over and under two portraits side by side, as a share of the frame's."""


class Portrait(NamedTuple):
    """A picture of one person, and where the face is.

    Attributes:
        path: Image file.
        box: ``(4,)`` float32, x0, y0, x1, y1 in pixels.
        landmarks: ``(5, 2)`` float32, pixels.
    """

    path: Path
    box: NDArray[np.float32]
    landmarks: NDArray[np.float32]


def list_images(folder: Path) -> list[Path]:
    """Return the images of a folder, sorted by name.

    Raises:
        ConfigError: The folder is missing or has no image in it.
    """
    if not folder.is_dir():
        raise ConfigError(
            f"faces: {folder} is not a folder. Name a folder of portraits, one person per image, or leave it out."
        )
    images = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES)
    if not images:
        raise ConfigError(
            f"faces: no image ({', '.join(sorted(_SUFFIXES))}) in {folder}. Put portraits there, one person per image."
        )
    return images


def fingerprint(images: Iterable[Path]) -> str:
    """Return a digest of the images' names and bytes."""
    digest = hashlib.sha256()
    for path in images:
        digest.update(f"{path.name}\x00".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def find_face(path: Path) -> Portrait | None:
    """Return the portrait with its most certain face, or None (and a line in the log) if there is none to use."""
    picture = _read(path)
    if picture is None:
        _log.warning("%s skipped: it cannot be read as an image", path)
        return None
    found = _detector().detect(picture)
    if not found:
        _log.warning("%s skipped: no face found", path)
        return None
    box = found[0].box
    if box[3] - box[1] < _LEAST_FACE:
        _log.warning("%s skipped: its face is %.0f px high, at least %d needed", path, box[3] - box[1], _LEAST_FACE)
        return None
    return Portrait(path, box, found[0].landmarks)


def film_clip(portraits: Sequence[Portrait], rng: np.random.Generator, frames: int, size: int) -> Clip:
    """Film one portrait with a moving camera, or two side by side, each in its half of the frame.

    Args:
        portraits: One or two portraits.
        rng: Source of the camera's motion and noise.
        frames: Number of frames.
        size: Side of the square frame in pixels.
    """
    camera = Camera.draw(rng)
    shots = [
        _Shot(portrait, place, np.random.default_rng(rng.integers(2**63)), frames, size, 1 / len(portraits))
        for portrait, place in zip(portraits, places(rng, len(portraits)), strict=True)
    ]
    pictures = np.empty((frames, size, size, 3), np.uint8)
    landmarks = np.empty((len(shots), frames, 5, 2), np.float32)
    for frame in range(frames):
        views = []
        for number, shot in enumerate(shots):
            view, landmarks[number, frame] = shot.render(frame)
            views.append(view)
        if len(views) == 2:
            views[0][:, size // 2 :] = views[1][:, size // 2 :]
            views[0][: round(_LETTERBOX * size)] = views[0][round((1 - _LETTERBOX) * size) :] = 0
        pictures[frame] = camera.shoot(views[0].astype(np.float32), rng)
    return Clip(pictures, landmarks)


class _Shot:
    """A portrait before a moving camera."""

    def __init__(
        self, portrait: Portrait, place: Place, rng: np.random.Generator, frames: int, size: int, width: float
    ) -> None:
        picture = _read(portrait.path)
        if picture is None:
            raise ConfigError(
                f"{portrait.path} could be read a moment ago but no longer: leave the portraits in place."
            )
        x0, y0, x1, y1 = (float(v) for v in portrait.box)
        tile = np.array([width, 1.0 if width == 1 else 1 - 2 * _LETTERBOX])
        # What lies beyond the portrait is shown mirrored: come as close as it takes to see little of it.
        least = 1.06 * (y1 - y0) * float((tile / picture.shape[1::-1]).max())
        height = min(max(place.height, least), 0.6)
        scale = height * size / (y1 - y0)
        # Shrink in one good step to at most twice the final scale: the moving camera only interpolates.
        shrink = min(1.0, 1.6 * scale)
        self._picture = cv2.resize(picture, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        self._landmarks = portrait.landmarks.astype(np.float64) * shrink
        self._size, self._scale = size, scale / shrink
        face = np.array([x0 + x1, y0 + y1]) / 2 * shrink
        middle = np.array([0.5 if width == 1 else np.floor(place.x * 2) / 2 + 0.25, 0.5])
        seen = face + (middle - (place.x, place.y)) * size / self._scale
        reach = tile * size / self._scale / 2
        extent = np.array(self._picture.shape[1::-1])
        seen = np.where(2 * reach < extent, np.clip(seen, reach, extent - reach), extent / 2)
        self._place = Place(float(middle[0]), float(middle[1]), height)
        self._seen = (float(seen[0]), float(seen[1]))
        # The portrait brings its own roll.
        self._motion = Motion.draw(rng, frames, calm=1.5)

    def render(self, frame: int) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        """Return ``(S, S, 3)`` uint8 and the landmarks ``(5, 2)`` in pixels."""
        matrix: Affine = self._motion.matrix(frame, self._place, self._scale, self._seen, self._size)
        view = cv2.warpAffine(
            self._picture, matrix, (self._size, self._size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
        )
        return np.asarray(view, np.uint8), transform(matrix, self._landmarks)


def _read(path: Path) -> NDArray[np.uint8] | None:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    return None if picture is None else np.ascontiguousarray(picture[..., ::-1])


@cache
def _detector() -> MTCNN:
    return MTCNN()
