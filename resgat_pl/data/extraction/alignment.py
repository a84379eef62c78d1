"""A fake beside its original: the same frames and boxes, so that real and fake crops are aligned pixel for pixel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, pairwise
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resgat_pl.core.errors import MediaError
from resgat_pl.core.types import VideoRecord
from resgat_pl.data.extraction.original_match import Agreement, agreement
from resgat_pl.data.faces.cropping import CropBox
from resgat_pl.data.media.frames import Frame, FrameReader

MOST_FRAMES: Final = 64
"""So many frames of a video stay in memory, if they take no more than the next; of more, all is decoded again."""
MOST_BYTES: Final = 2**30
_MOST_BESIDE: Final = 2**28
"""Bytes of an original's frames that stay in memory for its fakes."""
_COMPARED: Final = 4
"""Frames of which it is seen whether a fake and its original belong together."""
_STILL: Final = 0.5
"""Overlap of a face in two sampled frames from which its box in between is known."""
_FAR: Final = 60
"""Frames that two sampled ones may lie apart for that."""

Track = dict[int, CropBox]
"""One face over time: frame number → where to cut."""


class Original(NamedTuple):
    """The part of an original that its fakes need.

    Attributes:
        rows: Of the manifest.
        size: Of its frames (w, h) in px; None where it gave no crop.
        others: Of faces that were not cut out, see ``rows_of``.
        record: The original itself, to be looked at beside the fake; None where it is not at hand.
    """

    rows: Sequence[Mapping[str, Any]]
    size: list[int] | None
    others: Sequence[Mapping[str, Any]] = ()
    record: VideoRecord | None = None

    @property
    def sampled(self) -> list[int]:
        """Numbers of the frames in which it has a face."""
        return sorted({row["frame_index"] for row in (*self.rows, *self.others)})


class Plan(NamedTuple):
    """The boxes to cut out of a video.

    Attributes:
        tracks: By number of the face; 0 is the largest, and a fake's are numbered as its original's.
        size: Of a frame (w, h) in px.
        frames: The decoded frames where they stayed in memory.
        numbers: Numbers of the frames that the original was cut in too; those of other videos are compared with none.
        asked: Frames that there should be.
    """

    tracks: dict[int, Track]
    size: list[int]
    frames: list[Frame] | None
    numbers: list[int]
    asked: int

    @property
    def wanted(self) -> list[int]:
        """Numbers of the frames with a face."""
        return sorted({number for track in self.tracks.values() for number in track})

    def read(self, media: FrameReader) -> Iterable[Frame]:
        """The frames with a face."""
        return self.frames if self.frames is not None else media.read(self.wanted)


class SideBySide:
    """Frames of an original, asked for in ascending order."""

    def __init__(self, frames: Iterable[Frame]) -> None:
        self._coming = iter(frames)
        self._here: Frame | None = None

    def get(self, number: int) -> NDArray[np.uint8] | None:
        """A frame's picture, or None if it cannot be had."""
        try:
            while self._here is None or self._here.number < number:
                self._here = next(self._coming)
        except (StopIteration, MediaError):
            self._coming = iter(())
        return self._here.image if self._here is not None and self._here.number == number else None


class Recent:
    """The frames of the original that was decoded last, for its fakes, which are cut next in the same process."""

    def __init__(self) -> None:
        self._record: VideoRecord | None = None
        self._frames: list[Frame] = []

    def keep(self, record: VideoRecord, frames: list[Frame] | None) -> None:
        """Keep an original's sampled frames, unless they are many."""
        fits = frames is not None and sum(frame.image.nbytes for frame in frames) <= _MOST_BESIDE
        self._record, self._frames = (record, frames) if frames is not None and fits else (None, [])

    def beside(self, record: VideoRecord | None, numbers: Sequence[int]) -> SideBySide:
        """The frames of an original with these numbers, which are those that it was cut in."""
        if record is None or not numbers:
            return SideBySide(())
        if record == self._record:
            return SideBySide(self._frames)
        try:
            coming = FrameReader(record.files, record.kind).read(numbers)
            if len(numbers) > MOST_FRAMES:
                return SideBySide(coming)
            first = next(coming, None)
            if first is None or first.image.nbytes * len(numbers) > _MOST_BESIDE:
                return SideBySide([] if first is None else chain([first], coming))
            self.keep(record, [first, *coming])
        except MediaError:
            return SideBySide(())
        return SideBySide(self._frames)


def tracks_of(rows: Iterable[Mapping[str, Any]]) -> dict[int, Track]:
    """Read tracks from rows of a manifest, or from what ``rows_of`` gave, in the order of their numbers."""
    tracks: dict[int, Track] = {}
    for row in rows:
        box = np.array(row["box"], np.int32)
        points: NDArray[np.float32] = np.full((5, 2), np.nan, np.float32)
        if row["landmarks"] is not None:
            relative = np.array(row["landmarks"], np.float32).reshape(5, 2)
            points = (relative * (box[2:] - box[:2]) + box[:2]).astype(np.float32)
        tracks.setdefault(row["track"], {})[row["frame_index"]] = CropBox(box, points)
    return {number: tracks[number] for number in sorted(tracks)}


