"""Candidates for copies among pictures, found by equal pieces of their features' codes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resgat_pl.data.splits.fingerprints import FEATURES, Fingerprints, mirrored

_PIECES: Final = 6
_PIECE_BITS: Final = (12, 21)
"""A feature is looked up by six pieces of its 128 bits: one equal piece suffices (multi-index hashing: Norouzi et al.,
CVPR 2012). They are as long as the number of features requires, lest too many share one. Of codes that differ in 12
bits 56 % share one of 21 bits, of such that differ in 8 bits 83 %."""
_NEAR: Final = 24
"""Bits of 128 in which the codes of one feature in two copies differ at most; of two features taken at random fewer
than one pair in a thousand differ in so few."""
_MOST_ALIKE: Final = 256
"""Features that one piece is looked up to at most, the first ones: a channel's logo is in thousands of videos."""
_VOTES: Final = 3
"""Features that a candidate has in common with a picture at least."""
_BLOCK: Final = 32  # pictures looked up at once: about two million features to compare


class Candidate(NamedTuple):
    """A picture that may be a copy.

    Attributes:
        other: Its number among those that are looked up in.
        is_mirrored: Whether the mirror image is meant.
        votes: Features that the two have in common.
    """

    other: int
    is_mirrored: bool
    votes: int


class Index:
    """Pictures that others are looked up in.

    Args:
        pictures: ``(n,)`` fingerprints; 4.3 kB of memory each are needed beside them.
    """

    def __init__(self, pictures: Fingerprints) -> None:
        present = np.arange(FEATURES) < pictures["count"][:, None]
        self._codes = pictures["codes"][present]
        self._owner = (np.flatnonzero(present) // FEATURES).astype(np.int32)
        self._bits = int(np.clip(len(self._codes).bit_length(), *_PIECE_BITS))
        self._tables = [self._table(number) for number in range(_PIECES)] if len(self._codes) else []

    def _table(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Start of the features with each piece in the order by piece, and this order, which is stable."""
        pieces = self._piece(self._codes, number)
        starts = np.zeros(2**self._bits + 1, np.int64)
        np.cumsum(np.bincount(pieces, minlength=2**self._bits), out=starts[1:])
        return starts, np.argsort(pieces, kind="stable").astype(np.int32)

    def _piece(self, codes: NDArray[np.uint64], number: int) -> NDArray[np.int64]:
        """One of the pieces of each code ``(n, 2)``, three of each word."""
        word, place = divmod(number, _PIECES // 2)
        mask = np.uint64(2**self._bits - 1)
        return ((codes[:, word] >> np.uint64(place * self._bits)) & mask).astype(np.int64)

    def find(self, pictures: Fingerprints) -> Iterator[tuple[int, list[Candidate]]]:
        """Yield the number of each picture and its candidates, those with the most in common first."""
        if not self._tables:
            return
        for start in range(0, len(pictures), _BLOCK):
            block = pictures[start : start + _BLOCK]
            found: list[list[Candidate]] = [[] for _ in block]
            for is_mirrored in (False, True):
                for place, other, votes in self._votes(block, is_mirrored):
                    found[place].append(Candidate(other, is_mirrored, votes))
            for place, candidates in enumerate(found):
                yield start + place, sorted(candidates, key=lambda each: (-each.votes, each.other, each.is_mirrored))

    def _votes(self, block: Fingerprints, is_mirrored: bool) -> Iterator[tuple[int, int, int]]:
        present = np.arange(FEATURES) < block["count"][:, None]
        number = np.flatnonzero(present)  # of the feature in the block; its picture is number // FEATURES
        codes = block["codes"][present]
        codes = mirrored(codes) if is_mirrored else codes
        near = np.concatenate([self._near(codes, number, piece) for piece in range(_PIECES)])
        # a feature counts once for a picture, however many pieces and features of it are alike
        near = np.unique(near)
        pairs = (near >> 32) // FEATURES << 32 | near & 0xFFFFFFFF
        pairs, votes = np.unique(pairs, return_counts=True)
        enough = votes >= _VOTES
        return zip(
            (pairs[enough] >> 32).tolist(), (pairs[enough] & 0xFFFFFFFF).tolist(), votes[enough].tolist(), strict=True
        )

    def _near(self, codes: NDArray[np.uint64], number: NDArray[np.int64], piece: int) -> NDArray[np.int64]:
        """Pairs of a feature and a picture that has one like it, as ``number << 32 | picture``."""
        starts, order = self._tables[piece]
        key = self._piece(codes, piece)
        first = starts[key]
        count = np.minimum(starts[key + 1] - first, _MOST_ALIKE)
        asked = np.repeat(np.arange(len(codes)), count)
        within = np.arange(len(asked)) - np.repeat(np.cumsum(count) - count, count)
        other = order[np.repeat(first, count) + within]
        distance = np.zeros(len(other), np.uint8)
        for word in range(2):
            distance += np.bitwise_count(codes[asked, word] ^ self._codes[other, word])
        close = distance <= _NEAR
        pairs: NDArray[np.int64] = number[asked[close]] << 32 | self._owner[other[close]]
        return pairs
