"""Bootstrap intervals over videos: frames of one video are not independent, so videos are resampled, not frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata


class Interval(NamedTuple):
    """A value with its 95 % interval; all in the unit of the metric. Printed in percent."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{100 * self.value:.2f} [{100 * self.low:.2f}, {100 * self.high:.2f}]"


def bootstrap(
    metric: Callable[[NDArray[Any], NDArray[np.int64]], float],
    score: NDArray[Any],
    label: NDArray[np.int64],
    group: NDArray[np.int64],
    resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Percentile interval of a metric under resampling of groups (Efron & Tibshirani 1993, ch. 13).

    Args:
        metric: Function of (score, label) that returns a value, or NaN where it is undefined.
        score: ``(N,)``, what is scored.
        label: ``(N,)`` int64, 1 is the positive class.
        group: ``(N,)`` int64, group (video) of each sample, 0 … G-1.
        resamples: Number of resamples.
        seed: Seed.
    """
    order = np.argsort(group, kind="stable").astype(np.int64)
    members = np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
    rng = np.random.default_rng(seed)
    values = np.empty(resamples)
    for resample in range(resamples):
        drawn = np.concatenate([members[g] for g in rng.integers(len(members), size=len(members))])
        values[resample] = metric(score[drawn], label[drawn])
    values = values[~np.isnan(values)]
    low, high = np.quantile(values, [0.025, 0.975]) if len(values) else (np.nan, np.nan)
    return Interval(metric(score, label), float(low), float(high))


def auroc(score: NDArray[Any], label: NDArray[np.int64]) -> float:
    """Area under the ROC curve (Mann-Whitney), ties counted half; NaN if a class is missing."""
    positive = int(label.sum())
    negative = len(label) - positive
    if not positive or not negative:
        return float("nan")
    ranks = rankdata(score)
    return float((ranks[label == 1].sum() - positive * (positive + 1) / 2) / (positive * negative))


def f1(called: NDArray[Any], label: NDArray[np.int64]) -> float:
    """F1 of the class 1; 0 where neither called nor present."""
    hits = float((called * label).sum())
    total = float(called.sum() + label.sum())
    return 2 * hits / total if total else 0.0
