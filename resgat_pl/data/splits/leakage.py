"""Leaks between splits: what is on both sides, so that scores on unseen faces look better than they are."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import combinations
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resgat_pl.core.errors import LeakageError
from resgat_pl.core.types import Split, VideoRecord
from resgat_pl.data.manifest.class_counts import SPLITS
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.data.splits.groups import LeakKind, links

KIND_OF_LINK: Final[dict[str, LeakKind]] = {
    "video": "original",
    "person": "identity",
    "source": "source",
    "file": "duplicate",
}
"""The kind of leak that a link of ``groups.links`` makes, by the kind of link."""


class Leak(NamedTuple):
    """One kind of leak between two splits.

    Attributes:
        kind: See ``groups.LeakKind``.
        splits: The two splits.
        names: What they share: videos, people, clips, or pairs of crops; sorted.

    Example:
        >>> print(Leak("person", ("train", "test"), ("003",)))
        person: train and test share 1 (003)
    """

    kind: LeakKind
    splits: tuple[Split, Split]
    names: tuple[str, ...]

    def __str__(self) -> str:
        shown = ", ".join(self.names[:3]) + (", …" if len(self.names) > 3 else "")
        return f"{self.kind}: {self.splits[0]} and {self.splits[1]} share {len(self.names):,} ({shown})"


def find_leaks(
    videos: Sequence[VideoRecord], row_video: NDArray[np.int64], row_split: NDArray[np.object_] | NDArray[np.str_]
) -> list[Leak]:
    """Find what splits share by name: videos, originals, people and source clips. No file is opened.

    Args:
        videos: The videos.
        row_video: ``(rows,)`` position in ``videos`` of each row's video.
        row_split: ``(rows,)`` the split of each row; what is no split takes no part.

    Returns:
        One entry a kind and pair of splits that share anything.
    """
    return _shared(videos, {split: row_video[row_split == split] for split in SPLITS})


def _shared(videos: Sequence[VideoRecord], rows: Mapping[Split, NDArray[np.int64]]) -> list[Leak]:
    """``find_leaks`` by the positions in ``videos`` of each split's rows."""
    inside: dict[Split, list[int]] = {}
    for split, of_split in rows.items():
        present = np.zeros(len(videos), bool)
        present[of_split] = True
        inside[split] = np.flatnonzero(present).tolist()
    shared: dict[tuple[LeakKind, Split, Split], list[str]] = defaultdict(list)
    for one, other in combinations(SPLITS, 2):
        both = set(inside[one]) & set(inside[other])
        if both:
            shared["video", one, other] = [videos[place].key for place in both]
    holders: dict[str, dict[Split, list[int]]] = defaultdict(lambda: {split: [] for split in SPLITS})
    for split, places in inside.items():
        for place in places:
            for name in set(links(videos[place])):
                holders[name][split].append(place)
    for name, by_split in holders.items():
        kind, _, value = name.partition(" ")
        for one, other in combinations(SPLITS, 2):
            left, right = by_split[one], by_split[other]
            # a video on both sides shares its names with itself: that is the leak "video"
            if left and right and (len(left) > 1 or left != right):
                if kind == "source" and not _is_between_clips(videos, value, left, right):
                    continue
                shared[KIND_OF_LINK[kind], one, other].append(value)
    order = {kind: place for place, kind in enumerate(("video", *KIND_OF_LINK.values()))}
    keys = sorted(shared, key=lambda key: (order[key[0]], SPLITS.index(key[1]), SPLITS.index(key[2])))
    return [Leak(kind, (one, other), tuple(sorted(shared[kind, one, other]))) for kind, one, other in keys]


def _is_between_clips(videos: Sequence[VideoRecord], source: str, left: Iterable[int], right: Iterable[int]) -> bool:
    """True if different clips of a source, not one of them twice, are on the two sides."""
    clips = set(source.rpartition("/")[2].split("+"))
    sides = [{name for place in side for name in videos[place].identities} & clips for side in (left, right)]
    return all(sides) and len(sides[0] | sides[1]) > 1


def manifest_leaks(manifest: Manifest) -> list[Leak]:
    """``find_leaks`` of a manifest's splits."""
    return _shared(manifest.videos(), {split: manifest.video_codes[manifest.rows_of(split)] for split in SPLITS})


def declared(manifest: Manifest) -> frozenset[str]:
    """Kinds of leak that the protocol of a manifest's splits declares."""
    return frozenset(manifest.info.get("protocol", {}).get("declares", ()))


def judge(leaks: Sequence[Leak], allowed: Collection[str], allow_leakage: bool) -> None:
    """Warn of leaks that are declared or allowed, and refuse others.

    Args:
        leaks: What was found.
        allowed: Kinds that the split protocol declares.
        allow_leakage: Whether the user accepts any.

    Raises:
        LeakageError: Names each leak that is neither.
    """
    if refused := [leak for leak in leaks if leak.kind not in allowed]:
        listed = "; ".join(map(str, refused))
        if not allow_leakage:
            raise LeakageError(
                f"The splits leak: {listed}. Scores would be too good. Choose a protocol without leaks (--data.split "
                "StrictSplit), see all with `resgat check CROPS`, or accept it with --data.allow_leakage true: results "
                "are then stamped as leaky."
            )
    for leak in leaks:
        why = "allowed by allow_leakage" if leak in refused else "declared by the split protocol"
        warnings.warn(f"Leak, {why}: {leak}. Results are stamped as leaky.", UserWarning, stacklevel=2)