def rows_of(tracks: Mapping[int, Track]) -> list[dict[str, Any]]:
    """Write tracks as plain values, as far as they are needed to cut a fake alike."""
    return [
        {"track": track, "frame_index": number, "box": cut.box.tolist(), "landmarks": cut.relative}
        for track, cuts in tracks.items()
        for number, cut in cuts.items()
    ]


def planned(original: Original, media: FrameReader, fill: bool) -> Plan:
    """The boxes of the original for the frames that a fake has too.

    Args:
        original: The original.
        media: The fake.
        fill: Whether a fake that is shorter gets as many frames, with others in the place of those that it lacks,
            spread over its length; their boxes lie between those of the original's frames.
    """
    tracks = tracks_of([*original.rows, *original.others])
    sampled = original.sampled
    available = media.indices.tolist()
    there = set(available)
    shared = [number for number in sampled if number in there]
    asked = min(len(sampled), len(available)) if fill else len(shared)
    numbers = [*shared]
    if asked > len(shared):
        between = {number: _between(tracks, sampled, number) for number in available if number not in set(shared)}
        numbers = _spread(shared, [number for number, cuts in between.items() if cuts], available, asked)
        for number in numbers:
            for track, cut in between.get(number, {}).items():
                tracks[track][number] = cut
    chosen = set(numbers)
    found = {
        track: {number: cuts[number] for number in sorted(cuts) if number in chosen} for track, cuts in tracks.items()
    }
    return Plan({track: cuts for track, cuts in found.items() if cuts}, original.size or [0, 0], None, shared, asked)


def read_ahead(plan: Plan, media: FrameReader) -> tuple[Plan, list[Frame]]:
    """Decode the frames once where they fit into memory, else the few that are compared at first.

    Returns:
        The plan, with its frames if they fit; and frames to compare.
    """
    wanted = plan.wanted
    if len(wanted) <= MOST_FRAMES and plan.size[0] * plan.size[1] * 3 * len(wanted) <= MOST_BYTES:
        frames = list(media.read(wanted))
        plan = plan._replace(frames=frames)
    else:
        frames = list(media.read(few(plan.numbers, _COMPARED)))
    compared = set(few(plan.numbers, _COMPARED))
    return plan, [frame for frame in frames if frame.number in compared] or frames[:1]


def compare(plan: Plan, frames: Sequence[Frame], beside: SideBySide, margin: float) -> Agreement:
    """See whether frames of a fake and of what is taken for its original belong together."""
    pairs = []
    for frame in frames:
        original = beside.get(frame.number)
        if original is not None:
            boxes = [track[frame.number].box for track in plan.tracks.values() if frame.number in track]
            pairs.append((frame.image, original, boxes))
    return agreement(pairs, margin)


def few(numbers: Sequence[int], count: int) -> list[int]:
    """At most so many numbers, spread evenly from the first to the last."""
    places = np.unique(np.linspace(0, len(numbers) - 1, count).round().astype(int)) if numbers else ()
    return [numbers[place] for place in places]


def _between(tracks: Mapping[int, Track], sampled: Sequence[int], number: int) -> Track:
    """Boxes of the faces in a frame between two that were sampled, by face; those that hardly move in between."""
    place = int(np.searchsorted(sampled, number))
    before, after = sampled[max(0, place - 1)], sampled[min(place, len(sampled) - 1)]
    if max(after - before, number - before, after - number) > _FAR:
        return {}
    share = (number - before) / (after - before) if after > before else 0.0
    found: Track = {}
    for track, cuts in tracks.items():
        if before in cuts and after in cuts and _overlap(cuts[before].box, cuts[after].box) >= _STILL:
            (box, points), (next_box, next_points) = cuts[before], cuts[after]
            # A square of whole pixels: the corner moves, the side grows.
            side = round(float(box[2] - box[0]) + share * float(next_box[2] - next_box[0] - box[2] + box[0]))
            height = round(float(box[3] - box[1]) + share * float(next_box[3] - next_box[1] - box[3] + box[1]))
            x0, y0 = (round(float(box[i]) + share * float(next_box[i] - box[i])) for i in (0, 1))
            moved = (points + share * (next_points - points)).astype(np.float32)
            found[track] = CropBox(np.array([x0, y0, x0 + side, y0 + height], np.int32), moved)
    return found


def _overlap(one: NDArray[np.int32], other: NDArray[np.int32]) -> float:
    """Intersection over union."""
    width, height = (min(one[2 + i], other[2 + i]) - max(one[i], other[i]) for i in (0, 1))
    shared = float(max(0, width)) * float(max(0, height))
    both = sum(float(box[2] - box[0]) * float(box[3] - box[1]) for box in (one, other)) - shared
    return shared / max(both, 1e-6)


def _spread(taken: Sequence[int], free: Sequence[int], available: Sequence[int], count: int) -> list[int]:
    """Add free numbers to those that are taken until there are ``count``, always into the largest gap."""
    chosen, left = sorted(taken), sorted(free)
    while len(chosen) < count and left:
        ends = [available[0] - 1, *chosen, available[-1] + 1]
        low, high = max(pairwise(ends), key=lambda gap: gap[1] - gap[0])
        middle = (low + high) / 2
        best = min(left, key=lambda number: abs(number - middle))
        left.remove(best)
        chosen = sorted([*chosen, best])
    return chosen
