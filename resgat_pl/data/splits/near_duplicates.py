"""Pictures that look the same in different splits, whatever their names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from resgat_pl.core.types import Split
from resgat_pl.data.manifest.class_counts import SPLITS
from resgat_pl.data.splits.copy_candidates import Index
from resgat_pl.data.splits.fingerprints import THUMB, Fingerprints, mirrored
from resgat_pl.data.splits.leakage import Leak

BITS: Final = 256
LIMIT: Final = 24
"""Bits of 256 in which the hashes of two near-duplicates differ at most. Measured on crops of 224 px of 436 portraits
of different people: the closest of 94,830 pairs differ in 58 bits, while JPEG at quality 10, H.264 at CRF 42, a blur of
4 px or noise of 40 grey levels change 18 bits at most in 95 % of the pictures. A shift by 4 px is past the limit: such
copies are found by their local features."""

_NEAR: Final = 32  # bits of 128 in which the codes of a matching feature differ at most
_TOLERANCE: Final = 3.0  # px of 160 by which a matching feature may be off its place
_SCALES: Final = (0.4, 2.5)
_FEATURES: Final = (8, 16, 24)
_AGREE: Final = (0.5, 0.4, 0.3)
"""Two pictures are one if 8 features of one lie in the other as a whole that is moved, turned and scaled, and half of
the blocks with detail that overlap look alike; or 16 and 40 %, or 24 and 30 %. See experiments/near_duplicates.py: of
94,830 pairs of portraits of different people none has more than 19 % with 8 features, of drawn faces, which share their
shapes, none more than 44 %; retouched copies have 70 % and more."""
_BLOCK: Final = 6  # side of a block, px of THUMB
_DETAIL: Final = 4.0  # standard deviation of a block that is not plain, grey levels
_BLOCKS: Final = 10  # blocks that must look alike
_ALIKE: Final = 0.85  # correlation of two blocks that look alike,
_LEVEL: Final = 0.1  # difference of their means, by the picture's standard deviation, in one light,
_RATIO: Final = 1.67  # and of their contrasts
_FAILURES: Final = 16  # candidates in a row, those with the most in common first, that are no copies: nor are the rest
_MOST: Final = 64  # copies found of one picture in another split by features; there may be thousands in a broken set


class Match(NamedTuple):
    """The position of one picture in its copy.

    Attributes:
        is_mirrored: Whether it is the mirror image.
        scale: Size in the copy divided by its size, relative to the picture's frame.
        shift: Distance of the frames' centres by the side of the copy (of the square of its area).
        turn: Degrees.
        differs: Share of the blocks with detail, where they overlap, that do not look alike, in [0, 1].
    """

    is_mirrored: bool
    scale: float = 1.0
    shift: float = 0.0
    turn: float = 0.0
    differs: float = 0.0

    def __str__(self) -> str:
        said = ["mirrored"] if self.is_mirrored else []
        if abs(self.scale - 1) >= 0.02:
            said.append(f"scaled by {self.scale - 1:+.0%}")
        if self.shift >= 0.02:
            said.append(f"shifted by {self.shift:.0%}")
        if abs(self.turn) >= 1.5:
            said.append(f"turned by {abs(self.turn):.0f}°")
        if self.differs >= 0.1:
            said.append(f"{self.differs:.0%} differs")
        return ", ".join(said)


def find_duplicates(pictures: Mapping[Split, tuple[Sequence[str], Fingerprints]]) -> list[Leak]:
    """Find pairs of pictures in different splits that are copies: see ``match``, or hashes within ``LIMIT`` bits.

    Args:
        pictures: By split the names of its pictures and their fingerprints ``(n,)``. Several pictures of one name, such
            as a video's, make one pair.

    Returns:
        At most one entry per pair of splits; its names are ``a ~ b``, or ``a ~ b (how)`` where the copy is changed.
    """
    leaks = []
    for one, other in combinations(SPLITS, 2):
        if one not in pictures or other not in pictures:
            continue
        title = f"compare {one} and {other}"
        (left, a), (right, b) = pictures[one], pictures[other]
        found: dict[tuple[str, str], str] = {}
        for i, j, is_mirrored in _alike_hashes(a, b, title):
            key = left[i], right[j]
            found[key] = min(found.get(key, "mirrored"), str(Match(is_mirrored)))
        for i, j, how in _by_features(a, b, left, right, found, title):
            found[left[i], right[j]] = str(how)
        if found:
            pairs = sorted(f"{a} ~ {b}" + (f" ({how})" if how else "") for (a, b), how in found.items())
            leaks.append(Leak("duplicate", (one, other), tuple(pairs)))
    return leaks


def _alike_hashes(a: Fingerprints, b: Fingerprints, title: str) -> Iterator[tuple[int, int, bool]]:
    rows, columns = _with_detail(a), _with_detail(b)
    if not len(rows) or not len(columns):
        return
    words = np.ascontiguousarray(b["hashes"][columns, 0].T)
    step = max(1, 200_000 // len(columns))  # what is written below stays in the cache
    differ, count = np.empty((step, len(columns)), np.uint64), np.empty((2, step, len(columns)), np.uint8)
    bar = tqdm(total=len(rows), desc=f"{title}: hashes", unit="picture", leave=False)
    with bar:
        for start in range(0, len(rows), step):
            size = min(step, len(rows) - start)
            for is_mirrored in (False, True):
                block = a["hashes"][rows[start : start + size], int(is_mirrored)]
                distance, bits = count[:, :size]
                for word, others in enumerate(words):
                    np.bitwise_xor(block[:, None, word], others, out=differ[:size])
                    np.bitwise_count(differ[:size], out=bits if word else distance)
                    if word:
                        distance += bits
                if distance.min() > LIMIT:
                    continue
                for i, j in np.argwhere(distance <= LIMIT).tolist():
                    if np.bitwise_count(block[i] ^ words[:, j]).sum(dtype=np.int64) <= LIMIT:  # 256 is no 0
                        yield int(rows[start + i]), int(columns[j]), is_mirrored
            bar.update(size)


def _with_detail(pictures: Fingerprints) -> NDArray[np.int64]:
    """Leave out plain pictures, such as the black one a video begins with: they have no bits above the median."""
    return np.flatnonzero(np.bitwise_count(pictures["hashes"][:, 0]).sum(axis=1, dtype=np.int64) > LIMIT)


def _by_features(
    a: Fingerprints,
    b: Fingerprints,
    left: Sequence[str],
    right: Sequence[str],
    known: Mapping[tuple[str, str], str],
    title: str,
) -> Iterator[tuple[int, int, Match]]:
    """Copies that are not yet among the ``known``, which the caller adds to meanwhile."""
    is_turned = len(a) > len(b)  # the more are looked up in: that is what grows slowly
    asked, index = (b, Index(a)) if is_turned else (a, Index(b))
    bar = tqdm(index.find(asked), total=len(asked), desc=f"{title}: features", unit="picture", leave=False)
    for place, candidates in bar:
        copies = failures = 0
        for candidate in candidates:
            i, j = (candidate.other, place) if is_turned else (place, candidate.other)
            if (left[i], right[j]) in known:
                continue
            how = match(a[i], b[j], candidate.is_mirrored)
            if how is not None:
                yield i, j, how
            copies, failures = (copies, failures + 1) if how is None else (copies + 1, 0)
            if failures == _FAILURES or copies == _MOST:
                break


def match(one: Any, other: Any, is_mirrored: bool) -> Match | None:
    """Match two pictures: their features are arranged alike, and what is between the features looks alike.

    The features alone would be deceived by a line of text or a logo, which is the same in many pictures.

    Args:
        one: A record of ``FINGERPRINT``.
        other: Another one.
        is_mirrored: Whether the mirror image of ``one`` is meant.

    Returns:
        How they are placed, or None if they are not one picture.
    """
    found = _place(one, other, is_mirrored)
    if found is None:
        return None
    matrix, features = found
    alike, blocks = _alike_blocks(one, other, is_mirrored, matrix)
    share = alike / max(1, blocks)
    enough = any(features >= least and share >= agree for least, agree in zip(_FEATURES, _AGREE, strict=True))
    if not enough or alike < _BLOCKS:
        return None
    centre = matrix @ np.array([*(one["size"] / 2), 1])
    scale, turn = float(np.hypot(*matrix[:, 0])), float(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])))
    shift = float(np.hypot(*(centre - other["size"] / 2)) / np.sqrt(np.prod(other["size"])))
    return Match(is_mirrored, scale, shift, turn, 1 - share)


def _place(one: Any, other: Any, is_mirrored: bool) -> tuple[NDArray[np.float64], int] | None:
    """Place of ``one`` in ``other``: a matrix ``(2, 3)`` on px, and how many features agree."""
    codes = [record["codes"][: record["count"]] for record in (one, other)]
    if min(map(len, codes)) < _FEATURES[0]:
        return None
    codes[0] = mirrored(codes[0]) if is_mirrored else codes[0]
    distance = np.bitwise_count(codes[0][:, None] ^ codes[1][None]).sum(axis=2, dtype=np.uint8)
    nearest = distance.argmin(axis=1)
    rows = np.arange(len(nearest))
    mutual = (distance.argmin(axis=0)[nearest] == rows) & (distance[rows, nearest] <= _NEAR)
    if mutual.sum() < _FEATURES[0]:
        return None
    points = one["points"][rows[mutual]].astype(np.float32), other["points"][nearest[mutual]].astype(np.float32)
    if is_mirrored:
        points[0][:, 0] = one["size"][0] - 1 - points[0][:, 0]
    # RANSAC (Fischler & Bolles 1981); OpenCV draws the same samples every time
    matrix, inliers = cv2.estimateAffinePartial2D(
        *points, method=cv2.RANSAC, ransacReprojThreshold=_TOLERANCE, maxIters=500, confidence=0.999
    )
    if matrix is None or not _SCALES[0] < np.hypot(*matrix[:, 0]) < _SCALES[1]:
        return None
    # several features at one place, which differ in their orientation or size, count once
    places = np.round(points[1][inliers.ravel() > 0] / _TOLERANCE)
    features = len(np.unique(places, axis=0))
    return (matrix.astype(np.float64), features) if features >= _FEATURES[0] else None


def _alike_blocks(one: Any, other: Any, is_mirrored: bool, matrix: NDArray[np.float64]) -> tuple[int, int]:
    """Blocks of ``other`` that look like ``one``, and those of both that overlap and have detail."""
    back = cv2.invertAffineTransform(matrix)
    side = (np.arange(THUMB) + 0.5) / THUMB
    column, row = np.meshgrid(side * other["size"][0] - 0.5, side * other["size"][1] - 0.5)
    x, y = (
        ((turned[0] * column + turned[1] * row + turned[2] + 0.5) * THUMB / size - 0.5).astype(np.float32)
        for turned, size in zip(back, one["size"], strict=True)
    )
    thumb = one["thumb"][:, ::-1] if is_mirrored else one["thumb"]
    placed = cv2.remap(thumb.astype(np.float32), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    inside = (abs(x - (THUMB - 1) / 2) < THUMB / 2) & (abs(y - (THUMB - 1) / 2) < THUMB / 2)
    p, q, overlap = map(_blocks, (placed, other["thumb"], inside))
    p, q = p[overlap.mean(axis=1) > 0.75], q[overlap.mean(axis=1) > 0.75]
    if not len(p):
        return 0, 0
    levels, deviations = (p.mean(axis=1), q.mean(axis=1)), (p.std(axis=1), q.std(axis=1))
    covariance = ((p - levels[0][:, None]) * (q - levels[1][:, None])).mean(axis=1)
    alike = covariance > _ALIKE * np.maximum(deviations[0] * deviations[1], 1e-6)
    detailed = np.maximum(*deviations) > _DETAIL
    alike &= detailed
    if alike.sum() < _BLOCKS:
        return 0, int(detailed.sum())
    # Faces of different people have eyes, brows and a chin alike. In one light, hair and skin are not equally dark.
    gain, offset = _light(levels[0][alike], levels[1][alike])
    alike &= abs(levels[1] - gain * levels[0] - offset) < _LEVEL * max(float(q.std()), 8.0)
    ratio = np.maximum(gain * deviations[0], 2) / np.maximum(deviations[1], 2)
    alike &= (ratio < _RATIO) & (ratio > 1 / _RATIO)
    return int(alike.sum()), int(detailed.sum())


def _light(p: NDArray[np.float32], q: NDArray[np.float32]) -> tuple[float, float]:
    """Gain and offset ``(q = gain * p + offset)`` by medians (Theil 1950, Sen 1968)."""
    i, j = np.triu_indices(len(p), 1)
    apart = abs(p[i] - p[j]) > 10  # grey levels
    slopes = (q[i] - q[j])[apart] / (p[i] - p[j])[apart]
    gain = float(np.clip(np.median(slopes), 0.25, 4)) if len(slopes) > 20 else 1.0
    return gain, float(np.median(q - gain * p))


def _blocks(picture: NDArray[Any]) -> NDArray[np.float32]:
    """``(blocks, pixels)`` of a picture of ``THUMB`` px."""
    count = THUMB // _BLOCK
    grid = picture.astype(np.float32).reshape(count, _BLOCK, count, _BLOCK).swapaxes(1, 2)
    return grid.reshape(count * count, _BLOCK * _BLOCK)
