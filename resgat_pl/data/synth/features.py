"""Moving features of a drawn face: eyelids, gaze and mouth, painted again for every frame."""

from __future__ import annotations

import numpy as np

from resgat_pl.data.synth.canvas import Grid, Plane, bump, inside, over, ramp
from resgat_pl.data.synth.looks import Looks

_LASHES = np.array([34.0, 24.0, 22.0])
_CAVITY = np.array([48.0, 20.0, 20.0])
_TEETH = np.array([226.0, 218.0, 204.0])


def paint_eye(rgb: Plane, grid: Grid, looks: Looks, side: int, aperture: float, gaze: tuple[float, float]) -> None:
    """Paint one eye over the skin, in place.

    Args:
        rgb: ``(H, W, 3)`` float32 in [0, 255], the window of the board that ``grid`` describes.
        grid: Coordinates of the window.
        looks: The person.
        side: −1 for the eye on the image's left, 1 for the one on its right.
        aperture: 0 closed to 1 open.
        gaze: Offset of the iris from the middle of the eye, in face units.
    """
    x0, y0 = side * looks.eye_x, looks.eye_y
    along = (grid.x - x0) / looks.eye_width
    arch = np.clip(1 - along**2, 0, 1)
    axis = y0 - looks.eye_tilt * side * along
    lower = axis + 0.06 * arch
    open_lid = axis - looks.eye_height * arch**0.75
    upper = open_lid + (1 - aperture) * (lower - open_lid - 0.004)
    opening = inside(np.maximum(upper - grid.y, grid.y - lower), grid.pixel) * (np.abs(along) < 1)

    shaded = 0.72 + 0.28 * ramp(grid.y - upper, 0, 0.09)
    ball = np.asarray(shaded * (1 - 0.2 * np.abs(along) ** 2), np.float32)[..., None] * np.array([236, 230, 226])
    ix, iy = x0 + gaze[0], y0 - 0.012 + gaze[1]
    radius = looks.eye_width * 0.53
    distance = np.sqrt((grid.x - ix) ** 2 + (grid.y - iy) ** 2)
    spokes = 1 + 0.18 * np.sin(np.arctan2(grid.y - iy, grid.x - ix) * 17) * ramp(distance, 0.03, 0.08)
    ring = 1 - 0.55 * ramp(distance, radius * 0.72, radius)
    iris = np.asarray(spokes * ring * shaded * 1.1, np.float32)[..., None] * looks.iris
    ball = over(ball, inside(distance - radius, grid.pixel, 2)[..., None], iris)
    ball = over(ball, inside(distance - radius * 0.42, grid.pixel, 2)[..., None], 14.0)
    spark = bump(grid, ix + 0.03 * np.sign(looks.light[0]), iy - 0.03, 0.016, 0.016)
    ball = over(ball, np.clip(1.6 * spark, 0, 1)[..., None], 250.0)

    crease = np.exp(-(((grid.y - (open_lid - 0.045 - 0.03 * arch)) / 0.014) ** 2)) * ramp(np.abs(along), 1.1, 0.7)
    rgb[:] = over(rgb, 0.4 * crease[..., None], rgb * 0.5)
    lid = ramp(upper - grid.y, 0.07, 0.0) * (grid.y < upper) * ramp(np.abs(along), 1.0, 0.8)
    rgb[:] = over(rgb, 0.25 * np.asarray(lid, np.float32)[..., None], rgb * 0.75)
    rgb[:] = over(rgb, opening[..., None], ball)
    # Lashes thicken towards the outer corner.
    thickness = (0.011 + 0.008 * np.clip(side * along, -1, 1)) * np.clip(arch * 3, 0, 1)
    lashes = inside(np.abs(grid.y - upper) - thickness, grid.pixel, 1.5) * (np.abs(along) < 1)
    rgb[:] = over(rgb, 0.9 * lashes[..., None], _LASHES)
    rim = inside(np.abs(grid.y - lower) - 0.006, grid.pixel, 2) * (np.abs(along) < 1)
    rgb[:] = over(rgb, 0.45 * rim[..., None], rgb * 0.4)


def paint_mouth(rgb: Plane, grid: Grid, looks: Looks, opening: float) -> None:
    """Paint the mouth over the skin, in place.

    Args:
        rgb: ``(H, W, 3)`` float32 in [0, 255], the window of the board that ``grid`` describes.
        grid: Coordinates of the window.
        looks: The person.
        opening: Gap between the lips in the middle, in face units.
    """
    # An open mouth is a little narrower.
    width = looks.mouth_width * (1 - 0.5 * opening)
    along = np.clip(grid.x / width, -1, 1)
    arch = 1 - along**2
    middle = looks.mouth_y - looks.smile * (np.abs(grid.x / width) ** 1.7 - 0.3)
    bow = 0.16 * np.exp(-((along / 0.16) ** 2)) - 0.1 * np.exp(-(((np.abs(along) - 0.3) / 0.2) ** 2))
    top = middle - looks.lip_upper * (arch - bow) * np.sqrt(arch + 1e-6)
    upper = middle - 0.12 * opening * arch + 0.012 * np.cos(along * 9) * arch
    lower = upper + (opening * 0.95) * arch**0.7 + 0.004
    bottom = lower + looks.lip_lower * arch**0.75
    within = np.abs(grid.x) < width
    lit = 1 + 0.18 * looks.light[0] * along
    shade = lit * np.where(
        grid.y < upper,
        0.8 + 0.1 * ramp(grid.y, looks.mouth_y, looks.mouth_y - looks.lip_upper),
        0.92 + 0.24 * np.exp(-(((grid.y - lower - looks.lip_lower * 0.45) / (looks.lip_lower * 0.4)) ** 2)),
    )
    grooves = 1 + 0.05 * np.sin(grid.x * 95 + 9 * grid.y)
    lips = np.asarray(shade * grooves, np.float32)[..., None] * looks.lips
    below = bump(grid, 0, looks.mouth_y + opening + looks.lip_lower + 0.09, 0.26, 0.05)
    rgb[:] = over(rgb, 0.3 * below[..., None], rgb * 0.55)
    cover = inside(np.maximum(top - grid.y, grid.y - bottom), grid.pixel, 3) * within
    rgb[:] = over(rgb, 0.92 * cover[..., None], lips)
    gap = inside(np.maximum(upper - grid.y, grid.y - lower), grid.pixel, 2) * within
    depth = grid.y - upper
    teeth = ramp(depth, 0.055, 0.04) * ramp(np.abs(along), 0.85, 0.55) * np.clip(opening / 0.05, 0, 1)
    cavity = over(np.broadcast_to(_CAVITY.astype(np.float32), rgb.shape), 0.85 * teeth[..., None], _TEETH * 0.9)
    rgb[:] = over(rgb, gap[..., None], cavity)
    seam = np.exp(-(((grid.y - upper) / 0.013) ** 2)) * ramp(np.abs(grid.x), width + 0.05, width - 0.02)
    rgb[:] = over(rgb, (0.55 * seam)[..., None], looks.lips * 0.3)


def mouth_corners(looks: Looks, opening: float) -> list[tuple[float, float]]:
    """Return the left and the right corner of the mouth in face units."""
    width = looks.mouth_width * (1 - 0.5 * opening)
    return [(side * width, looks.mouth_y - 0.7 * looks.smile) for side in (-1, 1)]
