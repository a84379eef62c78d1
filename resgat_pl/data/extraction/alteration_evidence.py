"""Evidence for which faces of a fake were altered: its difference from its original, and its mask.

A fake and its original are encoded apart, so they differ a little everywhere, and most where there is texture. What is
compared is therefore the difference beyond that noise, whose size is read off the video itself. Three answers are
possible, and *unknown* is the one for whatever lies in between: an alteration that is as weak as the noise cannot be
distinguished from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Box = NDArray[np.int32]
Crop = tuple[int, int]
"""Number of the face, number of the frame."""

_CELLS: Final = 12
"""A crop is compared in so many cells a side: the smallest part of a face that is altered alone, a mouth, spans two."""
_EVERY: Final = 8
"""Of every so many frames the texture, and what is around the faces, is looked at too, for the size of the noise."""
_NOISE: Final = 1.3
"""Noise in a face, of 255, up to which the limit below holds as it is; x264 leaves so much at CRF 18 to 23."""
_ALTERED: Final = 2.5
"""Mean difference in a cell beyond the noise, of 255, from which a face was altered."""
_GLARING: Final = 10.0
"""… and from which it was, however much the other faces of the video differ."""
_MORE: Final = 1.4
"""So many times as much as the face that differs least must an altered one differ, where there are several …"""
_HIDDEN: Final = 3.0
"""Mean difference in a cell, of 255, up to which nobody sees one: a face that shows no more of it …"""
_RATIO: Final = 2.0
"""… and an altered one so many times as much was not altered."""
_CLEAR: Final = 4.0
"""From this ratio on more noise is allowed, up to the next two: a swapped face in a video compressed strongly."""
_LOUD: Final = 10.0
_EVEN: Final = 1.8
"""Largest difference in a face against its median: noise is everywhere, an alteration somewhere."""
_FLICKER: Final = 1.5
"""A single frame is so many times as noisy as the mean of all."""
_COVERED: Final = 0.02
"""Share of the face under the mask from which it was altered."""
_BARE: Final = 0.001
"""… and up to which it was not; compressed masks have specks."""


class Found(NamedTuple):
    """The evidence on the faces of a video.

    Attributes:
        crops: By crop whether it was altered; None where that is unknown. Crops that were not compared are missing.
        faces: The same for each face as a whole.
        strength: By face, how strongly it was altered; to choose among them.
    """

    crops: dict[Crop, bool | None]
    faces: dict[int, bool | None]
    strength: dict[int, float]


class Difference:
    """Gathers how the crops of a fake differ from those of its original, frame by frame.

    Args:
        margin: Side of the crop as a multiple of the face's.
    """

    def __init__(self, margin: float) -> None:
        self.margin = max(1.0, margin)
        self._cells: dict[int, dict[int, NDArray[np.float32]]] = {}
        self._texture: dict[int, list[NDArray[np.float32]]] = {}
        self._around: list[NDArray[np.float32]] = []
        self._frames = 0

    def add(self, number: int, fake: Picture, original: Picture, boxes: Mapping[int, Box]) -> None:
        """Compare one frame.

        Args:
            number: Its number.
            fake: ``(H, W, 3)`` uint8 RGB.
            original: The same frame of the original, of the same size.
            boxes: ``(4,)`` int32 by face.
        """
        if fake.shape != original.shape or not boxes:
            return
        for face, box in boxes.items():
            ours, theirs = _cut(fake, box), _cut(original, box)
            if not ours.size:
                continue
            mine = self._cells.setdefault(face, {})
            if len(mine) % _EVERY == 0:
                self._texture.setdefault(face, []).append(_by_cell(_texture(theirs)))
            mine[number] = np.asarray(_by_cell(_apart(ours, theirs)) / 3, np.float32)
        if self._frames % _EVERY == 0:
            self._around.append(_surroundings(fake, original, list(boxes.values())))
        self._frames += 1

    def found(self) -> Found:
        """The evidence of the differences, over all frames that were added."""
        if not self._cells:
            return Found({}, {}, {})
        noise = self._noise()
        expected = {face: noise(np.mean(texture, axis=0)) for face, texture in self._texture.items()}
        mean = {face: np.mean(list(cells.values()), axis=0) for face, cells in self._cells.items()}
        quiet = {face: max(1.0, float(np.median(values)) / _NOISE) for face, values in expected.items()}
        strength = {face: float(_smooth(values).max()) for face, values in mean.items()}
        least = min(strength.values()) if len(strength) > 1 else 0.0
        faces: dict[int, bool | None] = {}
        for face, values in mean.items():
            # What reaches into the corner of a crop is the neighbour's.
            beyond = float(_smooth((values - expected[face])[_inner(self.margin)]).max()) / quiet[face]
            stands_out = strength[face] >= _MORE * least or beyond >= _GLARING
            faces[face] = True if beyond >= _ALTERED and stands_out else None
        strongest = max((strength[face] for face, altered in faces.items() if altered), default=0.0)
        for face, values in mean.items():
            ratio = strongest / max(strength[face], 1e-6)
            is_noise = strength[face] <= min(_LOUD, _EVEN * float(np.median(values)))
            if (ratio >= _RATIO and strength[face] <= _HIDDEN) or (ratio >= _CLEAR and is_noise):
                faces[face] = False
        crops: dict[Crop, bool | None] = {}
        for face, altered in faces.items():
            crops |= {(face, number): altered for number in self._cells[face]}
            if altered:
                crops |= self._still_frames(face)
        return Found(crops, faces, strength)

    def _still_frames(self, face: int) -> dict[Crop, bool | None]:
        """The frames of an altered face in which it was not: where the method lost the face, or before it began."""
        peaks = {number: float(_smooth(values).max()) for number, values in self._cells[face].items()}
        most = float(np.quantile(list(peaks.values()), 0.95))
        return {
            (face, number): False if peak <= _FLICKER * _HIDDEN else None
            for number, peak in peaks.items()
            if most >= _CLEAR * peak
        }

    def _noise(self) -> Noise:
        inside = [
            np.stack([values, texture]).reshape(2, -1)
            for face, cells in self._cells.items()
            for values, texture in zip(list(cells.values())[::_EVERY], self._texture[face], strict=True)
        ]
        return Noise.fit(np.concatenate([*inside, *self._around], axis=1))


class Noise(NamedTuple):
    """Difference that encoding alone leaves, as a line over the texture: most of all cells show no more than that."""

    base: float
    slope: float

    @classmethod
    def fit(cls, cells: NDArray[np.float32]) -> Noise:
        """Fit it to cells ``(2, n)``: the difference and the texture of each, both of 255."""
        difference, texture = cells
        edges = np.quantile(texture, np.linspace(0, 1, 9))
        points = []
        for low, high in pairwise(edges.tolist()):
            inside = (texture >= low) & (texture <= high)
            points.append((float(np.median(texture[inside])), float(np.median(difference[inside]))))
        x, y = np.array(points).T
        spread = float(((x - x.mean()) ** 2).sum())
        slope = max(0.0, float(((x - x.mean()) * (y - y.mean())).sum()) / spread) if spread > 1e-9 else 0.0
        return cls(max(0.05, float(y.mean() - slope * x.mean())), slope)

    def __call__(self, texture: NDArray[np.float32]) -> NDArray[np.float32]:
        """The difference to expect at so much texture, both of 255 and of any shape."""
        return np.asarray(self.base + self.slope * texture, np.float32)


class Covered:
    """Gathers how much of each face a mask covers.

    Args:
        margin: Side of the crop as a multiple of the face's.
    """

    def __init__(self, margin: float) -> None:
        self.margin = max(1.0, margin)
        self._shares: dict[Crop, float] = {}

    def add(self, number: int, mask: Picture, boxes: Mapping[int, Box]) -> None:
        """Look at one frame's mask, ``(H, W)`` uint8, and boxes ``(4,)`` int32 by face, in pixels of the mask."""
        for face, (x0, y0, x1, y1) in boxes.items():
            rim_x, rim_y = (round((high - low) * (1 - 1 / self.margin) / 2) for low, high in ((x0, x1), (y0, y1)))
            inner = _cut(mask, np.array([x0 + rim_x, y0 + rim_y, x1 - rim_x, y1 - rim_y], np.int32))
            self._shares[face, number] = float(np.count_nonzero(inner) / inner.size) if inner.size else 0.0

    def found(self) -> Found:
        """The evidence of the masks; nothing is known where none of them covers a face."""
        crops: dict[Crop, bool | None] = {
            crop: True if share >= _COVERED else False if share <= _BARE else None
            for crop, share in self._shares.items()
        }
        if not any(crops.values()):
            crops = dict.fromkeys(crops)
        strength: dict[int, float] = {}
        for (face, _), share in self._shares.items():
            strength[face] = strength.get(face, 0.0) + share
        return Found(crops, {face: _of_face(crops, face) for face in strength}, strength)


