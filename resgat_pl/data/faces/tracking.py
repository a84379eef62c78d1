"""Tracking of people over the sampled frames of a video: a track is a person, not a place.

Between two samples of one shot a person moves and turns, but does not change; across a cut, or far away, only the look
says whether it is the same one. So a detection continues a track by its place if the looks do not contradict it
(``_CONTRADICTION``), and by its look wherever it is (``_ALIKE``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from resgat_pl.data.faces.appearance import Look, Scene, may_be_cut, unlikeness, unlikenesses

if TYPE_CHECKING:
    from resgat_pl.data.faces.detection import Face

_ALIKE: Final = 0.95
"""Two looks that differ by less are one person's, wherever they are seen."""
_CONTRADICTION: Final = 1.15
"""Two looks that differ by more are two people's, even at one place of one shot."""
_CHANGE: Final = 1.1
"""Groups of looks of one track that differ by more on average are two people: somebody took another's place in a
dissolve, or in a picture that stays the same around them."""
_SPEED: Final = 3.0
"""Face widths a second that a head moves at most."""
_STEP: Final = 0.25
"""Seconds between two samples where times are unknown."""
_LOST: Final = (2.0, 3)
"""After so many seconds and so many samples without being seen, a track is only continued by its look."""
_GALLERY: Final = 12
_NEW: Final = 0.4
"""Looks of a track that differ by less are not stored beside each other."""
_MOST: Final = 200
"""So many tracks, the longest, or looks of one track are compared with each other at the end."""
_LEAST: Final = 2
_FEW: Final = 8
"""With fewer samples a face that is found in one of them is no false alarm."""


def track_faces(
    frames: Sequence[list[Face]],
    max_tracks: int,
    times: Sequence[float] | None = None,
    scenes: Sequence[Scene] | None = None,
) -> list[list[Face | None]]:
    """Join detections over the sampled frames of a video into tracks, one person each, for training crops.

    Args:
        frames: Detections of each sampled frame, in time order; see ``Face.look``.
        max_tracks: Keep at most so many tracks, those with the largest summed face area.
        times: Of the frames, in seconds; NaN or None where unknown.
        scenes: Looks of the frames, by which a cut is seen; None where unknown.

    Returns:
        Tracks, largest first; each has one entry a frame, None where the face was not found. A track in less than a
        quarter of the frames *in which any face was found* is dropped if others remain. Empty if no face was found, or
        (of 8 frames or more) none in two of them.
    """
    tracks = [track for track in follow_faces(frames, times, scenes) if is_lasting(track)]
    least = 0.25 * sum(map(bool, frames))
    return ([track for track in tracks if presence(track) >= least] or tracks)[:max_tracks]


def is_lasting(track: Sequence[Face | None]) -> bool:
    """True if a track is no false alarm of a single frame; of few frames nothing can be said, and one is enough."""
    return presence(track) >= (1 if len(track) < _FEW else 2)


def presence(track: Sequence[Face | None]) -> int:
    """In how many frames the face was found."""
    return sum(face is not None for face in track)


def follow_faces(
    frames: Sequence[list[Face]], times: Sequence[float] | None = None, scenes: Sequence[Scene] | None = None
) -> list[list[Face | None]]:
    """All tracks, also those of a single frame, see ``track_faces``."""
    clock = [float("nan")] * len(frames) if times is None else [float(time) for time in times]
    people: list[_Person] = []
    for now, faces in enumerate(frames):
        links = sorted(
            (cost, p, f)
            for p, person in enumerate(people)
            for f, face in enumerate(faces)
            if (cost := person.cost(face, now, len(faces) == 1, clock, scenes)) is not None
        )
        known: dict[int, int] = {}
        for _, p, f in links:
            if f not in known and p not in known.values():
                known[f] = p
        for f, face in enumerate(faces):
            if f not in known:
                people.append(_Person())
            people[known.get(f, -1)].add(face, now, alone=len(faces) == 1, clock=clock)
    _rejoin(people)
    people = [part for person in people for part in _parts(person)]
    people.sort(key=lambda person: -sum(_area(face.box) for face in person.seen.values()))
    return [[person.seen.get(now) for now in range(len(frames))] for person in people]


