"""Bootstrap intervals over videos: frames of one video are not independent, so videos are resampled, not frames."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from resgat_pl.metrics.binary import weighted


class Interval(NamedTuple):
    """A value with its 95 % interval; all in the unit of the metric, NaN where undefined. Printed in percent."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if math.isnan(self.value):
            return "undefined"
        if math.isnan(self.low):
            return f"{100 * self.value:.2f} [undefined]"
        return f"{100 * self.value:.2f} [{100 * self.low:.2f}, {100 * self.high:.2f}]"


def draw(groups: int, resamples: int, seed: int) -> NDArray[np.int64]:
    """How often each group is drawn in each resample, ``(resamples, groups)``; every row sums to ``groups``."""
    rng = np.random.default_rng(seed)
    drawn = np.zeros((resamples, groups), np.int64)
    for row in range(resamples):
        drawn[row] = np.bincount(rng.integers(groups, size=groups), minlength=groups)
    return drawn


def bootstrap(
    probability: NDArray[np.floating],
    label: NDArray[np.int64],
    group: NDArray[np.int64],
    threshold: float = 0.5,
    resamples: int = 1000,
    seed: int = 0,
    ranked: bool = True,
) -> dict[str, NDArray[np.float64]]:
    """Every metric under resampling of groups (Efron & Tibshirani 1993, ch. 13).

    Args:
        probability: ``(N,)`` float in [0, 1], of being fake.
        label: ``(N,)`` int64, 1 = fake.
        group: ``(N,)`` int64, group (video) of each sample, 0 … G-1.
        threshold: A probability above it counts as fake.
        resamples: Number of resamples R.
        seed: Seed. Runs that scored the same groups are resampled alike under the same seed, so their differences
            and means can be taken resample by resample.
        ranked: See ``metrics.binary.weighted``.

    Returns:
        ``(1 + R,)`` float64 for each of ``metrics.binary.METRICS``: the value itself, then one value a resample.
    """
    groups = int(group.max()) + 1 if len(group) else 0
    weight = np.concatenate([np.ones((1, groups), np.int64), draw(groups, resamples, seed)])
    return weighted(probability, label, group, weight, threshold, ranked)


def interval(values: NDArray[np.float64]) -> Interval:
    """Percentile interval of what ``bootstrap`` returns for one metric; resamples without a class do not count."""
    drawn = values[1:][~np.isnan(values[1:])]
    low, high = np.quantile(drawn, [0.025, 0.975]) if len(drawn) else (np.nan, np.nan)
    return Interval(float(values[0]), float(low), float(high))
