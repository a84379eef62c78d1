"""Clips of drawn people: they turn their heads, blink, look about and talk before a drawn background."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from resgat_pl.data.synth.canvas import LEFT, SPAN, TOP, Grid, Plane, ramp
from resgat_pl.data.synth.clip import BOX_HEIGHT, Camera, Clip, Motion, Place, places, transform, wander
from resgat_pl.data.synth.features import mouth_corners, paint_eye, paint_mouth
from resgat_pl.data.synth.head import Head
from resgat_pl.data.synth.looks import draw_looks

_SUPERSAMPLING = 1.7
_MIDDLE = (0.0, 0.25)
"""The middle of the detector's box in face units."""


def draw_clip(people: Sequence[np.random.Generator], rng: np.random.Generator, frames: int, size: int) -> Clip:
    """Draw a clip of one person, or of two side by side.

    Args:
        people: A source of looks for each person: the same source gives the same person in every clip.
        rng: Source of everything else.
        frames: Number of frames.
        size: Side of the square frame in pixels.
    """
    camera = Camera.draw(rng)
    actors = [
        _Actor(looks, place, np.random.default_rng(rng.integers(2**63)), frames, size)
        for looks, place in zip(people, places(rng, len(people)), strict=True)
    ]
    backdrop = _backdrop(rng, size)
    drift = np.stack([wander(rng, frames, 1.5), wander(rng, frames, 1.5)])
    pictures = np.empty((frames, size, size, 3), np.uint8)
    landmarks = np.empty((len(actors), frames, 5, 2), np.float32)
    for frame in range(frames):
        shift = np.array([[1, 0, -4 + drift[0, frame]], [0, 1, -4 + drift[1, frame]]])
        seen = cv2.warpAffine(backdrop, shift, (size, size), borderMode=cv2.BORDER_REPLICATE)
        picture = np.asarray(seen, np.float32)
        for number, actor in enumerate(actors):
            layer, landmarks[number, frame] = actor.render(frame)
            picture = picture * (1 - layer[..., 3:] / np.float32(255)) + layer[..., :3]
        pictures[frame] = camera.shoot(picture, rng)
    return Clip(pictures, landmarks)


