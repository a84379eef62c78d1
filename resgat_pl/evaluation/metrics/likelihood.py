"""Likelihood ratios from scores: logistic calibration, the bounds that a pool supports, and how good the ratios are.

The likelihood ratio of a file is p(score | fake) / p(score | genuine). Unlike a probability it has no prior in it:
whoever reads it multiplies with the prior odds. Here log LR = a · log-odds(score) + b, the logistic calibration of
Brümmer & du Preez ("Application-independent evaluation of speaker detection", Computer Speech & Language 20, 2006),
both classes weighing the same. It has two numbers, which a pool of some dozen clips determines; isotonic regression
(PAV) has as many as there are steps, and gives infinite ratios at the ends. So PAV serves for ``cllr_min`` only.

All that was made of one genuine clip errs together, so within a class each clip counts once, whatever the number of its
frames, fakes and compressions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression, minimize
from scipy.special import expit

from resgat_pl.evaluation.metrics.calibration import log_odds

Floats = NDArray[np.float64]
SCALE: Final = (
    (2.0, "no or hardly any support"),
    (10.0, "weak support"),
    (100.0, "moderate support"),
    (1_000.0, "moderately strong support"),
    (10_000.0, "strong support"),
    (1_000_000.0, "very strong support"),
    (math.inf, "extremely strong support"),
)
"""Verbal scale, by the ratio below which the words hold: the example in ENFSI's "Guideline for Evaluative Reporting in
Forensic Science" (2015). There a ratio of 1 supports neither proposition, and weak support begins at 2."""
_STEP: Final = 0.01
"""Of log10 LR, to which the bounds are found."""
_FOLDS: Final = 10


@dataclass(frozen=True)
class LikelihoodRatios:
    """A calibration of one level.

    Attributes:
        slope: a of ln LR = a · log-odds(score) + b; above 0.
        offset: b.
        low: Least log10 LR that the pool supports, at most 0.
        high: Greatest, at least 0.
        real: Genuine clips in the pool.
        fake: Clips with fakes.
        cllr: Of the pool, each clip under a calibration without it; in bits, 0 for perfect ratios, 1 for no
            information.
        cllr_min: What is left of it after the best monotonic calibration: loss by discrimination alone.

    Example:
        >>> ratios = LikelihoodRatios(1.0, 0.0, -1.5, 1.5, 40, 40, 0.3, 0.25)
        >>> ratios.log10(0.5), round(ratios.log10(0.9), 3), ratios.log10(0.9999)
        (0.0, 0.954, 1.5)
    """

    slope: float
    offset: float
    low: float
    high: float
    real: int
    fake: int
    cllr: float
    cllr_min: float

    def log10(self, score: float) -> float:
        """log10 LR of a score in [0, 1], within the bounds."""
        return float(self.log10_of(np.array([score]))[0])

    def log10_of(self, score: NDArray[np.floating]) -> Floats:
        """``(N,)`` float64, likewise."""
        return np.asarray(np.clip(_line(score, self.slope, self.offset), self.low, self.high), np.float64)

    def is_bounded(self, score: float) -> bool:
        """True if the ratio of a score lies beyond what the pool supports, so that ``log10`` gives the bound."""
        return not self.low <= float(_line(np.array([score]), self.slope, self.offset)[0]) <= self.high

    def plain(self) -> dict[str, float]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def read(cls, stored: Mapping[str, Any] | None) -> LikelihoodRatios | None:
        """Undo ``plain``; None stays.

        Raises:
            ValueError: It is something else.
        """
        if stored is None:
            return None
        names = set(cls.__dataclass_fields__)
        whole = isinstance(stored, Mapping) and set(stored) == names
        if not whole or not all(_is_finite(value) for value in stored.values()):
            raise ValueError(f"needs a number for each of {', '.join(sorted(names))}")
        found = cls(**{name: type_(stored[name]) for name, type_ in _TYPES.items()})
        if found.slope <= 0 or not found.low <= 0 <= found.high:
            raise ValueError("needs a slope above 0, and bounds on both sides of 0")
        return found


_TYPES: Final[Mapping[str, type]] = {
    **dict.fromkeys(("slope", "offset", "low", "high", "cllr", "cllr_min"), float),
    **dict.fromkeys(("real", "fake"), int),
}


