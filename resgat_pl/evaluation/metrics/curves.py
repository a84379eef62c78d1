"""Points of the curves of a test: ROC, precision against recall, error rates by threshold, confusion, reliability.

All follow from two things: the confusion counts at every threshold (``Sweep``), and the counts in bins of probability
(``Reliability``). ``evaluation.curve_plots`` draws them and ``evaluation.curve_files`` writes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resgat_pl.core.types import Level
from resgat_pl.evaluation.metrics.binary import BINS, Array
from resgat_pl.evaluation.metrics.calibration import calibrated, log_odds
from resgat_pl.evaluation.metrics.scores import Predictions, by_method

DEFAULT_THRESHOLD: Final = 0.5
"""Threshold where validation chose none."""
MOST: Final = 2000
"""Points of a curve in files and figures: a test of a million frames has as many thresholds."""


@dataclass(frozen=True)
class Confusion:
    """Counts of a detector's calls at one threshold; a probability above it counts as fake.

    Attributes:
        threshold: In [0, 1].
        tp: Fakes called fake.
        fp: Genuine ones called fake.
        fn: Fakes called real.
        tn: Genuine ones called real.

    Example:
        >>> found = Confusion.of(np.array([0.1, 0.6, 0.7]), np.array([0, 0, 1]), 0.5)
        >>> found.tp, found.fp, found.fpr
        (1, 1, 0.5)
    """

    threshold: float
    tp: int
    fp: int
    fn: int
    tn: int

    @classmethod
    def of(cls, probability: NDArray[np.floating], label: NDArray[np.int64], threshold: float) -> Confusion:
        """Count ``(N,)`` probabilities of being fake against ``(N,)`` labels, 1 = fake."""
        called, fake = np.asarray(probability) > threshold, np.asarray(label) == 1
        cells = (called & fake, called & ~fake, ~called & fake, ~called & ~fake)
        return cls(float(threshold), *(int(cell.sum()) for cell in cells))

    @property
    def fpr(self) -> float:
        """Share of the genuine ones that are called fake; NaN without any."""
        return _share(self.fp, self.fp + self.tn)

    @property
    def fnr(self) -> float:
        """Share of the fakes that are called real; NaN without any."""
        return _share(self.fn, self.fn + self.tp)

    @property
    def precision(self) -> float:
        """Share of fakes among what is called fake; NaN if nothing is."""
        return _share(self.tp, self.tp + self.fp)


class Sweep(NamedTuple):
    """Confusion counts at every threshold where they change, from the highest threshold to the lowest.

    Attributes:
        threshold: ``(K,)`` float64, descending: the highest probability that is *not* called fake. The last one lies
            below all probabilities: 0, or -1 where a probability is 0.
        tp: ``(K,)`` int64, fakes above it, from 0 to all.
        fp: ``(K,)`` int64, genuine ones above it, from 0 to all.

    Example:
        >>> found = sweep(np.array([0.1, 0.6, 0.7]), np.array([0, 0, 1]))
        >>> found.threshold.tolist(), found.tpr.tolist(), found.fpr.tolist()
        ([0.7, 0.6, 0.1, 0.0], [0.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.5, 1.0])
    """

    threshold: Array
    tp: NDArray[np.int64]
    fp: NDArray[np.int64]

    @property
    def tpr(self) -> Array:
        """Share of the fakes that are called fake, which is the recall."""
        share: Array = self.tp / self.tp[-1]
        return share

    @property
    def fpr(self) -> Array:
        """Share of the genuine ones that are called fake."""
        share: Array = self.fp / self.fp[-1]
        return share

    @property
    def fnr(self) -> Array:
        """Share of the fakes that are called real."""
        return 1 - self.tpr

    @property
    def precision(self) -> Array:
        """Share of fakes among what is called fake; 1 where nothing is, as scikit-learn has it."""
        called = self.tp + self.fp
        share: Array = np.where(called > 0, self.tp / np.maximum(called, 1), 1.0)
        return share

    @property
    def balanced_accuracy(self) -> Array:
        """Mean of the shares of either class that are called right."""
        mean: Array = (self.tpr + 1 - self.fpr) / 2
        return mean

    def thinned(self, most: int = MOST) -> Sweep:
        """At most so many points, evenly spaced along the ROC curve; both ends stay."""
        if len(self.threshold) <= most:
            return self
        way = self.tpr + self.fpr  # rises at every threshold, from 0 to 2
        chosen = np.unique(np.searchsorted(way, np.linspace(0, 2, most)))
        return Sweep(self.threshold[chosen], self.tp[chosen], self.fp[chosen])

    def at(self, threshold: Array) -> NDArray[np.int64]:
        """Places ``(T,)`` of the counts at thresholds ``(T,)`` in [0, 1]."""
        ascending = self.threshold[::-1]
        place = np.searchsorted(ascending, threshold, side="right") - 1  # the last probability at or below it
        return len(ascending) - 1 - np.maximum(place, 0)


class Reliability(NamedTuple):
    """Predicted probabilities against what was observed, in bins of equal width over [0, 1].

    Attributes:
        low: ``(B,)`` lower ends of the bins; the next one's is the upper end, which belongs to the next, except 1.
        samples: ``(B,)`` int64, how many there are.
        predicted: ``(B,)`` their mean probability of being fake, NaN for an empty bin.
        observed: ``(B,)`` their share of fakes, NaN for an empty bin.
        ece: Expected calibration error: the mean distance of the two, weighted by the samples (Guo et al. 2017).

    Example:
        >>> found = reliability(np.array([0.1, 0.2, 0.9]), np.array([0, 1, 1]), bins=2)
        >>> found.samples.tolist(), found.observed.tolist(), round(found.ece, 3)
        ([2, 1], [0.5, 1.0], 0.267)
    """

    low: Array
    samples: NDArray[np.int64]
    predicted: Array
    observed: Array
    ece: float


@dataclass(frozen=True)
class LevelCurves:
    """All curves of a test at one level.

    Attributes:
        level: ``frame`` or ``video``.
        sweeps: By manipulation method, ``POOLED`` first; genuine samples take part in each.
        confusion: Counts at the threshold that validation chose, or at ``DEFAULT_THRESHOLD``.
        chosen: True if validation chose it.
        before: Reliability of the score.
        after: Reliability of the calibrated probability; None without a temperature.

    Example:
        >>> label, names = np.array([0, 1]), np.array(["original", "swap"], object)
        >>> found = Predictions(np.array([0.2, 0.9]), label, names, np.arange(2), np.arange(2))
        >>> level_curves("video", found, None, None).confusion
        Confusion(threshold=0.5, tp=1, fp=0, fn=0, tn=1)
    """

    level: Level
    sweeps: Mapping[str, Sweep]
    confusion: Confusion
    chosen: bool
    before: Reliability
    after: Reliability | None


def level_curves(
    level: Level, predictions: Predictions, threshold: float | None, temperature: float | None
) -> LevelCurves | None:
    """The curves of one level; None where a class is missing, since none is defined there.

    Args:
        level: ``frame`` or ``video``.
        predictions: What was scored.
        threshold: Chosen on validation data; None for ``DEFAULT_THRESHOLD``.
        temperature: Fitted on validation data; None for no calibration.
    """
    probability, label = predictions.probability, predictions.label
    if not len(label) or label.min() == label.max():
        return None
    after = None if temperature is None else reliability(calibrated(log_odds(probability), temperature), label)
    return LevelCurves(
        level,
        {name: sweep(part.probability, part.label) for name, part in by_method(predictions)},
        Confusion.of(probability, label, DEFAULT_THRESHOLD if threshold is None else threshold),
        threshold is not None,
        reliability(probability, label),
        after,
    )


def sweep(probability: NDArray[np.floating], label: NDArray[np.int64]) -> Sweep:
    """Confusion counts at every threshold.

    Args:
        probability: ``(N,)`` float in [0, 1], of being fake.
        label: ``(N,)`` int, 1 = fake; both classes are there.
    """
    p, fake = np.asarray(probability, np.float64), np.asarray(label) == 1
    distinct, place = np.unique(p, return_inverse=True)
    above = [np.cumsum(np.bincount(place, kind, len(distinct))[::-1]).astype(np.int64) for kind in (fake, ~fake)]
    lowest = 0.0 if distinct[0] > 0 else -1.0
    tp, fp = (np.concatenate([[0], counts]) for counts in above)
    return Sweep(np.append(distinct[::-1], lowest), tp, fp)


def reliability(probability: NDArray[np.floating], label: NDArray[np.int64], bins: int = BINS) -> Reliability:
    """Predicted against observed shares of fakes; the ECE is that of ``metrics.binary.measure``.

    Args:
        probability: ``(N,)`` float in [0, 1], of being fake.
        label: ``(N,)`` int, 1 = fake.
        bins: Bins of equal width.
    """
    p, fake = np.asarray(probability, np.float64), (np.asarray(label) == 1).astype(np.float64)
    place = np.minimum((p * bins).astype(np.int64), bins - 1)
    count = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        predicted, observed = (np.bincount(place, values, bins) / count for values in (p, fake))
    ece = float(np.nansum(count * np.abs(predicted - observed)) / max(1, len(p)))
    return Reliability(np.arange(bins) / bins, count, predicted, observed, ece)


def on_grid(curves: Sweep, points: int = 101) -> dict[str, Array]:
    """The curves at evenly spaced places, so that those of several runs lie over each other.

    Args:
        curves: Of one level.
        points: Places over [0, 1].

    Returns:
        ``(points,)`` float64 each: ``x``, the place; ``roc``, the highest TPR at an FPR of at most x;
        ``precision_recall``, the precision at the highest threshold where recall is at least x; and
        ``balanced_accuracy``, ``fpr`` and ``fnr`` at the threshold x.

    Example:
        >>> found = on_grid(sweep(np.array([0.1, 0.6, 0.7]), np.array([0, 0, 1])), 3)
        >>> found["roc"].tolist(), found["fpr"].tolist()
        ([1.0, 1.0, 1.0], [1.0, 0.5, 0.0])
    """
    x = np.linspace(0, 1, points)
    by_threshold = curves.at(x)
    roc = curves.tpr[np.searchsorted(curves.fpr, x + 1e-12, side="right") - 1]
    found = curves.precision[np.maximum(1, np.searchsorted(curves.tpr, x - 1e-12))]
    rates = {name: getattr(curves, name)[by_threshold] for name in ("balanced_accuracy", "fpr", "fnr")}
    return {"x": x, "roc": roc, "precision_recall": found, **rates}


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
