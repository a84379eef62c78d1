"""The common part of drawn and portrait clips: how heads move, what the camera does to a frame, the finished clip."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

BOX_HEIGHT = 2.3
"""Height of a detector's box around a drawn face, in face units."""


class Clip(NamedTuple):
    """A genuine clip before encoding.

    Attributes:
        frames: ``(T, S, S, 3)`` uint8, RGB.
        landmarks: ``(F, T, 5, 2)`` float32, pixels (x, y) of each of the F faces: image-left eye, image-right eye,
            nose tip, image-left and image-right corner of the mouth.
    """

    frames: NDArray[np.uint8]
    landmarks: NDArray[np.float32]


class Place(NamedTuple):
    """The place of a face in the frame: its middle, and the height of its box, as shares of the frame's side."""

    x: float
    y: float
    height: float


def generator(seed: int, *names: str) -> np.random.Generator:
    """Return a separate generator for everything that has a name, so that no order of work can change a byte."""
    digest = hashlib.sha256("\x00".join([str(seed), *names]).encode()).digest()
    return np.random.default_rng(np.random.SeedSequence(int.from_bytes(digest[:16], "big")))


def wander(rng: np.random.Generator, frames: int, amplitude: float) -> NDArray[np.float64]:
    """Return ``(T,)``: a smooth path around 0 that reaches about ``amplitude``, at 25 frames a second."""
    time = np.arange(frames)
    path = np.zeros(frames)
    for weight in (0.6, 0.3, 0.1):
        # Periods of 1.6 to 4 s, 0.8 to 2 s and 0.3 to 0.7 s: a head drifts more than it trembles.
        period = rng.uniform(24, 60) * weight / 0.6
        path += weight * np.sin(2 * np.pi * time / period + rng.uniform(0, 2 * np.pi))
    return amplitude * path


def places(rng: np.random.Generator, faces: int) -> list[Place]:
    """Draw where one face, or two side by side, stand in the frame."""
    if faces == 1:
        return [Place(rng.uniform(0.46, 0.54), rng.uniform(0.43, 0.49), rng.uniform(0.47, 0.57))]
    height = rng.uniform(0.4, 0.44)
    return [Place(middle + rng.uniform(-0.015, 0.015), rng.uniform(0.44, 0.52), height) for middle in (0.26, 0.74)]


@dataclass(frozen=True, slots=True)
class Motion:
    """Smooth motion of one head, or of a camera before a portrait.

    Attributes:
        x: ``(T,)`` float64, shift to the right as a share of the frame's side.
        y: ``(T,)`` float64, shift downwards, likewise.
        roll: ``(T,)`` float64, clockwise rotation in radians.
        zoom: ``(T,)`` float64, factor of the size.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    roll: NDArray[np.float64]
    zoom: NDArray[np.float64]

    @staticmethod
    def draw(rng: np.random.Generator, frames: int, calm: float = 1.0) -> Motion:
        """Draw a motion of ``frames`` frames; ``calm`` divides its extent."""
        return Motion(
            x=wander(rng, frames, rng.uniform(0.01, 0.035) / calm),
            y=wander(rng, frames, rng.uniform(0.008, 0.025) / calm),
            roll=rng.normal(0, 0.04) + wander(rng, frames, rng.uniform(0.02, 0.08) / calm),
            zoom=1 + wander(rng, frames, rng.uniform(0.01, 0.03) / calm),
        )

    def matrix(self, frame: int, place: Place, scale: float, middle: tuple[float, float], size: int) -> Affine:
        """Return ``(2, 3)`` float64 that maps coordinates of the face to pixels of a frame.

        Args:
            frame: Number of the frame.
            place: Where the face stands.
            scale: Pixels per unit of the face's coordinates, before zooming.
            middle: The point of the face's coordinates that goes to ``place``.
            size: Side of the frame in pixels.
        """
        factor = scale * self.zoom[frame]
        cos, sin = factor * np.cos(self.roll[frame]), factor * np.sin(self.roll[frame])
        turn = np.array([[cos, -sin], [sin, cos]])
        target = np.array([place.x + self.x[frame], place.y + self.y[frame]]) * size
        return np.hstack([turn, (target - turn @ np.asarray(middle))[:, None]])


Affine = NDArray[np.float64]
"""``(2, 3)`` float64: linear part and shift."""


@dataclass(frozen=True, slots=True)
class Camera:
    """The effect of a camera on the light: softness, colour and noise differ from clip to clip, never by label.

    Attributes:
        blur: Standard deviation of the lens blur in pixels.
        gains: ``(3,)`` float64, exposure times white balance.
        noise: Standard deviation of the sensor noise on mid grey, of 255.
    """

    blur: float
    gains: NDArray[np.float64]
    noise: float

    @staticmethod
    def draw(rng: np.random.Generator) -> Camera:
        """Draw a camera."""
        gains = rng.uniform(0.88, 1.08) * rng.uniform(0.96, 1.04, 3)
        return Camera(blur=rng.uniform(0.0, 0.5), gains=gains, noise=rng.uniform(1.7, 3.5))

    def shoot(self, picture: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Return ``(H, W, 3)`` uint8 of a picture of the same shape, float32 in [0, 255]."""
        if self.blur > 0.25:
            picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), self.blur), np.float32)
        picture = picture * self.gains.astype(np.float32)
        # Demosaicing makes noise of neighbouring pixels alike; shot noise grows with the root of the light.
        grain = cv2.GaussianBlur(rng.standard_normal(picture.shape, np.float32), (3, 3), 0.5)
        level = np.float32(self.noise) * (0.5 + np.sqrt(np.clip(picture, 0, 255) / np.float32(512)))
        return np.asarray(np.clip(picture + grain * level * np.float32(1.45) + np.float32(0.5), 0, 255), np.uint8)


def transform(matrix: Affine, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Apply an affine map to ``(N, 2)`` points."""
    return points @ matrix[:, :2].T + matrix[:, 2]
