"""The still parts of a drawn person: shoulders, head, relief and shading of the skin, hair, brows, glasses."""

from __future__ import annotations

import cv2
import numpy as np

from resgat_pl.data.synth.canvas import Grid, Layer, Plane, bump, ellipse, inside, over, ramp
from resgat_pl.data.synth.looks import Looks


class Head:
    """The painted layers of one person.

    Args:
        looks: The person.
        grid: The board to paint on.
        rng: Source of the person's textures.

    Attributes:
        base: Everything below the eyes and the mouth.
        front: Hair and glasses, which lie over the eyes and the brows.
        depth: ``(H, W)`` float32, how far the surface comes towards the viewer, in face units; 0 on the shoulders.
    """

    def __init__(self, looks: Looks, grid: Grid, rng: np.random.Generator) -> None:
        self._looks, self._grid, self._rng = looks, grid, rng
        shape = (grid.y.shape[0], grid.x.shape[1])
        self.base, self.front = Layer(shape), Layer(shape)
        self._level = _outline(looks, grid)
        self._face = inside((self._level - 1) * 0.4, grid.pixel)
        self._strands = self._strand_noise()
        relief = self._relief()
        shade, gloss = _shading(looks, grid, relief)
        if looks.style == "long":
            self._paint_back_hair()
        self._paint_body()
        self._paint_ears()
        self.base.paint(self._face, self._skin()[...] * shade[..., None] + gloss[..., None])
        self._paint_brows()
        if looks.beard > 0:
            self._paint_beard(shade)
        self._paint_hair()
        if looks.glasses:
            self._paint_glasses()
        # The neck and the shoulders do not turn with the head.
        self.depth = cv2.GaussianBlur(relief, (0, 0), 0.03 / grid.pixel) * ramp(grid.y, looks.chin + 0.5, looks.chin)

    def _relief(self) -> Plane:
        looks, grid = self._looks, self._grid
        head = 0.85 * np.sqrt(np.clip(1 - self._level, 0, 1) + 0.02)
        features = (
            0.05 * _both(grid, 0.56, 0.3, 0.24, 0.2)
            - 0.085 * _both(grid, looks.eye_x - 0.03, looks.eye_y - 0.03, 0.2, 0.12)
            + 0.035 * _both(grid, 0.36, looks.eye_y - 0.25, 0.3, 0.08)
            + 0.09 * bump(grid, 0, looks.chin - 0.22, 0.22, 0.14)
            + 0.06 * bump(grid, 0, looks.mouth_y, 0.36, 0.2)
        )
        return np.asarray(head + features + self._nose() - self._folds() + self._pores(), np.float32)

    def _nose(self) -> Plane:
        looks, grid = self._looks, self._grid
        along = ramp(grid.y, looks.eye_y - 0.18, looks.nose_y) * ramp(grid.y, looks.nose_y + 0.15, looks.nose_y + 0.02)
        width = 0.075 + 0.07 * ramp(grid.y, looks.eye_y, looks.nose_y)
        ridge = along * np.exp(-((grid.x / width) ** 2)) * 0.8
        tip = bump(grid, 0, looks.nose_y, 0.13, 0.11) * 0.35
        wings = _both(grid, looks.nose_width - 0.06, looks.nose_y + 0.06, 0.065, 0.065) * 0.4
        return np.asarray(looks.nose_relief * (ridge + tip + wings), np.float32)

    def _folds(self) -> Plane:
        looks, grid, age = self._looks, self._grid, self._looks.age
        # Nasolabial folds run from the wings of the nose to outside the corners of the mouth.
        track = looks.nose_width + 0.05 + 0.34 * np.abs(grid.y - looks.nose_y) ** 1.4
        span = ramp(grid.y, looks.nose_y - 0.05, looks.nose_y + 0.1) * ramp(
            grid.y, looks.mouth_y + 0.12, looks.mouth_y - 0.1
        )
        folds = np.exp(-(((np.abs(grid.x) - track) / 0.055) ** 2)) * span * (0.006 + 0.022 * age)
        bags = np.exp(-(((grid.y - (looks.eye_y + 0.17 - 0.4 * (np.abs(grid.x) - looks.eye_x) ** 2)) / 0.025) ** 2))
        bags = bags * ramp(np.abs(np.abs(grid.x) - looks.eye_x), 0.22, 0.1) * (0.004 + 0.014 * age)
        lines = (np.sin((grid.y + 0.06 * grid.x**2) * 48) > 0.8) * ramp(np.abs(grid.x), 0.6, 0.3)
        lines = cv2.GaussianBlur(lines.astype(np.float32), (0, 0), 0.012 / grid.pixel)
        lines = lines * ramp(grid.y, -0.85, -0.7) * ramp(grid.y, looks.eye_y - 0.35, looks.eye_y - 0.45)
        return np.asarray(folds + bags + lines * 0.012 * max(age - 0.35, 0), np.float32)

    def _pores(self) -> Plane:
        # Sized in pixels of the board, about 1.5 to 2 of which make one of the frame: the finest trace to tamper with.
        fine = cv2.GaussianBlur(self._grid.noise(self._rng, 0), (0, 0), 1.1)
        uneven = self._grid.noise(self._rng, 0.05)
        return fine * np.float32(self._grid.pixel * 0.32) + uneven * np.float32(0.0004 + 0.0005 * self._looks.age)

    def _skin(self) -> Plane:
        looks, grid = self._looks, self._grid
        tint = 1 + 0.025 * self._grid.noise(self._rng, 0.25) + 0.015 * self._grid.noise(self._rng, 0.03)
        skin = tint[..., None] * looks.skin.astype(np.float32)
        red = 0.5 * _both(grid, 0.58, 0.35, 0.26, 0.22) + 0.5 * bump(grid, 0, looks.nose_y, 0.2, 0.15)
        skin *= 1 - red[..., None] * np.array([-0.02, 0.14, 0.12], np.float32)
        dark = 0.16 * _both(grid, looks.eye_x, looks.eye_y + 0.02, 0.24, 0.13)
        dark += looks.stubble * 0.5 * self._beard_area() * (0.75 + 0.25 * grid.noise(self._rng, 0))
        skin *= 1 - np.clip(dark, 0, 0.8)[..., None] * np.array([0.9, 1.0, 0.95], np.float32)
        for _ in range(looks.freckles + int(self._rng.integers(4))):
            x, y = self._rng.normal(0, 0.42), self._rng.normal(0.25, 0.3)
            radius = self._rng.uniform(0.008, 0.022)
            window = grid.window(x - 0.06, y - 0.06, x + 0.06, y + 0.06)
            spot = bump(grid.crop(window), x, y, radius, radius) * np.float32(self._rng.uniform(0.15, 0.45))
            skin[window] *= 1 - spot[..., None] * np.array([0.6, 0.9, 1.0], np.float32)
        self._nostrils(skin)
        return skin

    def _nostrils(self, skin: Plane) -> None:
        looks, grid = self._looks, self._grid
        for side in (-1, 1):
            x = side * (looks.nose_width * 0.48)
            hole = inside(ellipse(grid, x, looks.nose_y + 0.1, 0.05, 0.026), grid.pixel, 3)
            skin[:] = over(skin, hole[..., None] * 0.75, looks.skin * 0.22)

    def _beard_area(self) -> Plane:
        looks, grid = self._looks, self._grid
        lower = ramp(grid.y + 0.25 * np.abs(grid.x), looks.mouth_y - 0.1, looks.mouth_y + 0.12)
        lip = bump(grid, 0, looks.mouth_y - 0.14, 0.36, 0.07)
        sides = ramp(np.abs(grid.x), 0.72, 0.86) * ramp(grid.y, 0.1, 0.5)
        return np.asarray(np.maximum(np.maximum(lower, lip), sides) * ramp(self._level, 1.02, 0.96), np.float32)

    def _strand_noise(self) -> Plane:
        """Return ``(H, W)`` noise around 1 that runs along the hair, or in curls."""
        looks, grid = self._looks, self._grid
        if looks.curl:
            curls = grid.noise(self._rng, 0.07) + 0.7 * grid.noise(self._rng, 0.03)
            return np.asarray(1 + 0.16 * curls, np.float32)
        fine = cv2.GaussianBlur(self._rng.standard_normal((256, 512), np.float32), (0, 0), sigmaX=0.7, sigmaY=9)
        texture = (0.7 * fine + 0.5 * cv2.resize(fine[::6, ::6], (512, 256))) / fine.std()
        dx, dy = grid.x - looks.parting, grid.y + looks.crown * 0.8
        angle = np.arctan2(dx, np.abs(dy) + 0.35) + 0.022 * grid.noise(self._rng, 0.25)
        radius = np.sqrt(dx**2 + dy**2)
        columns = (angle * (150 / 3.2) * 4.5 + 256).astype(np.float32)
        strands = cv2.remap(texture, columns, (radius * 70).astype(np.float32), cv2.INTER_LINEAR, None, cv2.BORDER_WRAP)
        # Light falls on the bend of the hair and leaves the rest darker.
        sheen = 0.35 * np.exp(-(((radius - 0.55) / 0.2) ** 2))
        return np.asarray((1 + 0.2 * strands) * (0.85 + sheen), np.float32)

    def _hair_colour(self, factor: float = 1.0) -> Plane:
        lit = 0.75 + 0.3 * ramp(self._grid.x * np.float32(np.sign(self._looks.light[0])), -1, 1)
        return (self._strands * lit * np.float32(factor))[..., None] * self._looks.hair.astype(np.float32)

    def _paint_back_hair(self) -> None:
        looks, grid = self._looks, self._grid
        length = 1.5 + looks.volume * 3
        shape = ellipse(grid, 0, length - looks.crown - looks.volume, 1.05 + looks.volume * 1.3, length, 2.6)
        self.base.paint(inside(shape + 0.02 * self._strands, grid.pixel), self._hair_colour(0.7))

    def _paint_body(self) -> None:
        looks, grid = self._looks, self._grid
        lit = 0.8 + 0.25 * ramp(grid.x * np.float32(np.sign(looks.light[0])), -0.8, 0.8)
        neck_width = 0.6 - looks.taper * 0.7
        flare = 0.35 * ramp(grid.y, looks.chin + 0.15, looks.chin + 0.75) ** 2
        neck = inside(np.abs(grid.x) - neck_width - flare, grid.pixel) * ramp(grid.y, 0.2, 0.3)
        shadow = 0.45 + 0.55 * ramp(grid.y - 0.2 * np.abs(grid.x), looks.chin - 0.05, looks.chin + 0.6)
        round_off = 0.7 + 0.3 * ramp(np.abs(grid.x), neck_width + 0.1, neck_width - 0.35)
        skin = (lit * shadow * round_off * (1 + 0.03 * grid.noise(self._rng, 0.05)))[..., None] * looks.skin
        self.base.paint(neck, np.asarray(skin, np.float32))
        top = looks.chin + 0.42
        shoulders = ellipse(grid, 0, top + 1.5, 1.75 + looks.squareness * 0.15, 1.5, 2.6)
        collar = ellipse(grid, 0, top + 0.05, neck_width + 0.14, 0.3 + 0.25 * looks.squareness / 2.8, 2.0)
        weave = grid.noise(self._rng, 0.02) * 0.05 + grid.noise(self._rng, 0.3) * 0.07
        cloth = ((lit + weave) * (0.8 + 0.2 * ramp(grid.y, top, top + 0.5)))[..., None] * looks.cloth
        self.base.paint(inside(np.maximum(shoulders, -collar), grid.pixel), np.asarray(cloth, np.float32))

    def _paint_ears(self) -> None:
        looks, grid = self._looks, self._grid
        for side in (-1, 1):
            x, y = side * 1.0, looks.eye_y + 0.22
            ear = inside(ellipse(grid, x, y, 0.14, 0.27), grid.pixel)
            hollow = np.exp(-((ellipse(grid, x, y - 0.02, 0.075, 0.18) / 0.03) ** 2))
            lit = 0.8 + 0.25 * max(0.0, side * float(looks.light[0]))
            shade = np.asarray(lit * (1 - 0.4 * hollow), np.float32)
            self.base.paint(ear, shade[..., None] * (looks.skin * [1.0, 0.92, 0.9]).astype(np.float32))

    def _paint_brows(self) -> None:
        looks, grid = self._looks, self._grid
        along = (np.abs(grid.x) - looks.eye_x) / (looks.eye_width * 1.45)
        middle = looks.eye_y - looks.brow_lift - 0.05 + 0.07 * (along - 0.3) ** 2 + 0.02 * along
        thickness = looks.brow_thickness * np.clip(1.1 - 0.35 * np.abs(along + 1) ** 1.5, 0.1, 1.1)
        slanted = cv2.GaussianBlur(grid.noise(self._rng, 0), (0, 0), sigmaX=0.8, sigmaY=2.2)
        distance = np.abs(grid.y - middle) - thickness * (1 + 0.5 * slanted)
        brow = inside(distance, grid.pixel, 3) * ramp(np.abs(along), 1.08, 0.9)
        self.base.paint(brow * (0.72 + 0.2 * slanted).clip(0, 1), looks.hair * 0.75 + looks.skin * 0.08)

    def _paint_beard(self, shade: Plane) -> None:
        looks, grid = self._looks, self._grid
        hair = 0.8 + 0.5 * cv2.GaussianBlur(grid.noise(self._rng, 0), (0, 0), sigmaX=0.8, sigmaY=2)
        lips = ellipse(grid, 0, looks.mouth_y + 0.02, looks.mouth_width + 0.05, 0.17)
        cover = ramp(self._beard_area() + 0.12 * grid.noise(self._rng, 0.03), 0.3, 0.8) * ramp(lips, -0.01, 0.04)
        cover = cover * self._face * looks.beard * (0.75 + 0.25 * hair).clip(0, 1)
        colour = (hair * shade)[..., None] * looks.hair
        self.base.paint(np.asarray(cover, np.float32), np.asarray(colour, np.float32))

    def _paint_hair(self) -> None:
        looks, grid = self._looks, self._grid
        if looks.style == "bald":
            return
        volume = {"bald": 0.0, "cropped": 0.03}.get(looks.style, looks.volume)
        wild = 0.05 if looks.curl else 0.02
        rough = np.asarray(wild * (self._strands - 1) / 0.25, np.float32)
        outer = ellipse(grid, 0, 0, 1.0 + volume * 0.55, looks.crown + volume, 2.3) + rough * 0.7
        if looks.style == "long":
            reach = looks.mouth_y + 0.35
            sides = ellipse(grid, 0, 0.35, 1.03 + volume * 0.9, reach + 0.5, 3.0) + rough
            outer = np.minimum(outer, sides)
        hairline = looks.hairline + (0.42 if looks.style == "fringe" else 0.0)
        sweep = 0.12 * (grid.x - looks.parting) ** 2
        opening = ellipse(grid, 0, 0.35, 0.93, 0.35 - hairline, 2.7) + rough + sweep * 0.3
        # The face is open below the ends of the sideburns.
        ends = (grid.y - (2.4 if looks.style == "long" else looks.eye_y + 0.2 + 0.3 * volume)) * 0.5 + rough
        below = opening if looks.style != "long" else np.minimum(opening, ellipse(grid, 0, 0.7, 0.9, 1.6, 3.0))
        cover = inside(np.maximum(np.maximum(outer, -below), ends), grid.pixel, 2.5)
        if looks.style == "cropped":
            cover = cover * (0.75 + 0.1 * grid.noise(self._rng, 0)).clip(0, 0.9)
        self.front.paint(np.asarray(cover, np.float32), self._hair_colour())
        # Hair throws a soft shadow on the forehead.
        shadow = cv2.GaussianBlur(self.front.alpha, (0, 0), 0.05 / grid.pixel)
        shadow = np.roll(shadow, int(0.05 / grid.pixel), axis=0) * self._face * 0.45
        self.base.rgb = over(self.base.rgb, shadow[..., None], self.base.rgb * 0.35)

    def _paint_glasses(self) -> None:
        looks, grid = self._looks, self._grid
        frame = np.full(grid.y.shape, 9.0, np.float32)
        for side in (-1, 1):
            lens = ellipse(grid, side * (looks.eye_x + 0.02), looks.eye_y + 0.03, 0.31, 0.22, 2.8)
            frame = np.minimum(frame, np.abs(lens) - 0.014)
        bridge = np.maximum(np.abs(grid.y - looks.eye_y + 0.03) - 0.014, np.abs(grid.x) - 0.13)
        arms = np.maximum(np.abs(grid.y - looks.eye_y) - 0.014, np.abs(np.abs(grid.x) - 0.87) - 0.13)
        frame = np.minimum(np.minimum(frame, bridge), arms)
        self.front.paint(inside(frame, grid.pixel), looks.cloth * 0.35)


