"""Spans in time: which frames of a clip are named as altered, and how well."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from resgat_pl.evaluation.metrics.binary import measure
from resgat_pl.evaluation.metrics.intervals import Interval, interval

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class ScoredFace(NamedTuple):
    """The frames of one face, in order.

    Attributes:
        score: ``(n,)`` float64, the higher the more suspicious.
        altered: ``(n,)`` bool.
        known: ``(n,)`` bool, whether it is known if the frame was altered; the others count for nothing.
        fake: Whether the video is a fake.
        clip: Code of the genuine clip behind it, over which intervals are drawn.
    """

    score: Floats
    altered: Bools
    known: Bools
    fake: bool
    clip: int

    @property
    def in_part(self) -> bool:
        """True if some frames are known to be altered and others not to be."""
        return bool((self.altered & self.known).any() and (~self.altered & self.known).any())


def best_run(score: Floats, threshold: float) -> Bools:
    """The stretch of neighbouring frames ``(n,)`` bool with the largest Σ (score − threshold); none if that is below 0.

    Example:
        >>> best_run(np.array([0.0, 2.0, 0.9, 3.0, -9.0]), 1.0).tolist()
        [False, True, True, True, False]
    """
    sums = np.concatenate([[0.0], np.cumsum(score - threshold)])
    lowest = np.minimum.accumulate(sums)
    gains = sums - lowest
    end = int(gains.argmax())
    named = np.zeros(len(score), bool)
    if gains[end] > 0:
        named[int(sums[: end + 1].argmin()) : end] = True
    return named


def overlap(face: ScoredFace, threshold: float) -> float:
    """Intersection over union of the named and the altered frames in [0, 1]; 1 where both are empty.

    Example:
        >>> altered = np.array([True, True, False, False])
        >>> overlap(ScoredFace(np.array([0.0, 5.0, 5.0, 0.0]), altered, np.ones(4, bool), True, 0), 1.0)
        0.3333333333333333
    """
    named, altered = best_run(face.score, threshold) & face.known, face.altered & face.known
    union = int((named | altered).sum())
    return float((named & altered).sum() / union) if union else 1.0


def choose_threshold(faces: Sequence[ScoredFace]) -> float | None:
    """The threshold with the highest mean of both: overlap on fakes altered in part, and on genuine faces.

    A genuine face has an overlap of 1 if nothing is named, and else of 0: fakes alone would choose a threshold that
    names a part of every face. None without fakes that are altered in part.
    """
    fakes, real = ([face for face in faces if wanted(face)] for wanted in (_in_part, _genuine))
    if not fakes:
        return None
    every = np.unique(np.concatenate([face.score for face in [*fakes, *real]]))
    between = np.quantile(np.concatenate([[every[0] - 1e-6], (every[1:] + every[:-1]) / 2, [every[-1]]]), _GRID)
    groups = [group for group in (fakes, real) if group]
    worth = [np.mean([np.mean([overlap(face, limit) for face in group]) for group in groups]) for limit in between]
    return float(between[int(np.argmax(worth))])


_GRID = np.linspace(0, 1, 101)


def frame_auroc(face: ScoredFace) -> float:
    """AUROC of the frames of one face, altered against not; NaN unless it is altered in part."""
    if not face.in_part:
        return float("nan")
    score = face.score[face.known]
    rank = np.unique(score, return_inverse=True)[1] / len(score)  # AUROC depends on the order alone
    return float(measure(rank, face.altered[face.known].astype(np.int64), 0.5)["auroc"])


def mean_interval(
    values: Sequence[float], clips: Sequence[int], proportion: bool = False, resamples: int = 1000, seed: int = 0
) -> Interval:
    """Mean of one value a face, with its 95 % bootstrap interval over genuine clips; none of fewer than ten of them.

    Args:
        values: ``(n,)``.
        clips: ``(n,)`` codes of the genuine clip behind each.
        proportion: Whether each value is 0 or 1, see ``metrics.intervals.interval``.
        resamples: Number of resamples.
        seed: Of the resamples.

    Example:
        >>> mean_interval([0.0, 1.0], [7, 7])
        Interval(value=0.5, low=nan, high=nan, groups=1)
    """
    value, group = np.asarray(values, np.float64), np.unique(np.asarray(clips, np.int64), return_inverse=True)[1]
    if not len(value):
        return Interval(np.nan)
    total, count = (np.bincount(group, weight) for weight in (value, np.ones(len(value))))
    drawn = np.random.default_rng(seed).integers(len(total), size=(resamples, len(total)))
    means = total[drawn].sum(axis=1) / count[drawn].sum(axis=1)
    return interval(np.append(value.mean(), means), len(total), len(value) if proportion else None)


def _in_part(face: ScoredFace) -> bool:
    return face.fake and face.in_part


def _genuine(face: ScoredFace) -> bool:
    return not face.fake
