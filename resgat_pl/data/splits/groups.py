"""Groups of videos connected by people, originals or parts, and their assignment to splits."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Literal

from resgat_pl.core.types import FAKE, REAL, Split, VideoRecord
from resgat_pl.data.layouts.detect import layout_of
from resgat_pl.data.layouts.same_files import SAME_FILE

LeakKind = Literal["video", "original", "identity", "source", "duplicate"]
"""What is on both sides of a split. ``video``: frames of one video. ``original``: a genuine video and a fake made
from it, or two fakes made from it. ``identity``: a person. ``source``: FaceForensics++ clips that come from one YouTube
video (``Layout.same_source``). ``duplicate``: one file under two names, or crops that look the same."""


@cache
def _source_of(dataset: str) -> dict[str, str]:
    """Source clip by name of the clip, for a data set whose layout is here."""
    layout = layout_of(dataset)
    return {} if layout is None else {name: "+".join(group) for group in layout.same_source for name in group}


def links(video: VideoRecord, by_part: bool = False) -> list[str]:
    """Name what ties a video to others: ``<kind> <name>`` of its key, its original, its people and their source clip.

    The kinds are ``video`` (its key and its original's), ``person``, ``source``, ``file`` (the same content under
    another name) and, if asked for, ``part``.
    """
    names = [f"video {video.key}"]
    for name in video.identities:
        kind = "file" if name.startswith(SAME_FILE) else "person"
        names.append(f"{kind} {video.dataset}/{name.removeprefix(SAME_FILE)}")
    if video.original is not None:
        names.append(f"video {video.original}")
    source_of = _source_of(video.dataset)
    names += [f"source {video.dataset}/{source_of[name]}" for name in video.identities if name in source_of]
    if by_part:
        names.append(f"part {video.dataset}/{video.part}")
    return names


def components(videos: Iterable[VideoRecord], by_part: bool = False) -> list[list[VideoRecord]]:
    """Group videos connected directly or through others (union-find); sorted by key inside and outside."""
    parent: dict[str, str] = {}

    def find(node: str) -> str:
        parent.setdefault(node, node)
        while parent[node] != node:
            parent[node] = node = parent[parent[node]]
        return node

    ordered = sorted(videos, key=lambda video: video.key)
    for video in ordered:
        root, *others = (find(link) for link in links(video, by_part))
        for other in others:
            parent[other] = root
    groups: dict[str, list[VideoRecord]] = defaultdict(list)
    for video in ordered:
        groups[find(f"video {video.key}")].append(video)
    return list(groups.values())


def by_original(group: Sequence[VideoRecord]) -> list[list[VideoRecord]]:
    """Group each genuine video with the fakes made from it."""
    pieces: dict[str, list[VideoRecord]] = defaultdict(list)
    for video in group:
        pieces[video.original or video.key].append(video)
    return list(pieces.values())


def share_out(groups: Iterable[Sequence[VideoRecord]], shares: Mapping[Split, float], seed: int) -> dict[str, Split]:
    """Give each group to the split that is furthest behind its share, counted per class and weighted by rarity.

    As many groups with both classes as there are splits go first, one to each, so that no split lacks a class if that
    can be had. Then groups of twice the size go first, because a large one cannot be made up for at the end; among
    groups of about the same size the seed decides.
    """
    sized = [(group, [sum(video.label == label for video in group) for label in (REAL, FAKE)]) for group in groups]
    totals = [sum(sizes[label] for _, sizes in sized) for label in (REAL, FAKE)]
    filled = {split: [0.0, 0.0] for split, share in shares.items() if share}

    def order(entry: tuple[Sequence[VideoRecord], list[int]]) -> tuple[int, bytes]:
        return -len(entry[0]).bit_length(), hashlib.sha256(f"{seed} {entry[0][0].key}".encode()).digest()

    chosen: dict[str, Split] = {}
    ordered = sorted(sized, key=order)
    first = {group[0].key for group, sizes in [entry for entry in ordered if all(entry[1])][: len(filled)]}
    for group, sizes in sorted(ordered, key=lambda entry: entry[0][0].key not in first):
        weights = [size / total if total else 0.0 for size, total in zip(sizes, totals, strict=True)]
        split = max(filled, key=lambda name: sum(w * (1 - f) for w, f in zip(weights, filled[name], strict=True)))
        filled[split] = [f + w / shares[split] for w, f in zip(weights, filled[split], strict=True)]
        chosen |= dict.fromkeys((video.key for video in group), split)
    return chosen
