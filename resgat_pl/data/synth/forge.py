"""Fakes: a region of a genuine clip replaced by an altered copy of itself, frame by frame."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from resgat_pl.data.synth.alterations import KINDS, STRENGTHS, Alteration, View
from resgat_pl.data.synth.blend import SoftMask, blend, pose
from resgat_pl.data.synth.clip import Clip

SUBTLE = 5.5
"""Mean change inside the mask, of 255, that shows when the two clips are compared enlarged."""


def draw_span(rng: np.random.Generator, frames: int, share: float) -> range | None:
    """Draw the frames of a clip that are altered: a stretch of neighbours of ``share`` of them, one at least.

    Returns:
        The frames; None for all, where ``share`` is 1.
    """
    if share >= 1:
        return None
    length = min(frames, max(1, round(share * frames)))
    first = int(rng.integers(frames - length + 1))
    return range(first, first + length)


def draw_flicker(rng: np.random.Generator, frames: int, amount: float) -> NDArray[np.float64] | None:
    """Draw the factor ``(T,)`` of each frame's strength, from 1 − ``amount`` to 1 + ``amount``; None for amount 0."""
    return 1 + amount * rng.uniform(-1, 1, frames) if amount else None


class _Cut(NamedTuple):
    """The part of a frame that is altered: its place, how the face lies in it, and the mask."""

    rows: slice
    columns: slice
    view: View
    weight: NDArray[np.float32]


def forge(
    clip: Clip,
    face: int,
    kind: str,
    region: str,
    rng: np.random.Generator,
    change: float = SUBTLE,
    extent: float = 1.0,
    span: range | None = None,
    flicker: NDArray[np.float64] | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Alter one region of one face through a whole clip, or in a span of it.

    The strength is the least of ``STRENGTHS`` at which the first altered frame changes by as much as was drawn for the
    clip: a sharpened eye shows long before a sharpened cheek does.

    Args:
        clip: The genuine clip.
        face: Number of the face to alter.
        kind: Kind of alteration, of ``KINDS``.
        region: Region to alter, of ``REGIONS``.
        rng: Source of the alteration's parameters and the mask's shape.
        change: Mean change inside the mask, of 255, to reach; drawn for each clip from 0.7 to 1.4 times this.
        extent: Size of the altered region, as a multiple of its usual one.
        span: Frames to alter; None for all.
        flicker: ``(T,)`` float64, factor of the strength in each frame; None for the same strength in all.

    Returns:
        The frames ``(T, S, S, 3)`` uint8, and the mask ``(T, S, S)`` bool: outside it the frames equal the clip's.
    """
    alter = KINDS[kind](rng)
    soft = SoftMask.draw(rng, region, extent)
    visible = change * rng.uniform(0.7, 1.4)
    frames = clip.frames.copy()
    masks = np.zeros(frames.shape[:3], bool)
    strength = None
    for number, landmarks in enumerate(clip.landmarks[face]):
        if span is not None and number not in span:
            continue
        cut = _cut(soft, landmarks, frames.shape[1], rng)
        if cut is None:
            continue  # the region has left the frame
        patch = clip.frames[number][cut.rows, cut.columns]
        strength = strength or _strength(alter, patch, cut, visible)
        now = strength if flicker is None else strength * float(flicker[number])
        frames[number][cut.rows, cut.columns] = blend(patch, alter(patch, cut.view, now), cut.weight)
        masks[number][cut.rows, cut.columns] = cut.weight > 0
    return frames, masks


def _cut(soft: SoftMask, landmarks: NDArray[np.float32], size: int, rng: np.random.Generator) -> _Cut | None:
    face = pose(landmarks)
    weight = soft.place(face, size)
    x, y, width, height = cv2.boundingRect((weight > 0).view(np.uint8))
    if not width:
        return None
    # The margin lets the filters see beyond the mask's edge.
    margin = max(8, size // 16)
    left, top = max(0, x - margin), max(0, y - margin)
    rows, columns = slice(top, y + height + margin), slice(left, x + width + margin)
    view = View(face - np.array([[0, 0, left], [0, 0, top]]), soft.region, rng)
    return _Cut(rows, columns, view, weight[rows, columns])


def _strength(alter: Alteration, patch: NDArray[np.uint8], cut: _Cut, visible: float) -> float:
    for strength in STRENGTHS:
        change = cv2.absdiff(patch, alter(patch, cut.view, strength))
        if change[cut.weight > 0.5].mean() >= visible:
            return strength
    return STRENGTHS[-1]
