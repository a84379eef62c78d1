"""An original of the case beside the file: the same frames, cut out alike, or the measure by which they are no pair."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resgat_pl.core.errors import ConfigError, MediaError
from resgat_pl.core.isolated_process import IsolatedProcess, ProcessDiedError, ProcessTimeoutError
from resgat_pl.core.types import MediaKind
from resgat_pl.data.crop_store.encoding import as_stored
from resgat_pl.data.extraction.original_match import agreement
from resgat_pl.data.extraction.registration import shift_between
from resgat_pl.data.extraction.settings import Extraction
from resgat_pl.data.faces.cropping import crop_face
from resgat_pl.data.media.frames import Frame, FrameReader
from resgat_pl.data.media.timeline import DECODER_ERRORS
from resgat_pl.explain.report.media import FoundFaces, Shot
from resgat_pl.explain.report.media_search import Medium

_COMPARED: Final = 4
"""Frames by which it is seen whether the two belong together."""
_LONGER: Final = 0.01
"""Share of the frames, beside one, by which their numbers may differ: encoders drop some at the end."""
_LATE: Final = 0.1
"""Seconds by which the time of a frame may differ."""
_REMEDY: Final = "Give the very recording that the file was made from, uncut and of the same size."


class Beside(NamedTuple):
    """An original beside a file.

    Attributes:
        share: Of what is around the faces, the part that shows the same, in [0, 1]; NaN where it is too plain.
        crops: ``(S, S, 3)`` uint8 RGB of the original, by number of the frame and of the track, from 0.
    """

    share: float
    crops: dict[tuple[int, int], NDArray[np.uint8]]


class _Pair(NamedTuple):
    medium: Medium
    original: Medium
    found: FoundFaces


def put_beside(medium: Medium, original: Medium, found: FoundFaces, extraction: Extraction, timeout: float) -> Beside:
    """Cut the faces of a file out of its original too, in a separate process, since a damaged file may kill it.

    Args:
        medium: The file.
        original: What is taken for its original.
        found: The faces of the file.
        extraction: How they were cut out.
        timeout: Seconds that it may take.

    Raises:
        ConfigError: The two are no pair; the message has the measure.
        MediaError: One cannot be read.
    """
    if original.kind != medium.kind:
        raise ConfigError(
            f"--original {original.path} is of kind {original.kind}, {medium.path} {medium.kind}. {_REMEDY}"
        )
    process: IsolatedProcess[_Pair, Beside] = IsolatedProcess(partial(_beside, extraction=extraction))
    try:
        (beside,) = process.run(_Pair(medium, original, found), timeout)
    except (ProcessDiedError, ProcessTimeoutError) as error:
        raise MediaError(f"{original.path}: {error}") from None
    finally:
        process.close()
    return beside


def _beside(pair: _Pair, extraction: Extraction) -> Iterator[Beside]:
    try:
        yield compare(*pair, extraction)
    except DECODER_ERRORS as error:
        cause = str(error).strip() or type(error).__name__
        raise MediaError(f"{pair.original.path}: cannot be decoded ({cause})") from None


def compare(medium: Medium, original: Medium, found: FoundFaces, extraction: Extraction) -> Beside:
    """``put_beside`` in this process."""
    kind: MediaKind = "video" if medium.kind == "video" else "frames"
    ours, theirs = FrameReader([medium.path], kind), FrameReader([original.path], kind)
    lengths = len(ours.indices), len(theirs.indices)
    if abs(lengths[0] - lengths[1]) > 1 + _LONGER * lengths[0]:
        raise ConfigError(
            f"--original {original.path} has {lengths[1]} frames, {medium.path} {lengths[0]}: another length. {_REMEDY}"
        )
    shots = {(_number(shot, medium), place): shot for place, track in enumerate(found.tracks) for shot in track}
    wanted = sorted({number for number, _ in shots})
    compared = (
        {wanted[place] for place in np.linspace(0, len(wanted) - 1, _COMPARED).round().astype(int)} if wanted else set()
    )
    crops, pairs = {}, []
    # A name such as 0007.png numbers nothing here.
    there = wanted if medium.kind == "video" else theirs.indices.tolist()
    for mine, other in zip(ours.read(wanted), theirs.read(there), strict=False):
        _require_same_place(mine, other, original, medium)
        here = {key: shot for key, shot in shots.items() if key[0] == mine.number}
        if mine.number in compared:
            boxes = [shot.box for shot in here.values()]
            pairs.append((mine.image, other.image, boxes))
            shift = shift_between(mine.image, other.image, boxes, extraction.margin)
            if shift is not None:
                raise ConfigError(
                    f"{medium.path} does not lie on --original {original.path}: in frame {mine.number} {shift}. "
                    f"{_REMEDY}"
                )
        for key, shot in here.items():
            crop = crop_face(other.image, shot.box, extraction.size)
            crops[key] = as_stored(crop, extraction.image_format, extraction.quality)
    if len(crops) < len(shots):
        raise ConfigError(
            f"--original {original.path} gives {len(crops)} of the {len(shots)} frames with faces of {medium.path}. "
            f"{_REMEDY}"
        )
    same = agreement(pairs, extraction.margin)
    if same.refuted or same.misaligned:
        raise ConfigError(
            f"--original {original.path} shows something else than {medium.path}: around the faces {same}, and a pair "
            f"has 75% or more. {_REMEDY}"
        )
    return Beside(
        same.share, {(number if medium.kind == "video" else 0, place): crop for (number, place), crop in crops.items()}
    )


def _number(shot: Shot, medium: Medium) -> int:
    """Number of a shot's frame as a ``FrameReader`` gives it."""
    if medium.kind == "video":
        return shot.number
    return int(medium.path.stem) if medium.path.stem.isdecimal() else 0


def _require_same_place(mine: Frame, other: Frame, original: Medium, medium: Medium) -> None:
    """Refuse frames of another size, number or time."""
    sizes = [f"{frame.image.shape[1]}×{frame.image.shape[0]} px" for frame in (mine, other)]
    if sizes[0] != sizes[1]:
        raise ConfigError(
            f"--original {original.path} is {sizes[1]}, {medium.path} {sizes[0]}: another size. {_REMEDY}"
        )
    if mine.number != other.number and medium.kind == "video":
        raise ConfigError(f"--original {original.path} has no frame {mine.number}, which {medium.path} has. {_REMEDY}")
    late = other.time - mine.time
    if not math.isnan(late) and abs(late) > _LATE:
        raise ConfigError(
            f"--original {original.path} shows frame {mine.number} {abs(late):.2f} s "
            f"{'later' if late > 0 else 'earlier'} than {medium.path}: another frame rate, or cut. {_REMEDY}"
        )