class _Actor:
    """A drawn person in motion."""

    def __init__(
        self, looks: np.random.Generator, place: Place, rng: np.random.Generator, frames: int, size: int
    ) -> None:
        self._place, self._size = place, size
        self._scale = place.height * size / BOX_HEIGHT
        self._grid = Grid.board(round(SPAN * self._scale * _SUPERSAMPLING))
        self._looks = draw_looks(looks)
        head = Head(self._looks, self._grid, looks)
        self._base, self._front, self._depth = head.base, head.front, head.depth
        self._still = self._composed((slice(None), slice(None)), head.base.rgb)
        self._motion = Motion.draw(rng, frames)
        self._yaw = rng.normal(0, 0.06) + wander(rng, frames, rng.uniform(0.02, 0.09))
        self._pitch = rng.normal(0, 0.025) + wander(rng, frames, rng.uniform(0.01, 0.04))
        self._gaze = np.stack([wander(rng, frames, 0.035), wander(rng, frames, 0.015)]) + rng.normal(0, 0.01, (2, 1))
        self._aperture = _blinks(rng, frames)
        self._mouth = _talk(rng, frames)
        self._jaw = ramp(self._grid.y, self._looks.mouth_y + 0.12, self._looks.chin - 0.05) * ramp(
            self._grid.y, self._looks.chin + 0.7, self._looks.chin + 0.1
        )

    def render(self, frame: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Return ``(S, S, 4)`` float32 in [0, 255], colours multiplied by alpha, and ``(5, 2)`` landmarks in pixels."""
        board = self._paint(frame)
        matrix = self._motion.matrix(frame, self._place, self._scale, _MIDDLE, self._size)
        pixel = np.float32(self._grid.pixel)
        inverse = cv2.invertAffineTransform(matrix)
        steps = np.arange(self._size, dtype=np.float32)
        a = inverse.astype(np.float32)
        x = (a[0, 0] * steps[None, :] + a[0, 1] * steps[:, None] + a[0, 2] - np.float32(LEFT)) / pixel - np.float32(0.5)
        y = (a[1, 0] * steps[None, :] + a[1, 1] * steps[:, None] + a[1, 2] - np.float32(TOP)) / pixel - np.float32(0.5)
        # Turning a head moves each point of its surface by its depth.
        depth = cv2.remap(self._depth, x, y, cv2.INTER_LINEAR, None, cv2.BORDER_CONSTANT, 0)
        jaw = cv2.remap(self._jaw, np.zeros_like(y), y, cv2.INTER_LINEAR, None, cv2.BORDER_CONSTANT, 0)
        x -= depth * np.float32(self._yaw[frame] / pixel)
        y -= depth * np.float32(self._pitch[frame] / pixel) + jaw * np.float32(0.8 * self._mouth[frame] / pixel)
        layer = cv2.remap(board, x, y, cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE)
        return layer.astype(np.float32), transform(matrix, self._turned(self._points(frame), frame))

    def _paint(self, frame: int) -> NDArray[np.uint8]:
        looks, grid = self._looks, self._grid
        board = self._still.copy()
        gaze = (float(self._gaze[0, frame]), float(self._gaze[1, frame]))
        for side in (-1, 1):
            x = side * looks.eye_x
            window = grid.window(x - 0.32, looks.eye_y - 0.3, x + 0.32, looks.eye_y + 0.15)
            rgb = self._base.rgb[window].copy()
            paint_eye(rgb, grid.crop(window), looks, side, float(self._aperture[frame]), gaze)
            board[window] = self._composed(window, rgb)
        window = grid.window(-0.5, looks.mouth_y - 0.2, 0.5, looks.mouth_y + 0.42)
        rgb = self._base.rgb[window].copy()
        paint_mouth(rgb, grid.crop(window), looks, float(self._mouth[frame]))
        board[window] = self._composed(window, rgb)
        return board

    def _composed(self, window: tuple[slice, slice], rgb: Plane) -> NDArray[np.uint8]:
        """Return a window of the board, hair and glasses over ``rgb``, with alpha."""
        through = 1 - self._front.alpha[window]
        colours = rgb * through[..., None] + self._front.rgb[window]
        alpha = (self._base.alpha[window] * through + self._front.alpha[window]) * 255
        return np.clip(np.dstack([colours, alpha]) + 0.5, 0, 255).astype(np.uint8)

    def _points(self, frame: int) -> NDArray[np.float64]:
        looks = self._looks
        eyes = [(-looks.eye_x, looks.eye_y), (looks.eye_x, looks.eye_y)]
        return np.array([*eyes, (0, looks.nose_y), *mouth_corners(looks, float(self._mouth[frame]))])

    def _turned(self, points: NDArray[np.float64], frame: int) -> NDArray[np.float64]:
        """Return where points of the surface go as the head turns: the inverse of the look-up in ``render``."""
        turn = np.array([self._yaw[frame], self._pitch[frame]])
        moved = points
        for _ in range(4):
            column, row = ((moved - (LEFT, TOP)) / self._grid.pixel - 0.5).T.astype(np.float32)
            depth = cv2.remap(self._depth, column, row, cv2.INTER_LINEAR)
            moved = points + depth.reshape(-1, 1) * turn
        return np.asarray(moved, np.float64)


def _blinks(rng: np.random.Generator, frames: int) -> NDArray[np.float64]:
    """Return ``(T,)``: how far the eyes are open, from 0 to 1; people blink about every two and a half seconds."""
    time = np.arange(frames)
    aperture = np.full(frames, rng.uniform(0.75, 1.0))
    for middle in rng.uniform(0, frames, rng.poisson(frames / 60)):
        aperture *= 1 - np.exp(-(((time - middle) / 2.2) ** 4))
    return aperture


def _talk(rng: np.random.Generator, frames: int) -> NDArray[np.float64]:
    """Return ``(T,)``: the gap between the lips in face units; a third of the people are silent."""
    time = np.arange(frames)
    syllables = 0.5 + 0.5 * np.sin(2 * np.pi * time / rng.uniform(5, 9) + rng.uniform(0, 2 * np.pi))
    phrases = np.clip(0.6 + wander(rng, frames, 0.6), 0, 1)
    loudness = 0.0 if rng.random() < 0.33 else rng.uniform(0.05, 0.14)
    return np.asarray(rng.uniform(0, 0.012) + loudness * syllables * phrases, np.float64)


def _backdrop(rng: np.random.Generator, size: int) -> NDArray[np.float32]:
    """Return ``(S + 8, S + 8, 3)`` float32 in [0, 255]: a gradient, things out of focus, the grain of a wall."""
    side = size + 8
    ends = rng.uniform(40, 205) + rng.uniform(-28, 28, (2, 3))
    angle = rng.uniform(0, 2 * np.pi)
    axis = (np.arange(side, dtype=np.float32) / side - 0.5)[None]
    slope = np.clip(0.5 + axis * np.float32(np.cos(angle)) + axis.T * np.float32(np.sin(angle)), 0, 1)[..., None]
    picture = (ends[0] + slope * (ends[1] - ends[0])).astype(np.float32)
    for _ in range(int(rng.integers(2, 9))):
        x, y, w, h = (int(v * side) for v in rng.uniform([-0.1, -0.1, 0.04, 0.08], [1.0, 0.9, 0.35, 0.6]))
        colour = [float(v) for v in picture.mean(axis=(0, 1)) + rng.normal(0, 35) + rng.normal(0, 14, 3)]
        if rng.random() < 0.5:
            cv2.rectangle(picture, (x, y), (x + w, y + h), colour, cv2.FILLED)
        else:
            cv2.ellipse(picture, ((x, y), (w, h), rng.uniform(0, 180)), colour, cv2.FILLED)
    picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), size * rng.uniform(0.004, 0.03)), np.float32)
    grain = cv2.GaussianBlur(rng.standard_normal((side, side), np.float32), (0, 0), rng.uniform(0.7, 2.5))
    picture += (grain / grain.std() * np.float32(rng.uniform(0.4, 2.5)))[..., None]
    return np.asarray(np.clip(picture, 0, 255), np.float32)
