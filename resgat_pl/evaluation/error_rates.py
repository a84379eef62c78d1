"""Error rates of a test by stratum (face size, number of faces, compression, kind of manipulation), and read again.

Every rate is of videos at the threshold of validation, with counts and Wilson's interval, in which all that was made of
one genuine clip counts once. ``resgat test`` stores them in ``results.json``, ``resgat explain`` shows those of the
file at hand.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from resgat_pl.core.text import shorten
from resgat_pl.core.types import FAKE, REAL
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.evaluation.metrics.intervals import error_rate
from resgat_pl.evaluation.metrics.scores import RESULTS_NAME, Predictions

EVERYTHING: Final = "all"
SIZE, FACES, COMPRESSION, KIND = "face size", "faces", "compression", "kind"
_SIZES: Final = (64, 96, 128, 192, 256)
"""Limits in px of the longer side of the face's box in the frame."""
_MOST_FACES: Final = 3
NOT_TESTED: Final = (
    "pictures and videos that were generated as a whole, of which it sees the faces only",
    "sound: voices and what is said are not listened to",
    "whether lips and sound fit together",
)
"""Manipulations that no test of this package covers, since a detector sees single faces without sound."""


@dataclass(frozen=True)
class ErrorRate:
    """Errors of one stratum.

    Attributes:
        stratum: ``all``, ``face size``, ``faces``, ``compression`` or ``kind``.
        value: Which, such as ``64 to 95 px``.
        real: Genuine videos.
        false_alarms: Those called fake.
        fpr: Their share with Wilson's 95 % interval: value, low, high; None without genuine videos.
        real_clips: Independent clips among them.
        fake: Fakes.
        missed: Those called genuine.
        fnr: Likewise.
        fake_clips: Likewise.

    Example:
        >>> ErrorRate("all", "all", 20, 1, (0.05, 0.01, 0.24), 20, 0, 0, None, 0).text
        '1 of 20 genuine videos called fake (5 %, 95 % interval 1 to 24 %)'
    """

    stratum: str
    value: str
    real: int
    false_alarms: int
    fpr: tuple[float, float, float] | None
    real_clips: int
    fake: int
    missed: int
    fnr: tuple[float, float, float] | None
    fake_clips: int

    @property
    def text(self) -> str:
        """Both rates in words."""
        parts = []
        for wrong, of, rate, clips, what in (
            (self.false_alarms, self.real, self.fpr, self.real_clips, "genuine videos called fake"),
            (self.missed, self.fake, self.fnr, self.fake_clips, "fakes missed"),
        ):
            if rate is not None:
                few = f", {clips} independent clips" if clips < of else ""
                value, low, high = (f"{100 * share:.0f}" for share in rate)
                parts.append(f"{wrong} of {of} {what} ({value} %, 95 % interval {low} to {high} %{few})")
        return "; ".join(parts)

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> ErrorRate:
        """Undo ``dataclasses.asdict`` and JSON.

        Raises:
            KeyError, TypeError, ValueError: It is something else.
        """
        counts = {name: int(stored[name]) for name in _COUNTS}
        rates = {name: None if stored[name] is None else _three(stored[name]) for name in ("fpr", "fnr")}
        # mypy takes each of the two dictionaries for the values of any argument
        return cls(stratum=shorten(stored["stratum"]), value=shorten(stored["value"]), **counts, **rates)  # type: ignore[arg-type]


_COUNTS: Final = ("real", "false_alarms", "real_clips", "fake", "missed", "fake_clips")


def error_rates(manifest: Manifest, keys: Sequence[str], scored: Predictions, threshold: float) -> list[ErrorRate]:
    """Errors of the tested videos by stratum.

    Args:
        manifest: The manifest, with its splits.
        keys: ``(V,)`` keys of the videos.
        scored: ``(V,)`` predictions of them.
        threshold: A score above it counts as fake.
    """
    wrong = (scored.probability > threshold) != (scored.label == FAKE)
    places: dict[str, list[str]] = {EVERYTHING: [EVERYTHING] * len(keys), **strata_of(manifest, keys)}
    found = []
    for stratum, values in places.items():
        for value in sorted(set(filter(None, values)), key=_natural):
            chosen = np.array([one == value for one in values], bool)
            found.append(_rate(stratum, value, chosen, wrong, scored))
    return found


def strata_of(manifest: Manifest, keys: Sequence[str]) -> dict[str, list[str]]:
    """Stratum of each video; empty where it is unknown or, of genuine videos, has no kind."""
    records = manifest.videos()
    code = {video.key: place for place, video in enumerate(records)}
    videos = [code[key] for key in keys]
    rows = manifest.rows_of("test")
    of_row = manifest.video_codes[rows]
    pairs = np.unique(np.stack([of_row, manifest.track_codes[rows]]), axis=1)[0]
    faces = np.bincount(pairs, minlength=len(code))
    found = {FACES: [faces_stratum(int(faces[place])) for place in videos]}
    if (sides := _sides(manifest, rows)) is not None:
        starts = np.flatnonzero(np.diff(of_row, prepend=-1))  # rows are sorted by video
        parts = np.split(sides, starts[1:])
        median = {int(of_row[start]): float(np.median(part)) for start, part in zip(starts, parts, strict=True)}
        found[SIZE] = [size_stratum(median[place]) if place in median else "" for place in videos]
    found[COMPRESSION] = [records[place].compression for place in videos]
    found[KIND] = [records[place].method if records[place].label == FAKE else "" for place in videos]
    return found