def fit_ratios(
    score: NDArray[np.floating], label: NDArray[np.integer], clip: NDArray[np.integer]
) -> LikelihoodRatios | None:
    """Calibrate the scores of a pool.

    The targets are Platt's, as of ``calibration.fit_temperature``, so that the slope is finite for a pool without a
    mistake. ``cllr`` and the bounds are of ratios of ten folds of clips, each under the calibration of the others.

    Args:
        score: ``(N,)`` float in [0, 1], of videos or frames.
        label: ``(N,)`` int, 1 = fake.
        clip: ``(N,)`` int, code of the genuine clip behind each, see ``metrics.scores.clip_codes``.

    Returns:
        None where a class is missing, or the scores of fakes are no higher than those of genuine samples.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> label = np.arange(200) % 2
        >>> found = fit_ratios(expit(rng.normal(2.0 * label - 1, 1)), label, np.arange(200))
        >>> abs(found.slope - 2) < 0.7, found.high <= math.log10(101)
        (True, True)
    """
    score, label, clip = (np.asarray(values) for values in (score, label, clip))
    line = _fit(score, label, clip)
    if line is None:
        return None
    # Ratios of clips that did not take part, for what is said about the ratios.
    fold = np.unique(clip, return_inverse=True)[1] % _FOLDS
    value = np.zeros(len(score))
    for number in np.unique(fold):
        others = fold != number
        value[~others] = _line(score[~others], *(_fit(score[others], label[others], clip[others]) or line))
    weight = clip_weights(label, clip)
    low, high = elub(value, label, weight)
    bounded = np.clip(value, low, high)
    real, fake = (round(float(weight[label == kind].sum())) for kind in (0, 1))
    cost, least = cllr(bounded, label, weight), cllr_min(score, label, weight)
    return LikelihoodRatios(*line, low, high, real, fake, cost, least)


def clip_weights(label: NDArray[np.integer], clip: NDArray[np.integer]) -> Floats:
    """``(N,)``: within a class the samples of a clip add up to 1."""
    code = np.unique(2 * np.unique(clip, return_inverse=True)[1] + (label == 1), return_inverse=True)[1]
    return np.asarray(1.0 / np.bincount(code)[code], np.float64)


def elub(value: Floats, label: NDArray[np.integer], weight: Floats) -> tuple[float, float]:
    """Empirical bounds (low, high) of log10 LR (ELUB; Vergeer et al., Science & Justice 56, 2016, pp. 482–491).

    Whoever decides at the threshold ratio t pays 1 for a fake that is not above it, and t for a genuine sample that is.
    Ratios are supported as far from 1 as this costs no more than to decide without them, min(1, t), if one more fake
    had come out below t and one more genuine clip above. So no bound lies beyond log10 of the clips of a class plus 1.

    Args:
        value: ``(N,)`` float64, log10 LR.
        label: ``(N,)`` int, 1 = fake.
        weight: ``(N,)`` float64, see ``clip_weights``.

    Example:
        >>> elub(np.array([-9.0] * 9 + [9.0] * 9), np.array([0] * 9 + [1] * 9), np.ones(18))
        (-0.95, 0.95)
    """
    fake = label == 1
    fakes, reals = float(weight[fake].sum()), float(weight[~fake].sum())

    def supported(at: float) -> bool:
        missed = (1 + weight[fake & (value <= at)].sum()) / (fakes + 1)
        alarms = (1 + weight[~fake & (value > at)].sum()) / (reals + 1)
        return bool(missed + 10**at * alarms <= min(1.0, 10**at) + 1e-12)

    if not len(value) or not supported(0.0):
        return 0.0, 0.0
    ends = []
    for sign, most in ((-1, min(math.log10(fakes + 1), -value.min())), (1, min(math.log10(reals + 1), value.max()))):
        steps = 0
        while (steps + 1) * _STEP <= most and supported(sign * (steps + 1) * _STEP):
            steps += 1
        ends.append(sign * steps * _STEP)
    return round(ends[0], 6), round(ends[1], 6)


def cllr(value: Floats, label: NDArray[np.integer], weight: Floats) -> float:
    """Log-likelihood-ratio cost in bits of log10 LR ``(N,)`` (Brümmer & du Preez 2006, eq. 8).

    Example:
        >>> label = np.array([0, 1])
        >>> cllr(np.zeros(2), label, np.ones(2)), cllr(np.array([-9.0, 9.0]), label, np.ones(2)) < 1e-8
        (1.0, True)
    """
    fake, natural = label == 1, np.asarray(value) * math.log(10)
    missed = np.average(np.logaddexp(0, -natural[fake]), weights=weight[fake])
    alarms = np.average(np.logaddexp(0, natural[~fake]), weights=weight[~fake])
    return float((missed + alarms) / (2 * math.log(2)))


def cllr_min(score: NDArray[np.floating], label: NDArray[np.integer], weight: Floats) -> float:
    """``cllr`` after the best calibration that keeps the order of the scores ``(N,)``, by PAV; in bits.

    Example:
        >>> cllr_min(np.array([0.1, 0.2]), np.array([0, 1]), np.ones(2))
        0.0
    """
    chance, share = _pav(score, label, weight)
    return abs(float(-np.sum(share * np.log2(np.where(label == 1, chance, 1 - chance))) / 2))


