"""Self-blending: a pair of a genuine crop and a fake made of it, whose only difference is the forgery."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.text import nearest
from resgat_pl.data.self_blends.camera import Camera, Source
from resgat_pl.data.self_blends.edits import Image
from resgat_pl.data.self_blends.families import FAMILIES, SHAPES_OF, change_in
from resgat_pl.data.self_blends.masks import SHAPES, draw_mask

DEFAULT_FAMILIES: Final = {
    "blend": 0.4,
    "clone": 0.08,
    "inpaint": 0.06,
    "liquify": 0.08,
    "smooth": 0.06,
    "relight": 0.06,
    "render": 0.13,
    "patch": 0.13,
}
DEFAULT_SHAPES: Final = {"whole": 0.35, "lower": 0.1, "eyes": 0.1, "part": 0.3, "blob": 0.15}
LEAST_SIDE: Final = 32
_LEAST_CHANGE: Final = 2.5
"""Mean change inside the mask, of 255, below which another forgery is drawn: nobody could find it."""
_TRIES: Final = 4


class Pair(NamedTuple):
    """A genuine crop and the fake made of it.

    Attributes:
        genuine: ``(S, S, 3)`` uint8 RGB; edited as a whole at times, but nothing is put into it.
        fake: The same shape.
        mask: ``(S, S)`` uint8, 0 to 255: which pixels were manipulated, soft at the rim. How transparent the forgery is
            as a whole is not in it: where it is laid on at half, its middle is manipulated, and has 255.
        family: Of ``families.FAMILIES``.
        shape: Of ``masks.SHAPES``.
        landmarks: ``(5, 2)`` float32, x and y in [0, 1] of both: where the camera has moved those of the crop to.

    Example:
        >>> crop = np.zeros((32, 32, 3), np.uint8)
        >>> Pair(crop, crop, crop[..., 0], "blend", "part", np.zeros((5, 2), np.float32)).family
        'blend'
    """

    genuine: Image
    fake: Image
    mask: NDArray[np.uint8]
    family: str
    shape: str
    landmarks: NDArray[np.float32]


class SelfBlend:
    """Makes pairs of genuine crops; the same (crop, landmarks, seed) give the same pair in any process.

    Args:
        families: Weights of the families that are drawn, by name; null takes all, ``blend`` most often.
        shapes: Weights of the shapes of masks, by name; null takes all.
        source: What the crops come from: ``video`` (FaceForensics++, DFDC), or ``photo`` (portraits), which are
            compressed more, to look like frames.
        pairs_per_crop: Pairs that are made of each genuine crop in an epoch: of a few hundred portraits several, or
            epochs are too short.

    Raises:
        ConfigError: A family or shape is unknown, or a weight is negative, or all are 0; or a number is out of range.

    Example:
        >>> crop = np.random.default_rng(0).integers(0, 255, (96, 96, 3), np.uint8)
        >>> landmarks = np.array([[.37, .42], [.63, .42], [.5, .57], [.37, .68], [.63, .68]], np.float32)
        >>> pair = SelfBlend(shapes={"part": 1})(crop, landmarks, seed=0)
        >>> pair.fake.shape, bool(pair.mask.any()), pair.shape
        ((96, 96, 3), True, 'part')
    """

    def __init__(
        self,
        families: Mapping[str, float] | None = None,
        shapes: Mapping[str, float] | None = None,
        source: Source = "video",
        pairs_per_crop: int = 1,
    ) -> None:
        if source not in {"photo", "video"}:
            raise ConfigError(f"self_blend.source is {source!r}; it must be photo or video.")
        self.families = _weights("families", families or DEFAULT_FAMILIES, FAMILIES)
        self.shapes = _weights("shapes", shapes or DEFAULT_SHAPES, SHAPES)
        if pairs_per_crop < 1:
            raise ConfigError(f"self_blend.pairs_per_crop is {pairs_per_crop}; it must be at least 1.")
        self.source: Source = source
        self.pairs_per_crop = pairs_per_crop

    def __call__(self, image: Image, landmarks: NDArray[np.float32], seed: int) -> Pair:
        """Make a pair.

        Args:
            image: ``(H, W, 3)`` uint8 RGB, a genuine crop.
            landmarks: ``(5, 2)`` float32, x and y in [0, 1] of the crop: eyes, nose, corners of the mouth.
            seed: Of everything that is drawn, at least 0.

        Raises:
            ConfigError: The crop is smaller than 32 px, or a landmark is missing (NaN).
        """
        side = min(image.shape[:2])
        if side < LEAST_SIDE:
            size = f"{image.shape[1]}×{image.shape[0]} px"
            raise ConfigError(f"A crop of {size} is too small for self-blends; {LEAST_SIDE} px at least.")
        if not np.isfinite(landmarks).all():
            raise ConfigError("A landmark of the crop is missing: self-blends need all five of each face.")
        side -= side % 2  # of a video frame
        if image.shape[:2] != (side, side):
            image = np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA), np.uint8)
        forger, camera_rng = (np.random.default_rng(part) for part in np.random.SeedSequence(seed).spawn(2))
        target, fake, mask, family, shape = self._forged(forger, image, landmarks * np.float32(side))
        camera = Camera(camera_rng, self.source, side)
        seen = np.rint(camera.follow(mask / max(float(mask.max()), 1e-6)) * 255).astype(np.uint8)
        moved = camera.move(landmarks * np.float32(side)) / np.float32(side)
        return Pair(camera.shoot(target), camera.shoot(fake), seen, family, shape, moved)

    def _forged(
        self, rng: np.random.Generator, image: Image, points: NDArray[np.float32]
    ) -> tuple[Image, Image, NDArray[np.float32], str, str]:
        best = (-1.0, (image, image, np.zeros(image.shape[:2], np.float32), "", ""))
        for _ in range(_TRIES):
            family = _draw(rng, self.families)
            fitting = SHAPES_OF.get(family, self.shapes.keys())
            shape = _draw(rng, {name: self.shapes[name] for name in self.shapes if name in fitting} or self.shapes)
            mask = draw_mask(rng, shape, points, image.shape[0])
            target, fake = FAMILIES[family](rng, image, mask)
            change = change_in(target, fake, mask)
            if change > best[0]:
                best = change, (target, fake, mask, family, shape)
            if change >= _LEAST_CHANGE:
                break
        return best[1]


def _draw(rng: np.random.Generator, weights: Mapping[str, float]) -> str:
    odds = np.array(list(weights.values()))
    return str(rng.choice(list(weights), p=odds / odds.sum()))


def _weights(what: str, given: Mapping[str, float], known: Mapping[str, object]) -> dict[str, float]:
    for name in given:
        if name not in known:
            there = ", ".join(known)
            raise ConfigError(f"self_blend.{what} has {name!r}; there are {there}.{nearest(name, known)}")
    if any(not weight >= 0 for weight in given.values()) or not sum(given.values()) > 0:
        raise ConfigError(f"self_blend.{what} is {dict(given)}: give weights of at least 0, one of them above.")
    return {name: float(weight) for name, weight in given.items() if weight > 0}