def agreed(mask: Found, difference: Found) -> Found:
    """The evidence of both: the mask decides, unless the pictures show the contrary.

    A mask of another video or method lies on a face that is as it was, or leaves one out that is not.
    """
    if not mask.crops or not any(mask.faces.values()):
        return difference
    shown = difference.faces
    contrary = any(altered and shown.get(face) is False for face, altered in mask.faces.items())
    if contrary:
        return Found(dict.fromkeys({**difference.crops, **mask.crops}), dict.fromkeys(mask.faces), difference.strength)
    crops = {
        crop: None if altered is False and difference.crops.get(crop) else altered
        for crop, altered in mask.crops.items()
    }
    return Found(crops, {face: _of_face(crops, face) for face in mask.faces}, mask.strength)


def _of_face(crops: Mapping[Crop, bool | None], face: int) -> bool | None:
    mine = [altered for (number, _), altered in crops.items() if number == face]
    return True if any(mine) else False if all(altered is False for altered in mine) else None


def _cut(image: Picture, box: Box) -> Picture:
    """The part of a box that lies in the picture."""
    x0, y0, x1, y1 = (int(value) for value in box)
    return image[max(0, y0) : max(0, y1), max(0, x0) : max(0, x1)]


def _apart(one: Picture, other: Picture) -> Picture:
    """``(h, w)`` uint8: difference of two pictures, the sum over the colours; 255 stands for all above."""
    return np.asarray(cv2.transform(cv2.absdiff(one, other), np.ones((1, 3))), np.uint8)


