"""Intervals over independent groups: samples that share a genuine clip are drawn together.

The frames of a video, the fakes made from a clip, and the compressions of either err together. So whole groups are
resampled, and the number of groups counts as evidence.

``explain.benchmark.leaderboard`` resamples by the same ``draw``. ``explain.report.verdict`` has its own bootstrap,
since it answers another question: the frames of one file are drawn, to show how much their choice matters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resgat_pl.evaluation.metrics.binary import weighted

FEWEST: Final = 10
"""Fewer groups get no interval: resamples of a handful hardly vary, and cover the truth far less often than 95 %."""
PROPORTIONS: Final = ("accuracy", "balanced_accuracy")
"""Shares of right answers, and the mean of two such shares: their intervals are Wilson's."""
_OF_ALL: Final = ("accuracy", "log_loss", "ece")
"""Means over all samples, whatever their class; the other metrics are limited by the scarcer class."""
_ALIKE: Final = 1e-9
"""Numbers this close are equal but for rounding."""
_Z: Final = 1.959964
"""Standard normal quantile of .975."""


class Interval(NamedTuple):
    """A value with its 95 % interval, in the unit of the metric; printed in percent.

    Attributes:
        value: NaN where undefined.
        low: NaN where there is no interval: of fewer than ``FEWEST`` groups, or of resamples that are all alike.
        high: Like ``low``.
        groups: Independent groups that the value rests on; 0 where they were not counted.

    Example:
        >>> print(Interval(0.9, 0.85, 0.94))
        90.00 [85.00, 94.00]
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    groups: int = 0

    @property
    def known(self) -> bool:
        """True if there is an interval."""
        return not (math.isnan(self.low) or math.isnan(self.high))

    def cells(self) -> list[str]:
        """The fields for a row of CSV; empty where undefined."""
        return [*("" if math.isnan(number) else f"{number:.6f}" for number in self[:3]), str(self.groups)]

    def plain(self) -> list[float | None]:
        """Value, low and high for JSON, which knows no NaN."""
        return [None if math.isnan(number) else number for number in self[:3]]

    @property
    def brief(self) -> str:
        """Value and interval; the number of groups only where it stands for the interval."""
        return self.text(counted=not self.known)

    def text(self, counted: bool = True, sign: str = "", scale: float = 100) -> str:
        """Value, interval and number of groups; without an interval the first and the last.

        Args:
            counted: Whether the number of groups is given.
            sign: ``+`` for differences.
            scale: Factor of the numbers.
        """
        if math.isnan(self.value):
            return "undefined"
        value, low, high = (f"{scale * number:{sign}.2f}" for number in self[:3])
        count = f" (n = {self.groups:,})" if counted and self.groups else ""
        return f"{value} [{low}, {high}]{count}" if self.known else f"{value}{count or ' (no interval)'}"

    def __str__(self) -> str:
        return self.text()


@dataclass(frozen=True)
class Units:
    """Numbers of samples and of independent groups behind scores.

    Attributes:
        samples: Frames or videos.
        groups: Groups of them.
        scarcer: Groups with samples of the class that fewer groups have.
    """

    samples: int
    groups: int
    scarcer: int

    @classmethod
    def count(cls, label: NDArray[np.int64], group: NDArray[np.int64]) -> Units:
        """Count the groups of samples, both ``(N,)``; a class that is missing does not count as scarcer."""
        each = [len(np.unique(group[label == kind])) for kind in np.unique(label)]
        return cls(len(group), len(np.unique(group)), min(each, default=0))

    def interval(self, metric: str, values: NDArray[np.float64]) -> Interval:
        """Interval of one of ``metrics.binary.METRICS``, from its ``bootstrap``.

        The calibration error is a mean of absolute values, which noise makes larger, and resampling adds as much noise
        again: its resamples lie above the value, so they are moved until their median is the value.
        """
        if metric == "ece" and np.isfinite(values[1:]).any():
            values = np.r_[values[0], np.maximum(values[1:] - (np.nanmedian(values[1:]) - values[0]), 0)]
        return interval(values, self.behind(metric), self.samples if metric in PROPORTIONS else None)

    def behind(self, metric: str) -> int:
        """The groups that decide how well a metric is known."""
        return self.groups if metric in _OF_ALL else self.scarcer


def draw(groups: int, resamples: int, seed: int) -> NDArray[np.int64]:
    """Counts of each group in each resample, ``(resamples, groups)``; every row sums to ``groups``."""
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


def over_seeds(table: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Mean over k checkpoints that differ in their seed, which are resampled like the groups.

    Resamples of k seeds vary by (k − 1) / k of what seeds do, so that their deviations are scaled up (Rao & Wu, JASA
    1988). With one checkpoint it is that checkpoint.

    Args:
        table: ``(k, 1 + R)`` float64: of each checkpoint the value and one value a resample, all resampled alike.
        seed: Seed; tables with as many checkpoints are resampled alike under the same seed.

    Returns:
        ``(1 + R,)`` float64.

    Example:
        >>> float(over_seeds(np.array([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]]), 0)[0])
        1.5
    """
    count, size = table.shape
    drawn = np.random.default_rng(seed).integers(count, size=(size, count))
    drawn[0] = np.arange(count)
    centre = table.mean(axis=0)
    mean = np.take_along_axis(table, drawn.T, axis=0).mean(axis=0)
    wider = math.sqrt(count / (count - 1)) if count > 1 else 1.0
    return np.asarray(centre + wider * (mean - centre), np.float64)


