"""Looks of a drawn person: colours, proportions, hair, light, all drawn at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Hair = Literal["bald", "cropped", "short", "fringe", "long"]
Vector = NDArray[np.float64]
"""``(3,)``."""

_SKIN_TONES = np.array(
    [[240, 205, 184], [226, 182, 153], [203, 153, 119], [168, 118, 86], [124, 82, 58], [88, 58, 43]], np.float64
)
_HAIR_TONES = np.array(
    [[26, 22, 22], [52, 36, 28], [86, 58, 40], [124, 72, 42], [178, 138, 88], [214, 184, 134], [142, 140, 140]],
    np.float64,
)
_IRIS_TONES = np.array([[72, 44, 26], [104, 68, 36], [112, 104, 60], [86, 116, 100], [92, 124, 156]], np.float64)
_HAIR_STYLES: tuple[Hair, ...] = ("bald", "cropped", "short", "short", "fringe", "long", "long")


@dataclass(frozen=True, slots=True)
class Looks:
    """Colours, proportions and light of one drawn person.

    Lengths are in face units: the face is 2 wide, x to the right, y down, the origin in its middle between the
    eyes. Colours are ``(3,)`` float64 RGB in [0, 255]. Directions are unit vectors with z towards the viewer.
    """

    skin: Vector  # in full light
    hair: Vector  # also of brows and beard
    iris: Vector
    lips: Vector
    cloth: Vector  # clothing
    light: Vector  # direction towards the light
    ambient: float  # share of the light that has no direction, in [0, 1]
    chin: float  # y of the chin
    crown: float  # −y of the top of the skull
    taper: float  # how much narrower the jaw is than the temples
    squareness: float  # exponent of the outline; 2 is an ellipse
    eye_x: float  # x of the (image-)right eye; the left one mirrors it
    eye_y: float  # y of the eyes
    eye_width: float  # half the width of an eye
    eye_height: float  # height of the upper lid over the eye's axis
    eye_tilt: float  # how far the outer corners are above the inner ones
    brow_lift: float  # distance of the brows over the eyes
    brow_thickness: float  # half the thickness of the brows
    nose_y: float  # y of the nose's tip
    nose_width: float  # half the distance of the nostrils' outer sides
    nose_relief: float  # height of the nose over the face
    mouth_y: float  # y of the mouth
    mouth_width: float  # half the width of the mouth
    lip_upper: float  # height of the upper lip
    lip_lower: float  # height of the lower lip
    smile: float  # how far the corners of the mouth are lifted
    age: float  # depth of folds and wrinkles in [0, 1]
    freckles: int  # number of freckles
    stubble: float  # darkness of a shaven beard in [0, 1]
    beard: float  # opacity of a beard in [0, 1]
    style: Hair
    hairline: float  # y of the hairline in the middle of the forehead
    volume: float  # thickness of the hair over the skull
    curl: float  # 0 for straight strands, 1 for curls
    parting: float  # x of the parting
    glasses: bool


def draw_looks(rng: np.random.Generator) -> Looks:
    """Draw a person at random; every tone of skin is as likely as the next."""
    tone = rng.uniform(0, len(_SKIN_TONES) - 1)
    low = int(tone)
    high = min(low + 1, len(_SKIN_TONES) - 1)
    skin = _SKIN_TONES[low] + (tone - low) * (_SKIN_TONES[high] - _SKIN_TONES[low])
    skin = skin * rng.uniform(0.95, 1.05, 3)
    age = float(rng.beta(1.3, 1.6))
    # Dark skin goes with dark hair and eyes, and grey comes with age, so that people stay plausible.
    hair_tones = 3 if tone > 2 else 6
    hair = _HAIR_TONES[6 if rng.random() < age * 0.5 else rng.integers(hair_tones)] * rng.uniform(0.85, 1.15)
    iris = _IRIS_TONES[rng.integers(2 if tone > 2 else 5)] * rng.uniform(0.85, 1.15)
    azimuth, elevation = rng.uniform(-1.1, 1.1), rng.uniform(0.15, 0.8)
    masculine = bool(rng.random() < 0.5)
    style = _HAIR_STYLES[rng.integers(0 if masculine else 2, 5 if masculine else 7)]
    lip_red = rng.uniform(0.82, 0.95) if masculine else rng.uniform(0.6, 0.9)
    # The order of the draws is part of the set: another one gives other people.
    eye_y = rng.uniform(-0.12, -0.02)
    nose_y = eye_y + rng.uniform(0.46, 0.56)
    mouth_y = nose_y + rng.uniform(0.39, 0.46)
    return Looks(
        skin=skin,
        hair=np.clip(hair, 12, 235),
        iris=iris,
        lips=skin * np.array([0.94, lip_red * 0.82, lip_red * 0.9]),
        cloth=0.5 * rng.uniform(20, 210) + 0.5 * rng.uniform(20, 210, 3),
        light=np.array(
            [np.sin(azimuth) * np.cos(elevation), -np.sin(elevation), np.cos(azimuth) * np.cos(elevation)], np.float64
        ),
        ambient=rng.uniform(0.42, 0.65),
        chin=mouth_y + rng.uniform(0.5, 0.6),
        crown=rng.uniform(1.38, 1.52),
        taper=rng.uniform(0.06, 0.2) if masculine else rng.uniform(0.14, 0.26),
        squareness=rng.uniform(2.2, 2.8) if masculine else rng.uniform(2.0, 2.4),
        eye_x=rng.uniform(0.39, 0.46),
        eye_y=eye_y,
        eye_width=rng.uniform(0.19, 0.23),
        eye_height=rng.uniform(0.085, 0.125),
        eye_tilt=rng.uniform(-0.01, 0.035),
        brow_lift=rng.uniform(0.22, 0.3),
        brow_thickness=rng.uniform(0.035, 0.06) if masculine else rng.uniform(0.022, 0.042),
        nose_y=nose_y,
        nose_width=rng.uniform(0.19, 0.27),
        nose_relief=rng.uniform(0.22, 0.34),
        mouth_y=mouth_y,
        mouth_width=rng.uniform(0.33, 0.42),
        lip_upper=rng.uniform(0.06, 0.1),
        lip_lower=rng.uniform(0.085, 0.13),
        smile=rng.uniform(0.0, 0.09),
        age=age,
        freckles=int(rng.integers(20, 110)) if tone < 2 and rng.random() < 0.4 else 0,
        stubble=rng.uniform(0.1, 0.45) if masculine else 0.0,
        beard=rng.uniform(0.6, 0.95) if masculine and rng.random() < 0.3 else 0.0,
        style=style,
        hairline=rng.uniform(-1.15, -0.85),
        volume=rng.uniform(0.1, 0.26),
        curl=float(rng.random() < 0.3),
        parting=rng.uniform(-0.5, 0.5),
        glasses=bool(rng.random() < 0.15),
    )