def size_stratum(side: float) -> str:
    """Stratum of a face by the longer side of its box in px.

    Example:
        >>> size_stratum(40), size_stratum(64), size_stratum(300)
        ('below 64 px', '64 to 95 px', 'from 256 px')
    """
    if side < _SIZES[0]:
        return f"below {_SIZES[0]} px"
    for low, high in pairwise(_SIZES):
        if side < high:
            return f"{low} to {high - 1} px"
    return f"from {_SIZES[-1]} px"


def faces_stratum(faces: int) -> str:
    """Stratum of a video by the number of its faces.

    Example:
        >>> faces_stratum(1), faces_stratum(7)
        ('1 face', '3 or more faces')
    """
    return "1 face" if faces == 1 else f"{faces} faces" if faces < _MOST_FACES else f"{_MOST_FACES} or more faces"


def rates_like(rates: Iterable[ErrorRate], side: float | None, faces: int) -> list[ErrorRate]:
    """Rates for a file: of all videos, of its strata, and of each compression and kind, which are not known of it."""
    of_file = {EVERYTHING: EVERYTHING, FACES: faces_stratum(faces)} | (
        {} if side is None else {SIZE: size_stratum(side)}
    )
    return [rate for rate in rates if of_file.get(rate.stratum, rate.value) == rate.value]


def find_rates(checkpoint: Path, fingerprint: str) -> tuple[list[ErrorRate], str]:
    """Error rates of a checkpoint's own test, and a sentence on where they come from or why there are none.

    Looked for are ``results.json`` in the folder of the checkpoint's run and in its subfolders, with the checkpoint's
    SHA-256. What is damaged or of another checkpoint is passed over.

    Args:
        checkpoint: Its file.
        fingerprint: Its SHA-256.
    """
    path = checkpoint.absolute()
    run = path.parent.parent if path.parent.name == "checkpoints" else path.parent
    for file in sorted({*run.glob(RESULTS_NAME), *run.glob(f"*/{RESULTS_NAME}")}):
        try:
            document = json.loads(file.read_bytes())
            if document.get("checkpoint_sha256") != fingerprint or not document.get("error_rates"):
                continue
            rates = [ErrorRate.read(stored) for stored in document["error_rates"]]
            leaks = [shorten(kind) for kind in document.get("leaky") or ()]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue
        leaky = f" The test leaks ({', '.join(leaks)}), so they are too low." if leaks else ""
        return rates, f"Error rates of this checkpoint's own test.{leaky}"
    return [], (
        "Error rates are unknown: there is no results.json of this very checkpoint (resgat test) in the folder of its "
        "run."
    )


def plain(rates: Iterable[ErrorRate]) -> list[dict[str, Any]]:
    """For JSON."""
    return [asdict(rate) for rate in rates]


def _rate(
    stratum: str, value: str, chosen: NDArray[np.bool_], wrong: NDArray[np.bool_], scored: Predictions
) -> ErrorRate:
    counts: list[Any] = []
    for label in (REAL, FAKE):
        mine = chosen & (scored.label == label)
        of, errors, clips = int(mine.sum()), int((mine & wrong).sum()), len(np.unique(scored.clip[mine]))
        found = error_rate(errors, of, clips)
        counts += [of, errors, (found.value, found.low, found.high) if of else None, clips]
    return ErrorRate(stratum, value, *counts)


def _sides(manifest: Manifest, rows: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """``(n,)``, longer side of the face in px of the frame; None where crops are whole frames."""
    settings = manifest.info.get("extraction", {})
    if settings.get("detector") == "WholeFrame" or not settings.get("margin") or not len(rows):
        return None
    boxes = np.asarray(pc.list_flatten(manifest.take(rows, ["box"])["box"]), np.float64).reshape(-1, 4)
    return np.asarray((boxes[:, 2:] - boxes[:, :2]).max(axis=1) / float(settings["margin"]), np.float64)


def _natural(value: str) -> tuple[int, str]:
    """Order of strata: numbers by size, ``below`` first and ``from`` last."""
    number = next((int(word) for word in value.split() if word.isdigit()), 0)
    return (-1 if value.startswith("below") else number + value.startswith("from"), value)


def _three(values: Sequence[Any]) -> tuple[float, float, float]:
    value, low, high = (float(one) for one in values)
    if not all(math.isfinite(one) and 0 <= one <= 1 for one in (value, low, high)):
        raise ValueError("a rate is not in [0, 1]")
    return value, low, high
