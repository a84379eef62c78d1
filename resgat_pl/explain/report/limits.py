"""Limits of a verdict on one file: faces that were not judged, and faces unlike those of the training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import cv2
import numpy as np

from resgat_pl.core.text import joined
from resgat_pl.data.faces.detection import sharpness, turn_of
from resgat_pl.explain.report.media import FoundFaces, Shot, Unjudged
from resgat_pl.explain.report.media_search import Medium

SMALLEST: Final = 64
"""Faces below this many px are enlarged more than twice for crops of 224 px; used where training's are unknown."""
DARKEST: Final = 45
"""Mean grey level, of 255, of the middle of a crop: below it a recording shows mostly its own noise."""
ROLL: Final = 30.0
"""Degrees; used where those of the training faces are unknown."""
TURN: Final = 0.35
"""See ``faces.turn_of``: a yaw of about 35 degrees; used where those of the training faces are unknown."""
BITS: Final = {"video": 0.02, "image": 0.3}
"""Bits of the file for each pixel (and frame). FaceForensics++'s c40, which shows, has some 0.02."""
LONGEST: Final = 0.5
"""Seconds between searched frames; a face that is shown for less is hardly seen by people either."""
_BRIEF: Final = 0.25
"""A face that was found in less than this share of the frames is called brief."""
_NAMED: Final = 3
"""So many of the faces that were not judged are described one by one."""


def limits(medium: Medium, found: FoundFaces, margin: float, known: Mapping[str, float], bytes_: int) -> list[str]:
    """Sentences beside a verdict, each with its numbers.

    Args:
        medium: The file.
        found: Its faces.
        margin: Side of a crop as a multiple of the face's.
        known: Of the detector's training faces, see ``trained_on.faces_of``.
        bytes_: Size of the file; 0 or less if unknown.
    """
    notes = _unseen(medium, found) + _overlooked(found)
    several = len(found.tracks) > 1
    for number, track in enumerate(found.tracks, 1):
        name = f"Face {number}" if several else "The face"
        if is_brief(track, found):
            notes.append(
                f"{name} was found in {len(track)} of {found.sampled} frames{_when(track[0].time, track[-1].time)}."
            )
        if unlike := _unlike(track, margin, known):
            notes.append(f"{name} is judged less well: {'; '.join(unlike)}.")
    blind = [number for number, track in enumerate(found.tracks, 1) if np.isnan([s.landmarks for s in track]).all()]
    if blind:
        which = "The face has" if not several else f"Faces {', '.join(map(str, blind))} have"
        notes.append(f"{which} no landmarks, so whether it is turned is unknown.")
    if _is_compressed(medium, found, bytes_):
        notes.append(
            f"The file has {_bits(found, bytes_):.2g} bits a pixel, fewer than {BITS[medium.kind]:g}: it is strongly "
            "compressed, or shows a plain or still picture. Traces of a forgery may be lost."
        )
    return notes


def doubts(
    medium: Medium,
    found: FoundFaces,
    margin: float,
    known: Mapping[str, float],
    bytes_: int,
    places: Sequence[int],
) -> list[str]:
    """Reasons not to decide: faces at ``places`` that are small, dark, blurred or turned, and a compressed file.

    The other arguments are those of ``limits``, whose bounds count.
    """
    several, reasons = len(found.tracks) > 1, list[str]()
    for place in places:
        name = f"Face {place + 1}" if several else "The face"
        unlike = _unlike(found.tracks[place], margin, known)
        reasons += [f"{name} is hard to judge: {'; '.join(unlike)}."] if unlike else []
    if _is_compressed(medium, found, bytes_):
        reasons.append(f"The file is strongly compressed: {_bits(found, bytes_):.2g} bits a pixel.")
    return reasons


def unsaid(notes: Sequence[str], reasons: Sequence[str]) -> list[str]:
    """Notes whose finding no reason gives already.

    Example:
        >>> unsaid(["The face is judged less well: it is dark.", "It is brief."], ["It is hard to judge: it is dark."])
        ['It is brief.']
    """
    findings = [note.partition(": ")[2] for note in notes]
    return [
        note
        for note, finding in zip(notes, findings, strict=True)
        if not finding or not any(finding in reason for reason in reasons)
    ]


def side_of(track: Sequence[Shot], margin: float) -> float:
    """Median over the frames of a face's longer side, in px."""
    return float(np.median([(shot.box[2:] - shot.box[:2]).max() for shot in track])) / margin


def _bits(found: FoundFaces, bytes_: int) -> float:
    return 8 * bytes_ / max(1, found.total * found.size[0] * found.size[1])


def _is_compressed(medium: Medium, found: FoundFaces, bytes_: int) -> bool:
    return bool(found.tracks) and 0 < _bits(found, bytes_) < BITS[medium.kind]


def is_brief(track: Sequence[Shot], found: FoundFaces) -> bool:
    """True for a face that was found in a small part of the frames only."""
    return len(track) < _BRIEF * found.sampled