def _outline(looks: Looks, grid: Grid) -> Plane:
    """Return ``(H, W)``: 0 in the middle of the face, 1 on its outline."""
    widen = 1 / (1 - looks.taper * ramp(grid.y, 0.15, looks.chin))
    power = np.float32(looks.squareness)
    across = np.abs(grid.x) ** power * widen**power
    height = np.where(grid.y < 0, np.float32(looks.crown), np.float32(looks.chin))
    return np.asarray(across + np.abs(grid.y / height) ** np.float32(2.3), np.float32)


def _shading(looks: Looks, grid: Grid, relief: Plane) -> tuple[Plane, Plane]:
    """Return ``(H, W)`` factors of the colour, about 1 in full light, and the gloss to add in [0, 255]."""
    dy, dx = np.gradient(relief, grid.pixel)
    norm = 1 / np.sqrt(dx * dx + dy * dy + 1)
    towards = (looks.light[2] - dx * looks.light[0] - dy * looks.light[1]) * norm
    wrapped = np.clip((towards + 0.25) / 1.25, 0, 1)
    half = looks.light + np.array([0, 0, 1.0])
    half /= np.linalg.norm(half)
    facing = np.clip((half[2] - dx * half[0] - dy * half[1]) * norm, 0, 1)
    shade = looks.ambient + (1.12 - looks.ambient) * wrapped
    return np.asarray(shade, np.float32), np.asarray(26 * facing**24, np.float32)


def _both(grid: Grid, x: float, y: float, width: float, height: float) -> Plane:
    """Return two hills, mirrored on the face's axis."""
    return bump(grid, x, y, width, height) + bump(grid, -x, y, width, height)