def decisions(
    score: NDArray[np.floating], value: NDArray[np.floating], threshold: float, bound: float
) -> NDArray[np.int64]:
    """Verdicts ``(N,)``: 1 fake, 0 genuine, -1 inconclusive.

    Inconclusive are ratios between 1 / bound and bound, and those that point to another side than the threshold does.

    Args:
        score: ``(N,)`` float in [0, 1].
        value: ``(N,)`` float, their log10 LR.
        threshold: A score above it counts as fake.
        bound: Ratio of at least 1.

    Example:
        >>> decisions(np.array([0.9, 0.6, 0.4, 0.1]), np.array([2.0, 0.5, 2.0, -1.0]), 0.5, 10.0).tolist()
        [1, -1, -1, 0]
    """
    least = math.log10(bound) - 1e-12
    fake, real = (value >= least) & (score > threshold), (value <= -least) & (score <= threshold)
    return np.where(fake, 1, np.where(real, 0, -1)).astype(np.int64)


def pav_ratios(score: NDArray[np.floating], label: NDArray[np.integer], weight: Floats) -> Floats:
    """log10 LR ``(N,)`` by PAV, ±inf at the ends: what reliable ratios of these samples would be."""
    chance = _pav(score, label, weight)[0]
    with np.errstate(divide="ignore"):
        return np.asarray(np.log10(chance) - np.log10(1 - chance), np.float64)


def verbal(value: float) -> str:
    """``moderate support for fake``: words for log10 LR, see ``SCALE``.

    Example:
        >>> verbal(1.2), verbal(-3.5), verbal(0.1)
        ('moderate support for fake', 'strong support for genuine', 'no or hardly any support for fake or genuine')
    """
    ratio = 10 ** abs(value)
    words = next(said for limit, said in SCALE if ratio < limit * (1 - 1e-12) or limit == math.inf)
    if words == SCALE[0][1]:
        return f"{words} for fake or genuine"
    return f"{words} for {'fake' if value > 0 else 'genuine'}"


def ratio_text(value: float) -> str:
    """``32``, ``1,500`` or, below 1, ``1/32``, of log10 LR: two digits.

    Example:
        >>> ratio_text(1.5), ratio_text(-1.5), ratio_text(0.0), ratio_text(3.2)
        ('32', '1/32', '1', '1,600')
    """
    ratio = float(f"{10 ** abs(value):.2g}")
    text = f"{ratio:,.0f}" if ratio >= 10 or ratio == round(ratio) else f"{ratio:g}"
    return f"1/{text}" if value < 0 and ratio != 1 else text


def _fit(score: NDArray[Any], label: NDArray[Any], clip: NDArray[Any]) -> tuple[float, float] | None:
    """Slope and offset of ln LR over log-odds; None where there are none."""
    fake = label == 1
    if not (fake.any() and (~fake).any()):
        return None
    x, weight = log_odds(score), clip_weights(label, clip)
    fakes, reals = float(weight[fake].sum()), float(weight[~fake].sum())
    target = np.where(fake, 1 - 1 / (fakes + 2), 1 / (reals + 2))
    share = np.where(fake, weight / fakes, weight / reals)

    def loss(line: Floats) -> tuple[float, Floats]:
        z = line[0] * x + line[1]
        pull = share * (expit(z) - target)
        return float(np.sum(share * (np.logaddexp(0, z) - target * z))), np.array([pull @ x, pull.sum()])

    found = minimize(loss, np.array([1.0, 0.0]), jac=True, method="BFGS", options={"gtol": 1e-9})
    slope, offset = (float(value) for value in found.x)
    return (slope, offset) if slope > 0 and math.isfinite(slope) and math.isfinite(offset) else None


def _pav(score: NDArray[Any], label: NDArray[Any], weight: Floats) -> tuple[Floats, Floats]:
    """Chance of fake at even prior odds, by isotonic regression, and the shares of the samples: 1 for each class."""
    fake = label == 1
    share = np.where(fake, weight / weight[fake].sum(), weight / weight[~fake].sum())
    _, place = np.unique(score, return_inverse=True)  # equal scores are one step
    mass = np.bincount(place, share)
    chance = isotonic_regression(np.bincount(place, share * fake) / mass, weights=mass).x[place]
    return np.clip(chance, 0, 1), share


def _line(score: NDArray[Any], slope: float, offset: float) -> Floats:
    return np.asarray((slope * log_odds(score) + offset) / math.log(10), np.float64)


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
