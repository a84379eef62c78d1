"""Pictures that look the same in different splits, whatever their names say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from resgat_pl.data.counts import SPLITS
from resgat_pl.data.leakage import Leak
from resgat_pl.types import Split

BITS: Final = 256
LIMIT: Final = 24
"""Bits of 256 in which two near-duplicates differ at most. Measured on crops of 224 px of 436 portraits of different
people: the closest of 94,830 pairs differ in 58 bits, while JPEG at quality 10, H.264 at CRF 42, a blur of 4 px or
noise of 40 grey levels change 18 bits at most in 95 % of the pictures. A shift by 4 px is past the limit."""


def perceptual_hash(image: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Perceptual hash of 256 bits (pHash: Zauner 2010): signs of low frequencies around their median.

    Args:
        image: ``(H, W, 3)`` uint8 RGB.

    Returns:
        ``(4,)`` uint64.
    """
    grey = cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (64, 64), interpolation=cv2.INTER_AREA)
    low = cv2.dct(grey.astype(np.float32))[:16, :16].ravel()
    return np.packbits(low > np.median(low[1:])).view(np.uint64)


def find_duplicates(hashes: Mapping[Split, tuple[Sequence[str], NDArray[np.uint64]]]) -> list[Leak]:
    """Find pairs of pictures in different splits whose hashes differ in at most ``LIMIT`` bits.

    Args:
        hashes: By split the names of its pictures and their hashes ``(n, 4)`` uint64.

    Returns:
        At most one entry a pair of splits; its names are ``a ~ b``.
    """
    leaks = []
    for one, other in combinations(SPLITS, 2):
        if one not in hashes or other not in hashes:
            continue
        (left, a), (right, b) = (_with_detail(*hashes[split]) for split in (one, other))
        step = max(1, 4_000_000 // max(1, len(b)))
        pairs = []
        for start in tqdm(range(0, len(a), step), desc=f"compare {one} and {other}", unit="block", leave=False):
            block = a[start : start + step]
            # one word after the other: the distances of all four at once would not fit into the cache
            distance = np.zeros((len(block), len(b)), np.uint16)
            for word in range(BITS // 64):
                distance += np.bitwise_count(block[:, None, word] ^ b[None, :, word])
            close = np.argwhere(distance <= LIMIT)
            pairs += [f"{left[start + i]} ~ {right[j]}" for i, j in close.tolist()]
        if pairs:
            leaks.append(Leak("duplicate", (one, other), tuple(sorted(pairs))))
    return leaks


def _with_detail(names: Sequence[str], hashes: NDArray[np.uint64]) -> tuple[list[str], NDArray[np.uint64]]:
    """Leave out plain pictures, such as the black one a video begins with: they have no bits above the median."""
    kept = np.flatnonzero(np.bitwise_count(hashes).sum(axis=1, dtype=np.int64) > LIMIT)
    return [names[place] for place in kept.tolist()], hashes[kept]
