"""Comparison of a fake with what is taken for its original: do the pixels around the faces agree?

Names only suggest it. Collections number genuine and fake pictures from 0, copies are cut differently, lists name the
wrong file; and then the original's boxes cut something else out of the fake than its face.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from resgat_pl.data.splits.fingerprints import fingerprint
from resgat_pl.data.splits.near_duplicates import match

Picture = NDArray[np.uint8]
Box = NDArray[np.int32]

_SIDE: Final = 48
"""Longer side, in cells, that pictures are compared at: what compression does to them averages out."""
_SAME: Final = 20
"""Difference of a cell, of 255 and in the colour that differs most, up to which it shows the same."""
_CONTENT: Final = 6
"""Cells that show the same and differ from their neighbours by no more than that, as of a plain wall, prove nothing."""
_LEAST: Final = 12
"""Other cells that it takes to say anything."""
_PAIR: Final = 0.75
"""Share of the cells outside the faces that show the same from which two pictures are a pair …"""
_UNRELATED: Final = 0.4
"""… and up to which they have nothing to do with each other."""
_FACE: Final = 0.3
"""Contrast inside a face's box, compared with the original's, from which there can be a face."""

Relation = Literal["pair", "doubt", "unrelated"]


class Agreement(NamedTuple):
    """Agreement of a fake and its original outside the faces.

    Attributes:
        share: Of the cells that are not plain, those that show the same, in [0, 1]; NaN where these are too few.
        faces: Whether there can be a face where the original has one.
        copy: Whether one is found in the other elsewhere: mirrored, shifted, scaled, or turned.
    """

    share: float
    faces: bool
    copy: bool = False

    @property
    def relation(self) -> Relation:
        """The relation of two pictures that nothing but their name makes a pair."""
        if not self.faces:
            return "doubt" if self.share >= _PAIR or self.copy else "unrelated"
        if np.isnan(self.share):
            return "doubt"
        if self.share >= _PAIR:
            return "pair"
        return "unrelated" if self.share <= _UNRELATED and not self.copy else "doubt"

    @property
    def refuted(self) -> bool:
        """True if two pictures cannot be a pair, whatever a data set says."""
        return not self.faces or self.share <= _UNRELATED  # not where the share is NaN

    @property
    def misaligned(self) -> bool:
        """True if two pictures do not show the same around the faces, where every pixel of the two shall correspond."""
        return self.share < _PAIR  # not where the share is NaN

    def __str__(self) -> str:
        if not self.faces:
            return "there is no face where the original has one"
        return (
            "nothing but plain areas to compare" if np.isnan(self.share) else f"{self.share:.0%} of it shows the same"
        )


def agreement(frames: Iterable[tuple[Picture, Picture, Sequence[Box]]], margin: float) -> Agreement:
    """Compare frames.

    Args:
        frames: The fake's, the original's, both ``(H, W, 3)`` uint8 RGB but not necessarily of one size, and the boxes
            ``(4,)`` of the original's faces, in pixels of the original.
        margin: Side of a box as a multiple of the face's.
    """
    same = counted = 0
    contrasts: dict[int, list[tuple[float, float]]] = {}
    first: tuple[Picture, ...] = ()
    for fake, original, boxes in frames:
        first = first or (fake, original)
        small, shown = _small(fake, original), _small(original, original)
        outside = np.ones(shown.shape[:2], bool)
        scale = np.array([shown.shape[1] / original.shape[1], shown.shape[0] / original.shape[0]] * 2)
        for number, box in enumerate(boxes):
            x0, y0, x1, y1 = _inner(box * scale, max(1.0, margin))
            outside[y0:y1, x0:x1] = False
            inside = [picture[y0:y1, x0:x1].astype(np.float32) for picture in (small, shown)]
            if inside[0].size:
                contrasts.setdefault(number, []).append((float(inside[0].std()), float(inside[1].std())))
        agree = cv2.absdiff(small, shown).max(axis=2) <= _SAME
        counts = outside & ((np.maximum(_contrast(small), _contrast(shown)) > _CONTENT) | ~agree)
        counted += int(np.count_nonzero(counts))
        same += int(np.count_nonzero(counts & agree))
    faces = all(
        np.mean([fake for fake, _ in found]) >= _FACE * np.mean([real for _, real in found])
        for found in contrasts.values()
    )
    found = Agreement(same / counted if counted >= _LEAST else float("nan"), faces)
    return found._replace(copy=found.relation == "unrelated" and _is_copy(first))


def _is_copy(frame: Sequence[Picture]) -> bool:
    """True if a fake's frame and the original's show the same at another place: such were made from each other."""
    if len(frame) < 2:
        return False
    one, other = (fingerprint(picture)[0] for picture in frame)
    return any(match(one, other, is_mirrored) is not None for is_mirrored in (False, True))  # a logo alone is none


def _small(image: Picture, like: Picture) -> Picture:
    """The picture in cells, as many as for ``like``."""
    height, width = like.shape[:2]
    scale = _SIDE / max(height, width)
    shape = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(image, shape, interpolation=cv2.INTER_AREA), np.uint8)


def _contrast(small: Picture) -> NDArray[np.float32]:
    """``(h, w)``: by how much the cells around one differ, in the colour that differs most."""
    kernel = np.ones((3, 3), np.uint8)
    return np.asarray((cv2.dilate(small, kernel).astype(np.float32) - cv2.erode(small, kernel)).max(axis=2))


def _inner(box: NDArray[np.float64], margin: float) -> tuple[int, int, int, int]:
    """The face in its box, whole cells, within the picture."""
    centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / (2 * margin)
    low, high = np.floor(centre - half).clip(0).astype(int), np.ceil(centre + half).clip(0).astype(int)
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])
