"""Scores of the further outputs of a detector: kinds of manipulation, kinds never seen, and regions of the face."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from resgat_pl.evaluation.metrics.binary import measure
from resgat_pl.evaluation.metrics.intervals import Interval, draw, interval

KEPT: Final = 0.95
"""Share of the validation's fakes of known kinds that the limit of ``unknown_limit`` keeps."""
_RESAMPLES: Final = 200
Array = NDArray[np.float64]


def unknown_limit(energy: Array) -> float | None:
    """Energy below which a fake is of none of the kinds: 5 % of the known ones are; None without any.

    Args:
        energy: ``(n,)``, of validation's fakes of known kinds, see ``nn.outputs.energy``.

    Example:
        >>> round(unknown_limit(np.arange(100.0)) or 0, 6)
        4.95
    """
    return float(np.quantile(energy, 1 - KEPT)) if len(energy) else None


def macro_f1(found: NDArray[np.int64], right: NDArray[np.int64], classes: int) -> float:
    """Mean F1 over the classes that occur in ``right``; NaN where none does.

    A class that occurs nowhere has no F1; samples that were taken for it lower the recall of their own classes.

    Args:
        found: ``(n,)``, predicted classes in [0, classes).
        right: ``(n,)``, true classes.
        classes: Number of classes.

    Example:
        >>> macro_f1(np.array([0, 1, 1]), np.array([0, 0, 1]), 2)
        0.6666666666666666
    """
    counts = np.zeros((classes, classes))
    np.add.at(counts, (right, found), 1)
    hits, wanted, said = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    there = wanted > 0
    return float((2 * hits[there] / (wanted + said)[there]).mean()) if there.any() else float("nan")


def kind_scores(
    logits: Array, kind: NDArray[np.int64], fake: NDArray[np.bool_], group: NDArray[np.int64], limit: float | None
) -> dict[str, Interval]:
    """Scores of the kinds, with 95 % bootstrap intervals over groups.

    Args:
        logits: ``(n, 1 + K)``, see ``Outputs.kind_logits``.
        kind: ``(n,)``, 0 for genuine, 1 + k for kind k, -1 for a fake of a kind that is none of them.
        fake: ``(n,)``, true label.
        group: ``(n,)`` int, the genuine video behind each crop.
        limit: Of ``unknown_limit``; None where validation chose none.

    Returns:
        ``kind_f1``, macro-F1 of genuine and the kinds by the largest probability; ``kind_accuracy`` among fakes of
        known kinds; and, where there are fakes of other kinds, ``unknown_auroc``, of the energy, which is lower for
        them, among fakes, ``unknown_auroc_max_logit``, of the largest logit likewise, and with a limit
        ``unknown_recall``, the share of other kinds below it, and ``known_rejected``, that of known kinds.
    """
    best = logits.argmax(axis=1)
    among_fakes = 1 + logits[:, 1:].argmax(axis=1)
    energy = np.logaddexp.reduce(logits[:, 1:], axis=1)
    largest = logits[:, 1:].max(axis=1)
    known, other = fake & (kind > 0), fake & (kind < 0)
    scores: dict[str, Callable[[NDArray[np.int64]], float]] = {
        "kind_f1": lambda rows: _f1(best[rows], kind[rows], logits.shape[1]),
        "kind_accuracy": lambda rows: _mean((among_fakes == kind)[rows][known[rows]]),
    }
    if other.any():
        scores["unknown_auroc"] = lambda rows: _auroc(-energy, other, known | other, rows)
        scores["unknown_auroc_max_logit"] = lambda rows: _auroc(-largest, other, known | other, rows)
        if limit is not None:
            scores["unknown_recall"] = lambda rows: _mean((energy < limit)[rows][other[rows]])
            scores["known_rejected"] = lambda rows: _mean((energy < limit)[rows][known[rows]])
    return {name: _over_groups(score, group) for name, score in scores.items()}


def region_scores(
    logits: Array, manipulated: NDArray[np.bool_], names: Sequence[str], group: NDArray[np.int64]
) -> dict[str, Interval]:
    """Average precision of each region and their mean, with 95 % bootstrap intervals over groups.

    Args:
        logits: ``(n, R)``.
        manipulated: ``(n, R)``, whether each was.
        names: Of the regions.
        group: ``(n,)`` int, the genuine video behind each crop.

    Returns:
        ``region_map``, the mean over the regions that were manipulated somewhere and not everywhere, and
        ``region_ap/NAME`` of each of them; none where there is none.
    """
    there = [place for place in range(len(names)) if manipulated[:, place].any() and not manipulated[:, place].all()]
    if not there:
        return {}

    def precision(place: int, rows: NDArray[np.int64]) -> float:
        return measure(_squashed(logits[rows, place]), manipulated[rows, place].astype(np.int64))["ap"]

    def mean(rows: NDArray[np.int64]) -> float:
        with np.errstate(invalid="ignore"):
            return _mean(np.array([value for place in there if not np.isnan(value := precision(place, rows))]))

    each = {
        f"region_ap/{names[place].replace(' ', '_')}": _over_groups(partial(precision, place), group) for place in there
    }
    return {"region_map": _over_groups(mean, group), **each}


def _over_groups(score: Callable[[NDArray[np.int64]], float], group: NDArray[np.int64]) -> Interval:
    """A score of all rows, and its interval: groups are drawn again, with all of their rows."""
    _, group = np.unique(group, return_inverse=True)
    groups = int(group.max()) + 1 if len(group) else 0
    rows = np.arange(len(group))
    drawn = draw(groups, _RESAMPLES, 0) if groups > 1 else ()
    values = [score(rows), *(score(np.repeat(rows, times[group])) for times in drawn)]
    return interval(np.array(values), groups)


def _f1(found: NDArray[np.int64], kind: NDArray[np.int64], classes: int) -> float:
    known = kind >= 0
    return macro_f1(found[known], kind[known], classes)


def _auroc(value: Array, positive: NDArray[np.bool_], among: NDArray[np.bool_], rows: NDArray[np.int64]) -> float:
    rows = rows[among[rows]]
    return measure(_squashed(value[rows]), positive[rows].astype(np.int64))["auroc"]


def _squashed(value: Array) -> Array:
    """Ranks in [0, 1]: all that areas under curves depend on, and no two are merged as probabilities near 1 would."""
    _, place = np.unique(value, return_inverse=True)
    return np.asarray(place / max(1, place.max(initial=1)), np.float64)


def _mean(values: NDArray[np.generic]) -> float:
    return float(values.mean()) if len(values) else float("nan")
