"""Scores of a binary detector, for one sample or for thousands of bootstrap resamples of it at once.

A resample is a weight for each group (video): how often it was drawn. Every score is therefore written for weighted
samples, and the plain score is the case of equal weights: the value and its interval come from the same lines.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

METRICS: Final = (
    "auroc",
    "ap",
    "eer",
    "f1_fake",
    "f1_real",
    "accuracy",
    "balanced_accuracy",
    "log_loss",
    "ece",
)
THRESHOLDED: Final = ("f1_fake", "f1_real", "accuracy", "balanced_accuracy")
"""The scores that depend on the threshold."""
LOWER_IS_BETTER: Final = ("eer", "log_loss", "ece")
"""The scores of which the lowest is the best."""
BINS: Final = 15
"""Bins of the expected calibration error, of equal width, as Guo et al. 2017 use."""
_CHUNK: Final = 200_000  # weights at once: 1.6 MB an array, which stays in the cache: five times as fast as 32 MB

Array = NDArray[np.float64]


def measure(probability: NDArray[np.floating], label: NDArray[np.int64], threshold: float = 0.5) -> dict[str, float]:
    """Score predictions.

    Args:
        probability: ``(N,)`` float in [0, 1], of being fake.
        label: ``(N,)`` int, 1 = fake.
        threshold: A probability above it counts as fake.

    Returns:
        Each of ``METRICS``, in [0, 1] but for ``log_loss`` (nats): area under the ROC curve (ties count half), average
        precision, equal error rate (where the ROC polyline meets FPR = FNR), F1 of either class, accuracy, balanced
        accuracy, log-loss (clipped at the float64 resolution, as scikit-learn does), and expected calibration error
        (Guo et al. 2017, of the fake class's probability). NaN where the absence of a class leaves one undefined; F1 is
        0 for a class that is neither present nor predicted.
    """
    found = weighted(probability, label, np.arange(len(label)), np.ones((1, len(label))), threshold)
    return {name: float(values[0]) for name, values in found.items()}


def weighted(
    probability: NDArray[np.floating],
    label: NDArray[np.int64],
    group: NDArray[np.int64],
    weight: NDArray[np.integer] | Array,
    threshold: float = 0.5,
    ranked: bool = True,
) -> dict[str, Array]:
    """Score predictions under R sets of group weights.

    Args:
        probability: ``(N,)`` float in [0, 1], of being fake.
        label: ``(N,)`` int, 1 = fake.
        group: ``(N,)`` int in [0, G), the group of each sample.
        weight: ``(R, G)``, 0 or more.
        threshold: A probability above it counts as fake.
        ranked: Whether to compute ``auroc``, ``ap`` and ``eer``, which depend on the order of the samples and take most
            of the time.

    Returns:
        ``(R,)`` float64 for each of ``METRICS``, see ``measure``.
    """
    p = np.asarray(probability, np.float64)
    fake = np.asarray(label) == 1
    order = np.argsort(p, kind="stable")
    fake_by_rank, group_by_rank, ends = fake[order], np.asarray(group)[order], _ends(p[order])
    columns = _group_columns(p, fake, np.asarray(group), weight.shape[1], threshold)
    step = max(1, _CHUNK // max(1, len(p)))
    parts = []
    for start in range(0, len(weight), step):
        w = np.asarray(weight[start : start + step], np.float64)
        of_ranks = _ranked(w[:, group_by_rank], fake_by_rank, ends) if ranked else {}
        parts.append({**of_ranks, **_linear(w @ columns)})
    return {name: np.concatenate([part[name] for part in parts]) for name in METRICS if name in parts[0]}


def best_threshold(probability: NDArray[np.floating], label: NDArray[np.int64]) -> float | None:
    """The threshold with the highest balanced accuracy (Youden 1950), half-way between two probabilities.

    The lowest of equally good ones; None where a class is missing. Choose it on validation data.
    """
    p = np.asarray(probability, np.float64)
    fake = np.asarray(label) == 1
    if not fake.any() or fake.all():
        return None
    order = np.argsort(p, kind="stable")
    ends = _ends(p[order])
    missed = np.cumsum(fake[order])[ends]  # fakes at or below the threshold
    cleared = np.cumsum(~fake[order])[ends]
    best = int(np.argmax(cleared * fake.sum() - missed * (~fake).sum()))  # whole numbers: ties are ties
    low, high = np.append(p[order][ends], 1.0)[best : best + 2]
    middle = (low + high) / 2
    return float(middle if middle < high else low)  # there is no number between neighbouring floats


def _ends(p: Array) -> NDArray[np.int64]:
    """The last sample of each distinct probability, of samples in ascending order."""
    return np.flatnonzero(np.diff(p, append=np.inf) > 0)


def _ranked(w: Array, fake: NDArray[np.bool_], ends: NDArray[np.int64]) -> dict[str, Array]:
    """Scores that depend on order alone, from weights ``(R, N)`` of samples in ascending order of probability."""
    fakes = np.cumsum(w * fake, axis=1)[:, ends]  # at or below each distinct probability
    reals = np.cumsum(w * ~fake, axis=1)[:, ends]
    if not fakes.shape[1]:
        return dict.fromkeys(("auroc", "ap", "eer"), np.full(len(w), np.nan))
    # one column more, for the threshold below all samples, so that [k] is below and [k+1] at or below
    fakes, reals = (np.pad(total, ((0, 0), (1, 0))) for total in (fakes, reals))
    some, others = fakes[:, -1:], reals[:, -1:]
    step = np.diff(fakes, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        auroc = (step * (reals[:, :-1] + reals[:, 1:])).sum(1) / (2 * some * others)[:, 0]
        hits, alarms = some - fakes[:, :-1], others - reals[:, :-1]  # called fake from this probability on
        precision = np.where(hits > 0, hits / np.where(hits > 0, hits + alarms, 1), 0.0)
        ap = (step * precision).sum(1) / some[:, 0]
        eer = _equal_error_rate(fakes / some, 1 - reals / others)
    undefined = (some[:, 0] == 0) | (others[:, 0] == 0)
    return {
        "auroc": np.where(undefined, np.nan, auroc),
        "ap": np.where(some[:, 0] == 0, np.nan, ap),
        "eer": np.where(undefined, np.nan, eer),
    }


def _equal_error_rate(misses: Array, alarms: Array) -> Array:
    """Rate at which the polyline through (FNR, FPR) ``(R, K)`` crosses FNR = FPR; FNR rises along K and FPR falls."""
    gap = misses - alarms  # from -1 to 1
    after = np.argmax(gap >= 0, axis=1)
    rows = np.arange(len(gap))
    before = np.maximum(after - 1, 0)
    low, high = gap[rows, before], gap[rows, after]
    share = np.where(high > low, -low / np.where(high > low, high - low, 1), 0.0)
    result: Array = misses[rows, before] + share * (misses[rows, after] - misses[rows, before])
    return result


def _group_columns(p: Array, fake: NDArray[np.bool_], group: NDArray[np.int64], groups: int, threshold: float) -> Array:
    """Sums ``(G, 5 + BINS)`` over each group of everything that adds up over samples, for ``_linear``."""
    called = p > threshold
    tiny = np.finfo(np.float64).eps
    clipped = np.clip(p, tiny, 1 - tiny)
    loss = -np.where(fake, np.log(clipped), np.log1p(-clipped))
    counts = [fake & called, fake & ~called, ~fake & called, ~fake & ~called]
    sums = [np.bincount(group, values, groups) for values in (*counts, loss)]
    place = group * BINS + np.minimum((p * BINS).astype(np.int64), BINS - 1)
    binned = [np.bincount(place, values, groups * BINS).reshape(groups, BINS) for values in (p, fake.astype(float))]
    return np.concatenate([np.stack(sums, axis=1), binned[0] - binned[1]], axis=1)


def _linear(sums: Array) -> dict[str, Array]:
    """Scores from weighted sums ``(R, 5 + BINS)``, see ``_group_columns``."""
    tp, fn, fp, tn, loss = sums[:, :5].T
    total = tp + fn + fp + tn
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "f1_fake": np.where(tp + fn + fp > 0, 2 * tp / (2 * tp + fn + fp), 0.0),
            "f1_real": np.where(tn + fn + fp > 0, 2 * tn / (2 * tn + fn + fp), 0.0),
            "accuracy": (tp + tn) / total,
            "balanced_accuracy": (tp / (tp + fn) + tn / (tn + fp)) / 2,
            "log_loss": loss / total,
            # a bin's |mean probability - share of fakes|, weighted by its size, is |sum of p - number of fakes| / N
            "ece": np.abs(sums[:, 5:]).sum(axis=1) / total,
        }
