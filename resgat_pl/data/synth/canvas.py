"""The drawing board: coordinates in face units, smooth edges, layers painted over one another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]
"""``(H, W)`` float32, or an array that broadcasts to it."""
AnyPlane = NDArray[np.floating[Any]]
Colour = AnyPlane | float

LEFT, TOP, SPAN = -2.7, -1.95, 5.4
"""The board's left and top edge and its side, in face units (the face is 2 wide, its middle at the origin)."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Coordinates of (a part of) the board.

    Attributes:
        x: ``(1, W)`` float32, in face units.
        y: ``(H, 1)`` float32, in face units, downwards.
        pixel: Side of a pixel in face units.
    """

    x: Plane
    y: Plane
    pixel: float

    @staticmethod
    def board(resolution: int) -> Grid:
        """Return the whole board, a square of ``resolution`` pixels a side."""
        steps = (np.arange(resolution, dtype=np.float32) + np.float32(0.5)) * np.float32(SPAN / resolution)
        return Grid((steps + np.float32(LEFT))[None, :], (steps + np.float32(TOP))[:, None], SPAN / resolution)

    def window(self, x0: float, y0: float, x1: float, y1: float) -> tuple[slice, slice]:
        """Return the rows and columns of a rectangle given in face units."""
        rows = slice(max(0, int((y0 - TOP) / self.pixel)), max(1, int((y1 - TOP) / self.pixel) + 1))
        columns = slice(max(0, int((x0 - LEFT) / self.pixel)), max(1, int((x1 - LEFT) / self.pixel) + 1))
        return rows, columns

    def crop(self, window: tuple[slice, slice]) -> Grid:
        """Return the coordinates of a window of the board."""
        return Grid(self.x[:, window[1]], self.y[window[0]], self.pixel)

    def noise(self, rng: np.random.Generator, scale: float) -> Plane:
        """Return ``(H, W)`` Gaussian noise of unit variance, smooth over ``scale`` face units."""
        height, width = self.y.shape[0], self.x.shape[1]
        # Smooth noise is drawn coarse and enlarged: a wide blur of the full board costs ten times as much.
        step = max(1.0, scale / self.pixel)
        coarse = (int(np.ceil(height / step)) + 3, int(np.ceil(width / step)) + 3)
        small = rng.standard_normal(coarse, np.float32)
        if step > 1:
            large = cv2.resize(small, None, fx=step, fy=step, interpolation=cv2.INTER_CUBIC)
            small = np.asarray(large, np.float32)
        plane = small[:height, :width]
        return np.ascontiguousarray(plane / np.float32(max(float(plane.std()), 1e-6)))


class Layer:
    """A picture with transparency, ``rgb`` ``(H, W, 3)`` in [0, 255] and ``alpha`` ``(H, W)`` in [0, 1], float32.

    The colours are multiplied by alpha: they are painted over black.

    Args:
        shape: Height and width in pixels.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self.rgb = np.zeros((*shape, 3), np.float32)
        self.alpha = np.zeros(shape, np.float32)

    def paint(self, cover: AnyPlane, colour: Colour) -> None:
        """Paint ``colour``, ``(3,)`` or ``(H, W, 3)`` in [0, 255], where ``cover`` in [0, 1] says."""
        cover = np.broadcast_to(cover, self.alpha.shape).astype(np.float32)
        self.alpha = over(self.alpha, cover, 1.0)
        self.rgb = over(self.rgb, cover[..., None], colour)


def over(below: AnyPlane, cover: AnyPlane, colour: Colour) -> Plane:
    """Return ``below`` with ``colour`` painted over it where ``cover`` in [0, 1] says."""
    return np.asarray(below + cover * (np.asarray(colour, np.float32) - below), np.float32)


def ramp(value: AnyPlane, low: float, high: float) -> Plane:
    """Rise smoothly from 0 at ``low`` to 1 at ``high`` (falls where ``low > high``)."""
    t = np.clip((value - np.float32(low)) / np.float32(high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def bump(grid: Grid, x: float, y: float, width: float, height: float) -> Plane:
    """Return ``(H, W)``: a Gaussian hill of height 1 at (x, y)."""
    across = np.exp(-(((grid.x - np.float32(x)) / np.float32(width)) ** 2))
    along = np.exp(-(((grid.y - np.float32(y)) / np.float32(height)) ** 2))
    return np.asarray(along * across, np.float32)


def inside(distance: AnyPlane, pixel: float, softness: float = 1.0) -> Plane:
    """Return how much of each pixel lies inside, given the signed ``distance`` (negative inside) in face units."""
    return np.asarray(np.clip(0.5 - distance / np.float32(pixel * softness), 0, 1), np.float32)


def ellipse(grid: Grid, x: float, y: float, width: float, height: float, power: float = 2.0) -> Plane:
    """Return the signed distance, near the edge, to a superellipse of half axes ``width`` and ``height``."""
    level = np.abs((grid.x - np.float32(x)) / np.float32(width)) ** np.float32(power)
    level = level + np.abs((grid.y - np.float32(y)) / np.float32(height)) ** np.float32(power)
    return np.asarray((level - 1) * np.float32(min(width, height) / power), np.float32)
