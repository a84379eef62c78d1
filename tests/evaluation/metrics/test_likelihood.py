"""Likelihood ratios: the true ones are found, the bounds are those of the definition, and words fit numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import expit

from resgat_pl.evaluation.metrics.likelihood import (
    SCALE,
    LikelihoodRatios,
    clip_weights,
    cllr,
    cllr_min,
    elub,
    fit_ratios,
    ratio_text,
    verbal,
)


def normal_scores(count: int, shift: float = 1.0, scale: float = 3.0, seed: int = 0):
    """Scores whose ln LR is known: x ~ N(±shift, 1) has 2 · shift · x, and log-odds are scale · x + 1."""
    rng = np.random.default_rng(seed)
    label = np.arange(count) % 2
    x = rng.normal(shift * (2 * label - 1), 1)
    return expit(scale * x + 1), label, 2 * shift * x / math.log(10)


def test_the_ratios_of_two_normal_distributions_are_found() -> None:
    score, label, truth = normal_scores(6000)
    found = fit_ratios(score, label, np.arange(6000))
    assert found is not None
    raw = (found.slope * np.log(score / (1 - score)) + found.offset) / math.log(10)
    assert np.abs(raw - truth).max() < 0.25  # of ratios up to 10**3.5
    assert found.cllr == pytest.approx(cllr(truth, label, np.ones(6000)), abs=0.02)
    assert found.cllr_min <= found.cllr <= found.cllr_min + 0.03


def test_the_prior_of_the_pool_does_not_matter() -> None:
    score, label, _ = normal_scores(4000)
    few = (label == 0) | (np.arange(4000) % 8 == 1)
    whole, part = (fit_ratios(score[rows], label[rows], np.arange(rows.sum())) for rows in (label >= 0, few))
    assert whole is not None and part is not None
    assert part.log10(0.7) == pytest.approx(whole.log10(0.7), abs=0.08)


def test_copies_of_a_clip_change_nothing() -> None:
    score, label, _ = normal_scores(80)
    clip = np.arange(80)
    copies = np.r_[np.arange(80), np.repeat([3, 6], 30)]
    once, often = fit_ratios(score, label, clip), fit_ratios(score[copies], label[copies], clip[copies])
    assert once is not None and often is not None
    for name, value in once.plain().items():
        assert often.plain()[name] == pytest.approx(value, abs=1e-5), name
    assert clip_weights(np.array([1, 1, 0]), np.array([5, 5, 5])).tolist() == [0.5, 0.5, 1.0]


def test_bounds_are_those_of_the_definition() -> None:
    """Against the plain reading of Vergeer et al., threshold by threshold."""
    rng = np.random.default_rng(1)
    label = np.arange(300) % 2
    value = rng.normal(1.5 * (2 * label - 1), 1)
    low, high = elub(value, label, np.ones(300))
    fakes, reals = np.r_[value[label == 1], -np.inf], np.r_[value[label == 0], np.inf]

    def gain(at: float) -> float:
        return min(1, 10**at) - ((fakes <= at).mean() + 10**at * (reals > at).mean())

    assert all(gain(at) >= 0 for at in np.arange(low, high + 0.005, 0.01))
    assert gain(high + 0.01) < 0 or high + 0.01 > math.log10(len(reals))
    assert gain(low - 0.01) < 0 or low - 0.01 < -math.log10(len(fakes))
    assert 0.5 < high < math.log10(151)


def test_a_small_pool_supports_no_large_ratio_and_useless_scores_none() -> None:
    label = np.arange(20) % 2
    found = fit_ratios(np.where(label, 0.999, 0.001), label, np.arange(20))
    assert found is not None
    assert -math.log10(11) <= found.low < -0.9 and 0.9 < found.high <= math.log10(11)
    assert found.log10(1 - 1e-9) == found.high and found.is_bounded(1 - 1e-9) and not found.is_bounded(0.5)
    rng = np.random.default_rng(0)
    noise = fit_ratios(rng.random(200), np.arange(200) % 2, np.arange(200))
    assert noise is None or max(-noise.low, noise.high) < 0.1
    assert fit_ratios(1 - np.where(label, 0.9, 0.1), label, np.arange(20)) is None
    assert fit_ratios(np.full(4, 0.5), np.ones(4, int), np.arange(4)) is None


def test_the_cost_of_the_best_order_is_that_of_pav() -> None:
    score, label = np.array([0.1, 0.3, 0.3, 0.6, 0.7, 0.9]), np.array([0, 1, 0, 0, 1, 1])
    chance = np.array([0, 1 / 3, 1 / 3, 1 / 3, 1, 1])  # steps: 0 | 1 of 3 | 1 of 1
    right = np.where(label == 1, chance, 1 - chance)
    assert cllr_min(score, label, np.ones(6)) == pytest.approx(-np.log2(right).sum() / 6)
    assert cllr_min(score, label, np.ones(6)) < cllr(np.zeros(6), label, np.ones(6)) == 1


def test_words_follow_the_scale() -> None:
    below = [1.0, *(limit for limit, _ in SCALE[:-1])]
    assert [verbal(math.log10(ratio)).partition(" for ")[0] for ratio in below] == [words for _, words in SCALE]
    assert verbal(-math.log10(50)) == "moderate support for genuine"
    assert [ratio_text(math.log10(ratio)) for ratio in (0.02, 1, 3.4, 1234, 1 / 1234)] == [
        *("1/50", "1", "3.4", "1,200", "1/1,200")
    ]


def test_numbers_are_read_again_and_others_refused() -> None:
    ratios = LikelihoodRatios(1.5, 0.2, -1.0, 1.2, 12, 15, 0.4, 0.3)
    assert LikelihoodRatios.read(ratios.plain()) == ratios
    assert LikelihoodRatios.read(None) is None
    for wrong in ({"slope": 1}, {**ratios.plain(), "slope": -1}, {**ratios.plain(), "low": 0.5}):
        with pytest.raises(ValueError, match="needs"):
            LikelihoodRatios.read(wrong)
    with pytest.raises(ValueError, match="needs a number"):
        LikelihoodRatios.read({**ratios.plain(), "high": math.inf})
