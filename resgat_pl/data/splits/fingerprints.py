"""Fingerprints by which copies of a picture are found: two hashes, codes of local features, and a small grey copy."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

FEATURES: Final = 96
"""Local features stored per picture. With a third of them after retouching, scaling and JPEG, 20 still match."""
SIDE: Final = 160
"""Pictures are scaled to the area of a square of this side, px: copies of half the size have the same features."""
THUMB: Final = 48
"""Side of the grey copy, px."""

FINGERPRINT: Final = np.dtype(
    [
        ("hashes", np.uint64, (2, 4)),  # perceptual hash of the picture and of its mirror image; 0 without detail
        ("size", np.float32, (2,)),  # width and height, px, once scaled to SIDE
        ("count", np.int16),  # local features there are
        ("points", np.float16, (FEATURES, 2)),  # where, px once scaled, x and y
        ("codes", np.uint64, (FEATURES, 2)),  # see ``code``
        ("thumb", np.uint8, (THUMB, THUMB)),  # grey, whatever the picture's shape
    ]
)
"""One picture's record, 4 kB: fixed in size, so that those of 200,000 pictures are one array."""

Fingerprints = NDArray[np.void]
"""``(n,)`` of dtype ``FINGERPRINT``."""

_CONTRAST: Final = 0.01  # of SIFT: faces are smooth, the default of 0.04 leaves too few features
_CELLS: Final = 4  # features are taken from a grid of so many cells a side in turn
_BAR: Final = (24, 4)  # rows and columns at the border that are this dark and this even are bars, grey levels
_PLAIN: Final = 2.0  # standard deviation of a plain picture's grey copy, grey levels

_MEAN: Final = (
    (74, 60, 47, 54, 59, 41, 35, 49), (126, 83, 48, 46, 46, 37, 43, 76),
    (128, 74, 40, 36, 39, 43, 53, 87), (77, 49, 33, 36, 48, 51, 53, 66),
    (93, 64, 47, 59, 72, 52, 39, 57), (169, 94, 48, 51, 57, 45, 44, 90),
    (169, 90, 43, 42, 49, 48, 52, 96), (98, 59, 40, 46, 59, 55, 52, 70),
)  # fmt: skip
"""Thousandths: mean RootSIFT descriptor of portraits, rows 0 and 1 of its cells. Rows 2 and 3 are their mirror image.
Half of the codes' bits are set around it; another mean makes the bits less even, not wrong."""


def fingerprint(image: NDArray[np.uint8]) -> Fingerprints:
    """Describe a picture so that its copies are known: cropped, shifted, scaled, mirrored, turned, a part replaced.

    Local features are SIFT's (Lowe 2004) as RootSIFT (Arandjelović & Zisserman, CVPR 2012), a code of 128 bits each
    (signs of projections, as in Hamming embedding: Jégou et al., ECCV 2008). They are taken from the cells of a grid in
    turn, lest a line of text or a logo have them all. Black bars are cut off first.

    Args:
        image: ``(H, W, 3)`` uint8 RGB.

    Returns:
        ``(1,)`` of dtype ``FINGERPRINT``.
    """
    grey = _without_bars(np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8))
    height, width = grey.shape
    record = np.zeros(1, FINGERPRINT)
    thumb = cv2.resize(grey, (THUMB, THUMB), interpolation=cv2.INTER_AREA)
    record["thumb"] = thumb
    scale = SIDE / float(np.sqrt(height * width))
    size = max(8, round(width * scale)), max(8, round(height * scale))
    record["size"] = size
    if thumb.std() < _PLAIN:
        return record
    record["hashes"] = [perceptual_hash(grey), perceptual_hash(np.ascontiguousarray(grey[:, ::-1]))]
    scaled = cv2.resize(grey, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    points, codes = _features(np.asarray(scaled, np.uint8))
    record["count"] = len(points)
    record["points"][0, : len(points)] = points
    record["codes"][0, : len(codes)] = codes
    return record


def perceptual_hash(image: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Perceptual hash of 256 bits (pHash: Zauner 2010): signs of low frequencies around their median.

    Args:
        image: ``(H, W, 3)`` uint8 RGB, or ``(H, W)`` grey.

    Returns:
        ``(4,)`` uint64.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image
    small = cv2.resize(grey, (64, 64), interpolation=cv2.INTER_AREA)
    low = cv2.dct(small.astype(np.float32))[:16, :16].ravel()
    return np.packbits(low > np.median(low[1:])).view(np.uint64)


def mirrored(codes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Codes ``(..., 2)`` of the same features in the mirror image: the second word inverted, by their construction."""
    return np.stack([codes[..., 0], ~codes[..., 1]], axis=-1)


def _without_bars(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    for _ in range(2):  # rows, then columns
        level, even = grey.mean(axis=1), grey.std(axis=1)
        inside = np.flatnonzero((level > _BAR[0]) | (even > _BAR[1]))
        if 4 * len(inside) > len(grey):  # else it is a dark picture
            grey = grey[inside[0] : inside[-1] + 1]
        grey = grey.T
    return np.ascontiguousarray(grey)


def _features(grey: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.uint64]]:
    """Places ``(n, 2)`` and codes ``(n, 2)`` of at most ``FEATURES`` features."""
    sift = _sift()
    found = sift.detect(grey, None)
    if not found:
        return np.zeros((0, 2), np.float32), np.zeros((0, 2), np.uint64)
    places = np.array([point.pt for point in found], np.float32)
    strength = np.array([point.response for point in found])
    height, width = grey.shape
    column, row = (np.clip(places * _CELLS / (width, height), 0, _CELLS - 1)).astype(int).T
    cell = row * _CELLS + column
    # by cell, the strongest first; then the first of every cell, the second of every cell, and so on
    order = np.lexsort((-strength, cell))
    firsts = np.searchsorted(cell[order], cell[order])
    turn = np.arange(len(order)) - firsts
    chosen = order[np.lexsort((-strength[order], turn))][:FEATURES]
    kept, descriptors = sift.compute(grey, [found[place] for place in chosen.tolist()])
    return np.array([point.pt for point in kept], np.float32), code(descriptors)


def code(descriptors: NDArray[np.float32]) -> NDArray[np.uint64]:
    """Codes ``(n, 2)`` of SIFT descriptors ``(n, 128)``.

    A mirrored picture has the same descriptors with their elements in another order. The first word projects on
    directions that this order leaves alone, the second on such as change their sign: no second search of features.
    """
    root = np.sqrt(descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1))
    mean, directions = _projection()
    return np.packbits((root - mean) @ directions > 0, axis=1).view(np.uint64)


@cache
def _projection() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    order = np.arange(128).reshape(4, 4, 8)[::-1][..., -np.arange(8) % 8].ravel()  # cells upside down, angles negated
    rows = np.array(_MEAN, np.float64).reshape(64) / 1000
    mean = np.concatenate([rows, np.zeros(64)])
    mean = np.where(np.arange(128) < 64, mean, mean[order])
    noise = np.random.default_rng(0).normal(size=(128, 64))
    same, opposite = (np.linalg.qr(noise + sign * noise[order])[0] for sign in (1, -1))
    return mean, np.concatenate([same, opposite], axis=1)


@cache
def _sift() -> Any:
    return cv2.SIFT.create(contrastThreshold=_CONTRAST)


def contrast(pictures: Fingerprints) -> float:
    """Standard deviation of a picture ``(1,)``, grey levels."""
    return float(pictures["thumb"].std())