def _texture(image: Picture) -> Picture:
    """``(h, w)`` uint8: how far each pixel is from the mean of those around it."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.absdiff(grey, cv2.blur(grey, (5, 5))), np.uint8)


def _by_cell(values: Picture, shape: tuple[int, int] = (_CELLS, _CELLS)) -> NDArray[np.float32]:
    return np.asarray(cv2.resize(values, shape, interpolation=cv2.INTER_AREA), np.float32)


def _smooth(cells: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means of two by two cells: an alteration is no single cell."""
    return np.asarray((cells[1:, 1:] + cells[:-1, 1:] + cells[1:, :-1] + cells[:-1, :-1]) / 4)


def _inner(margin: float) -> tuple[slice, slice]:
    rim = int(_CELLS * (1 - 1 / margin) / 2)
    return (slice(rim, _CELLS - rim),) * 2


def _surroundings(fake: Picture, original: Picture, boxes: list[Box]) -> NDArray[np.float32]:
    """Difference and texture ``(2, n)`` of cells outside all boxes, as large as those inside."""
    height, width = fake.shape[:2]
    side = max(1.0, float(np.median([box[2] - box[0] for box in boxes])) / _CELLS)
    shape = max(1, round(width / side)), max(1, round(height / side))
    cells = np.stack([_by_cell(_apart(fake, original), shape) / 3, _by_cell(_texture(original), shape)])
    outside = np.ones(cells.shape[1:], bool)
    for box in boxes:
        x0, y0, x1, y1 = (round(float(value) / side) for value in box)
        outside[max(0, y0) : max(0, y1 + 1), max(0, x0) : max(0, x1 + 1)] = False
    return cells[:, outside]