@dataclass(eq=False)
class _Person:
    """A track in the making.

    Attributes:
        seen: Faces by the number of their sample.
        looks: Some that differ, of all its faces.
        velocity: Of the centre, px a second, from the last two faces; None with one.
        alone: Whether it was the only face of the last sample.
    """

    seen: dict[int, Face] = field(default_factory=dict)
    looks: list[Look] = field(default_factory=list)
    velocity: NDArray[np.float64] | None = None
    alone: bool = False

    def add(self, face: Face, now: int, alone: bool, clock: Sequence[float]) -> None:
        if self.seen:
            last = max(self.seen)
            self.velocity = (_centre(face) - _centre(self.seen[last])) / _elapsed(clock, last, now)
        self.seen[now] = face
        self.alone = alone
        if face.look is not None and (
            not self.looks or (len(self.looks) < _GALLERY and unlikeness(self.looks, [face.look]) > _NEW)
        ):
            self.looks.append(face.look)

    def cost(
        self, face: Face, now: int, alone: bool, clock: Sequence[float], scenes: Sequence[Scene] | None
    ) -> float | None:
        """Unlikelihood that a face is this person's; None if it is not."""
        last = max(self.seen)
        before, elapsed = self.seen[last], _elapsed(clock, last, now)
        widths = _width(before), _width(face)
        expected = _centre(before) + (0.0 if self.velocity is None else self.velocity * elapsed)
        away = min(float(np.hypot(*(_centre(face) - place))) for place in (expected, _centre(before))) / max(widths)
        growth = abs(float(np.log2(widths[1] / widths[0])))
        # One face, then one face: the first step of a fast walk, whose velocity is not known yet.
        only = alone and self.alone and self.velocity is None and now == last + 1
        lost = elapsed > _LOST[0] and now - last > _LOST[1]
        near = not lost and growth <= 1.5 and (away <= 1 + _SPEED * elapsed or only)
        if face.look is None or not self.looks:
            return away + growth if near else None
        differ = unlikeness(self.looks, [face.look])
        same_shot = scenes is None or not may_be_cut(scenes[last], scenes[now])
        if differ > (_CONTRADICTION if near and same_shot else _ALIKE):
            return None
        return differ + 0.2 * min(away, 3.0) + 0.2 * growth


def _rejoin(people: list[_Person]) -> None:
    """Make one of two tracks that look alike and are never seen together: of who turned away, or came back."""
    rest = sorted((person for person in people if person.looks), key=lambda person: -len(person.seen))[:_MOST]
    differ = {(a, b): unlikeness(rest[a].looks, rest[b].looks) for b in range(len(rest)) for a in range(b)}
    while differ:
        (a, b), least = min(differ.items(), key=lambda pair: pair[1])
        if least > _ALIKE:
            return
        if not rest[a].seen.keys().isdisjoint(rest[b].seen):
            del differ[a, b]
            continue
        rest[a].seen |= rest[b].seen
        rest[a].looks += rest[b].looks
        people.remove(rest[b])
        for c in range(len(rest)):
            gone = differ.pop((min(b, c), max(b, c)), least)
            stays = (min(a, c), max(a, c))
            if stays in differ:
                differ[stays] = min(differ[stays], gone)


def _parts(person: _Person) -> list[_Person]:
    """Divide a track of several people, who came into it by steps too small for ``_Person.cost``.

    Its looks are joined to groups as long as these differ by ``_CHANGE`` at most (average linkage, Sokal & Michener
    1958). A single look that fits nowhere stays with the group it is closest to.
    """
    times = sorted(person.seen)
    times = times[:: max(1, -(-len(times) // _MOST))]
    looks = [look for now in times if (look := person.seen[now].look) is not None]
    if len(looks) < max(len(times), 2 * _LEAST):
        return [person]
    differ = unlikenesses(looks, looks)
    np.fill_diagonal(differ, 0.0)
    if differ.max() <= _CHANGE:  # then groups cannot differ by more on average
        return [person]
    from scipy.cluster.hierarchy import fcluster, linkage  # here: half a second, and few videos need it
    from scipy.spatial.distance import squareform

    group = fcluster(linkage(squareform(differ, checks=False), "average"), _CHANGE, "distance")
    large = [number for number in np.unique(group) if (group == number).sum() >= _LEAST]
    if len(large) < 2:
        return [person]
    away = np.stack([differ[:, group == number].mean(axis=1) for number in large])
    own = np.where(np.isin(group, large), np.searchsorted(large, group), away.argmin(axis=0))
    parts = [_Person() for _ in large]
    for now, face in person.seen.items():
        parts[own[max(0, int(np.searchsorted(times, now, "right")) - 1)]].seen[now] = face
    return parts


def _elapsed(clock: Sequence[float], last: int, now: int) -> float:
    """Seconds between two samples; more than 0."""
    known = clock[now] - clock[last]
    return max(known, 1e-3) if np.isfinite(known) else _STEP * (now - last)


def _centre(face: Face) -> NDArray[np.float64]:
    return (face.box[:2].astype(np.float64) + face.box[2:]) / 2


def _width(face: Face) -> float:
    return max(float(face.box[2] - face.box[0]), 1e-6)


def _area(box: NDArray[np.float32]) -> float:
    return float(max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1]))