def interval(values: NDArray[np.float64], groups: int | None = None, samples: int | None = None) -> Interval:
    """95 % interval of what ``bootstrap`` returns for one metric; resamples without a class do not count.

    Percentiles of the resamples. Where all are alike, as with a score of 1, there is none.

    A proportion p gets Wilson's interval (JASA 22, 1927, p. 209), which has a width at 0 and 1 too. Its sample size is
    the effective one, p (1 - p) / variance of the resamples (Kish, "Survey Sampling", 1965: the number of
    independent samples that would be as uncertain), and at most ``samples``. At 0 and 1 nothing shows how much the
    samples of a group have in common, and each group counts once.

    Args:
        values: ``(1 + R,)`` float, the value and one value a resample.
        groups: Independent groups behind it; None if they were not counted, and the caller ensures that there are
            enough.
        samples: Of a proportion, the number of its outcomes; None for other scores.
    """
    value = float(values[0])
    drawn = values[1:][~np.isnan(values[1:])]
    bare = Interval(value, groups=groups or 0)
    if (groups is not None and groups < FEWEST) or not len(drawn) or math.isnan(value):
        return bare
    if samples is not None:
        low, high = _wilson(value, _effective(value, drawn, samples if groups is None else groups, samples))
    elif np.ptp(drawn) <= _ALIKE:
        return bare
    else:
        low, high = (float(end) for end in np.quantile(drawn, [0.025, 0.975]))
    return bare._replace(low=low, high=high)


def error_rate(wrong: int, of: int, groups: int) -> Interval:
    """Share of ``of`` samples that are wrong, with Wilson's interval in which each group counts once.

    It holds for small numbers too, where an interval is wide: none wrong of 5 may be 43 %.

    Example:
        >>> print(error_rate(0, 5, 5)), error_rate(0, 0, 0).known
        0.00 [0.00, 43.45] (n = 5)
        (None, False)
    """
    if not of:
        return Interval(math.nan)
    low, high = _wilson(wrong / of, min(of, max(groups, 1)))
    return Interval(wrong / of, low, high, min(of, groups))


def _effective(p: float, drawn: NDArray[np.float64], groups: int, samples: int) -> float:
    if not _ALIKE < p < 1 - _ALIKE:
        return groups
    variance = float(drawn.var())
    return min(samples, p * (1 - p) / variance) if variance > 0 else samples


def _wilson(p: float, n: float) -> tuple[float, float]:
    centre = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2)) / (1 + _Z**2 / n)
    return max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half))