def rests_on(fakes: Sequence[int], found: FoundFaces) -> list[str]:
    """A note if a verdict rests on brief faces alone; ``fakes`` are the positions of the tracks judged fake."""
    others = [len(track) for place, track in enumerate(found.tracks) if place not in fakes]
    if not (fakes and others) or not all(is_brief(found.tracks[place], found) for place in fakes):
        return []
    which = joined([f"face {place + 1} ({len(found.tracks[place])} of {found.sampled} frames)" for place in fakes])
    longer = min(others) > max(len(found.tracks[place]) for place in fakes)
    rest = "the faces that are seen for longer" if longer else "the others"
    return [f"Fake rests on {which} alone; {rest} are judged real."]


def _unseen(medium: Medium, found: FoundFaces) -> list[str]:
    """A note on frames so far apart that faces between them may have been missed."""
    if medium.kind == "image" or found.sampled >= found.total or found.step is None or found.step < LONGEST:
        return []
    return [
        f"{found.sampled} of {found.total} frames were searched, up to {found.step:.1f} s apart: who is seen for less "
        "may have been missed. Give more --frames to look closer."
    ]


def _overlooked(found: FoundFaces) -> list[str]:
    """Notes on the faces that were seen and not judged, by the reason."""
    notes = []
    smaller, glimpses, tiny = (
        [face for face in found.unjudged if face.why == why] for why in ("larger", "glimpse", "tiny")
    )
    if smaller:
        judged = len(found.tracks)
        notes.append(
            f"{judged} of {judged + len(found.unjudged)} faces are judged, the largest (--faces {judged}). Not judged: "
            f"{_described(smaller, found.sampled)}."
        )
    if glimpses:
        closer = " Give more --frames to look closer." if found.sampled < found.total else " Every frame was searched."
        what = "A face was" if len(glimpses) == 1 else f"{len(glimpses)} faces were"
        notes.append(
            f"{what} found in a single frame of {found.sampled} and not judged, since it may be a false alarm: "
            f"{_described(glimpses, 1)}.{closer}"
        )
    if tiny:
        what = "A face is" if len(tiny) == 1 else f"{len(tiny)} faces are"
        notes.append(
            f"{what} too small for the detector of this checkpoint's crops and not judged: {_described(tiny, 1)}. Cut "
            "them out, or give a --detector that finds them."
        )
    return notes


def _described(faces: Sequence[Unjudged], sampled: int) -> str:
    parts = []
    for face in faces[:_NAMED]:
        often = f" in {face.frames} of {sampled} frames" if sampled > 1 else ""
        parts.append(f"one of {face.side:.0f} px{often}{_when(face.first, face.last)}")
    if len(faces) > _NAMED:
        parts.append(f"{len(faces) - _NAMED} more")
    return ", ".join(parts)


def _when(first: float | None, last: float | None) -> str:
    if first is None or last is None:
        return ""
    return f" at {first:.1f} s" if last - first < 0.05 else f" from {first:.1f} to {last:.1f} s"


def _unlike(track: Sequence[Shot], margin: float, known: Mapping[str, float]) -> list[str]:
    """In what a face is beyond the training faces, or beyond fixed bounds, by the median of its frames."""

    def median(values: Iterable[float]) -> float:
        return float(np.median(list(values)))

    said = []
    side, least = side_of(track, margin), known.get("side")
    if side < (SMALLEST if least is None else 0.75 * least):
        bound = f"below {SMALLEST}" if least is None else f"training faces: from {least:.0f} px"
        said.append(f"small, {side:.0f} px ({bound})")
    grey = median(map(_brightness, track))
    if grey < DARKEST:
        said.append(f"dark, mean grey level {grey:.0f} of 255 (below {DARKEST})")
    sharp, least = median(sharpness(shot.image) for shot in track), known.get("sharpness")
    if least is not None and sharp < 0.5 * least:
        said.append(f"blurred or strongly compressed, sharpness {sharp:.0f} (training crops: from {least:.0f})")
    points = np.stack([shot.landmarks for shot in track])
    points = points[~np.isnan(points).any(axis=(1, 2))]
    if len(points):
        roll, turn = map(median, turn_of(points))
        most = known.get("roll")
        if roll > (ROLL if most is None else most + 10):
            said.append(f"tilted by {roll:.0f}°{_bound(most, ROLL, '°')}")
        most = known.get("turn")
        if turn > (TURN if most is None else most + 0.1):
            said.append(f"turned aside, nose {turn:.2f} eye distances off the middle{_bound(most, TURN, '')}")
    return said


def _bound(most: float | None, fixed: float, unit: str) -> str:
    return f" (above {fixed:g}{unit})" if most is None else f" (training faces: up to {most:.2g}{unit})"


def _brightness(shot: Shot) -> float:
    quarter = max(1, len(shot.image) // 4)
    middle = shot.image[quarter : len(shot.image) - quarter, quarter : len(shot.image) - quarter]
    return float(cv2.cvtColor(middle, cv2.COLOR_RGB2GRAY).mean())
