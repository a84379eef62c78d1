"""Numbers of one seed under the same resamples of the test's clips, and the files that they are stored in."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resgat_pl.core.storage import write_atomic
from resgat_pl.core.types import VIDEO_KEY, Level
from resgat_pl.evaluation.metrics.intervals import Interval, draw
from resgat_pl.evaluation.metrics.scores import POOLED, Predictions, Scores, evaluate
from resgat_pl.evaluation.metrics.spans import ScoredFace

RESAMPLES: Final = 1000
CALLED: Final = ("precision", "recall")
"""Metrics of those that are called fake, beside those of ``metrics.binary``."""

Floats = NDArray[np.float64]
Arrays = dict[str, NDArray[Any]]
Table = dict[tuple[str, str], Scores]
"""Scores by level and manipulation method."""


class Value(NamedTuple):
    """A number of one seed: itself and under each resample ``(1 + R,)``, and the clips that it rests on."""

    values: Floats
    clips: int


def ratio(above: Floats, below: Floats, group: NDArray[np.int64], groups: int) -> Value:
    """Σ above / Σ below over faces ``(n,)`` that are no NaN, under resamples that are the same for as many groups.

    Example:
        >>> ratio(np.array([1.0, 0.0]), np.ones(2), np.array([0, 1]), 2).values[0]
        0.5
    """
    used = np.isfinite(above)
    weight = np.concatenate([np.ones((1, groups), np.int64), draw(groups, RESAMPLES, 0)]).astype(np.float64)
    sums = [weight @ np.bincount(group[used], part[used], groups) for part in (above, below)]
    with np.errstate(invalid="ignore", divide="ignore"):
        return Value(np.where(sums[1] > 0, sums[0] / sums[1], np.nan), len(np.unique(group[used])))


def stored(file: Path, make: Callable[[], Arrays]) -> Arrays:
    """Arrays of a file, which is made and written first where it is not there."""
    if not file.is_file():
        data = io.BytesIO()
        np.savez_compressed(data, **make())
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, data.getvalue())
    with np.load(file, allow_pickle=False) as found:
        return dict(found)


def evaluated(found: Mapping[Level, Predictions], thresholds: Mapping[Level, float] | None) -> Table:
    """Scores of predictions; thresholds of validation by level, 0.5 where there are none."""
    table: Table = {}
    for row in evaluate(found, thresholds, RESAMPLES):
        part = found[row.level]
        chosen = (part.label == 0) | (row.method == POOLED) | (part.method == row.method)
        called = part.probability[chosen] > (thresholds or {}).get(row.level, 0.5)
        fake = part.label[chosen] == 1
        group = np.unique(part.clip[chosen], return_inverse=True)[1].astype(np.int64)
        hits, groups = (called & fake).astype(np.float64), int(group.max()) + 1
        for name, below in zip(CALLED, (called, fake), strict=True):
            row.resamples[name] = ratio(hits, below.astype(np.float64), group, groups).values
        table[row.level, row.method] = row
    return table


def packed(found: Mapping[Level, Predictions]) -> Arrays:
    """Predictions as arrays, for a file."""
    return {
        f"{level}_{name}": np.asarray(getattr(part, name)).astype(str if name == "method" else None)
        for level, part in found.items()
        for name in Predictions._fields
    }


def unpacked(arrays: Arrays) -> dict[Level, Predictions]:
    """The inverse of ``packed``."""
    levels: tuple[Level, Level] = ("frame", "video")
    return {level: Predictions(*(arrays[f"{level}_{name}"] for name in Predictions._fields)) for level in levels}


def faces_of(file: Path, clip_of: Mapping[tuple[str, ...], int]) -> list[ScoredFace]:
    """The faces of a timeline's ``frames.csv``."""
    tracks: dict[tuple[str, ...], list[dict[str, str]]] = {}
    with file.open(newline="") as lines:
        for line in csv.DictReader(lines):
            tracks.setdefault(tuple(line[name] for name in (*VIDEO_KEY, "track")), []).append(line)
    found = []
    for key, frames in tracks.items():
        frames.sort(key=lambda line: int(line["frame_index"]))
        altered = np.array([line["altered"].lower() in {"true", "1"} for line in frames])
        fake = frames[0]["label"] == "1"
        known = np.array([bool(line["altered"]) or not fake for line in frames])
        values = np.array([float(line["score"]) for line in frames])
        found.append(ScoredFace(values, altered & fake, known, fake, clip_of[key[: len(VIDEO_KEY)]]))
    return found


def around(found: list[Interval]) -> Interval:
    """Mean over seeds, from the lowest lower to the highest upper end: where resamples cannot be had, on the safe side.

    Example:
        >>> around([Interval(0.5, 0.4, 0.6, 20), Interval(0.7, 0.6, 0.8, 30)])
        Interval(value=0.6, low=0.4, high=0.8, groups=20)
    """
    ends = [[getattr(each, name) for each in found] for name in ("value", "low", "high", "groups")]
    return Interval(float(np.mean(ends[0])), float(np.min(ends[1])), float(np.max(ends[2])), min(ends[3]))
