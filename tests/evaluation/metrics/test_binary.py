from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, example, given, settings, strategies as st
from numpy.typing import NDArray
from scipy.optimize import brentq
from sklearn import metrics as reference

from resgat_pl.evaluation.metrics import binary
from resgat_pl.evaluation.metrics.binary import BINS, METRICS, THRESHOLDED, best_threshold, measure, weighted

Array = NDArray[np.float64]
Labels = NDArray[np.int64]

seeds = st.integers(0, 10_000)
ties = st.sampled_from([0, 3, 8])
"""Distinct steps of the probabilities; 0 means none are equal."""


def draw(seed: int, steps: int, size: int = 60) -> tuple[Array, Labels]:
    """Both classes, in random order, fakes somewhat higher; with ties also the probabilities 0 and 1 themselves."""
    rng = np.random.default_rng(seed)
    label = rng.permutation(np.r_[0, 1, rng.integers(0, 2, size - 2)])
    probability = rng.beta(1 + label, 2 - label)
    return (np.rint(probability * steps) / steps if steps else probability), label


def equal_error_rate(label: Labels, probability: Array, weight: Array) -> float:
    alarms, hits, _ = reference.roc_curve(label, probability, sample_weight=weight, drop_intermediate=False)
    return float(brentq(lambda x: 1 - x - np.interp(x, alarms, hits), 0, 1, xtol=1e-14))


def calibration_error(label: Labels, probability: Array, weight: Array) -> float:
    error = 0.0
    for k in range(BINS):
        low, high = k / BINS, (k + 1) / BINS
        inside = (probability >= low) & ((probability < high) | (k == BINS - 1))
        size = weight[inside].sum()
        if size:
            confidence = (weight * probability)[inside].sum() / size
            error += size * abs(confidence - (weight * label)[inside].sum() / size)
    return float(error / weight.sum())


def expected(label: Labels, probability: Array, weight: Array, threshold: float) -> dict[str, float]:
    called = (probability > threshold).astype(int)
    f1 = [reference.f1_score(label, called, pos_label=k, sample_weight=weight, zero_division=0) for k in (0, 1)]
    return {
        "auroc": reference.roc_auc_score(label, probability, sample_weight=weight),
        "ap": reference.average_precision_score(label, probability, sample_weight=weight),
        "eer": equal_error_rate(label, probability, weight),
        "f1_fake": f1[1],
        "f1_real": f1[0],
        "accuracy": reference.accuracy_score(label, called, sample_weight=weight),
        "balanced_accuracy": reference.balanced_accuracy_score(label, called, sample_weight=weight),
        "log_loss": reference.log_loss(label, probability, sample_weight=weight),
        "ece": calibration_error(label, probability, weight),
    }


@settings(max_examples=60, deadline=None)
@given(seeds, ties, st.integers(2, 60), st.sampled_from([0.5, 0.3, 0.0, 1.0]))
def test_equals_scikit_learn(seed: int, steps: int, groups: int, threshold: float) -> None:
    probability, label = draw(seed, steps)
    rng = np.random.default_rng(seed)
    group, weight = rng.integers(0, groups, len(label)), 0.7 * rng.integers(0, 4, (3, groups))
    weight[0] = 1
    found = weighted(probability, label, group, weight, threshold)
    for row, each in enumerate(weight[:, group]):
        assume(each[label == 0].any() and each[label == 1].any())
        wanted = expected(label, probability, each, threshold)
        assert {name: values[row] for name, values in found.items()} == pytest.approx(wanted, abs=1e-10)
    plain = measure(probability, label, threshold)
    assert tuple(plain) == METRICS
    assert plain == pytest.approx({name: values[0] for name, values in found.items()}, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(seeds, ties, st.integers(1, 12))
def test_a_weight_is_a_number_of_copies(seed: int, steps: int, groups: int) -> None:
    probability, label = draw(seed, steps, size=20)
    rng = np.random.default_rng(seed)
    group, weight = rng.integers(0, groups, len(label)), rng.integers(0, 3, (4, groups))
    found = weighted(probability, label, group, weight)
    for row, copies in enumerate(weight[:, group]):
        assume(copies.any())
        repeated = measure(np.repeat(probability, copies), np.repeat(label, copies))
        mine = {name: values[row] for name, values in found.items()}
        assert mine == pytest.approx(repeated, abs=1e-12, nan_ok=True)


def test_worked_example() -> None:
    found = measure(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1]))
    assert found["auroc"] == pytest.approx(3 / 4)
    assert found["ap"] == pytest.approx(1 / 2 * 1 + 1 / 2 * 2 / 3)
    assert found["eer"] == pytest.approx(1 / 2)
    assert found["f1_fake"] == pytest.approx(2 / 3)
    assert found["f1_real"] == pytest.approx(4 / 5)
    assert found["ece"] == pytest.approx((0.1 + 0.4 + 0.65 + 0.2) / 4)
    crossing = measure(np.array([0.2, 0.5, 0.5, 0.9]), np.array([0, 0, 1, 1]))["eer"]
    assert crossing == pytest.approx(1 / 4), "half-way along the segment that the tie makes"


def test_ends_of_the_bins() -> None:
    apart, together = (measure(np.array([0.5, high]), np.array([0, 1]))["ece"] for high in (0.54, 0.53))
    assert apart == pytest.approx((0.5 + 0.46) / 2), "0.54 is past 8/15: each bin errs for itself"
    assert together == pytest.approx(abs(0.5 + 0.53 - 1) / 2)


def test_a_missing_class_leaves_undefined_what_needs_it() -> None:
    probability = np.array([0.1, 0.7, 0.9])
    fakes, reals = measure(probability, np.ones(3, int)), measure(probability, np.zeros(3, int))
    assert {name for name, value in fakes.items() if np.isnan(value)} == {"auroc", "eer", "balanced_accuracy"}
    assert {name for name, value in reals.items() if np.isnan(value)} == {"auroc", "ap", "eer", "balanced_accuracy"}
    assert fakes["ap"] == 1
    assert fakes["accuracy"] == pytest.approx(2 / 3)
    assert fakes["f1_fake"] == pytest.approx(4 / 5)
    assert fakes["f1_real"] == 0
    assert measure(np.array([0.1]), np.array([0]))["f1_fake"] == 0, "a class that is neither there nor called"
    assert measure(np.array([0.1]), np.array([0]))["f1_real"] == 1


def test_a_class_that_is_not_drawn_is_missing_in_that_resample_only() -> None:
    weight = np.array([[1, 1], [1, 0], [0, 1], [0, 0]])
    found = weighted(np.array([0.2, 0.9]), np.array([0, 1]), np.array([0, 1]), weight)
    for name in ("auroc", "eer", "balanced_accuracy"):
        assert np.isnan(found[name]).tolist() == [False, True, True, True], name
    assert np.isnan(found["ap"]).tolist() == [False, True, False, True]
    for name in ("accuracy", "log_loss", "ece"):
        assert np.isnan(found[name]).tolist() == [False, False, False, True], name
    assert found["f1_fake"].tolist() == [1, 0, 1, 0]


def test_nothing_to_score_is_undefined_not_a_crash() -> None:
    found = measure(np.empty(0), np.empty(0, np.int64))
    assert {name for name, value in found.items() if not np.isnan(value)} == {"f1_fake", "f1_real"}
    assert found["f1_fake"] == found["f1_real"] == 0


@pytest.mark.parametrize("chunk", [1, 61, 150])
def test_chunks_change_nothing(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    probability, label = draw(1, 8)
    group, weight = np.arange(60) % 9, np.random.default_rng(0).integers(0, 3, (11, 9))
    whole = weighted(probability, label, group, weight)
    monkeypatch.setattr(binary, "_CHUNK", chunk)
    for name, values in weighted(probability, label, group, weight).items():
        np.testing.assert_allclose(values, whole[name], rtol=1e-12, err_msg=name)


def test_inputs_stay_as_they_are() -> None:
    probability, label = draw(2, 0)
    weight, group = np.ones((2, 60)), np.arange(60)
    before = probability.copy(), label.copy(), weight.copy(), group.copy()
    weighted(probability, label, group, weight)
    best_threshold(probability, label)
    assert all(np.array_equal(a, b) for a, b in zip(before, (probability, label, weight, group), strict=True))


def cuts(probability: Array, label: Labels) -> dict[float, Fraction]:
    """Exact balanced accuracy by the value at and below which a sample is called real; -1 calls all fake."""
    fakes, reals = int(label.sum()), int((1 - label).sum())
    return {
        cut: Fraction(int((label[probability > cut] == 1).sum()), fakes) / 2
        + Fraction(int((label[probability <= cut] == 0).sum()), reals) / 2
        for cut in [-1.0, *np.unique(probability).tolist()]
    }


@settings(max_examples=300, deadline=None)
@given(seeds, ties, st.integers(2, 40), st.booleans())
@example(6, 0, 6, False)  # rates in floats would round two equal thresholds apart
@example(33, 3, 10, False)
def test_best_threshold_is_as_good_as_any_and_the_lowest(seed: int, steps: int, size: int, reverse: bool) -> None:
    probability, label = draw(seed, steps, size)
    label = 1 - label if reverse else label  # then no threshold is better than chance, or few are
    threshold = best_threshold(probability, label)
    every = cuts(probability, label)
    best = max(every.values())
    assert measure(probability, label, threshold)["balanced_accuracy"] == pytest.approx(float(best))
    assert 0 < threshold <= 1
    assert threshold not in probability or threshold == 1, "equal probabilities are never parted by rounding"
    lowest = min(cut for cut, value in every.items() if value == best)
    assert best == Fraction(1, 2) or not ((probability > lowest) & (probability < threshold)).any()


def test_best_threshold_lies_half_way() -> None:
    assert best_threshold(np.array([0.1, 0.3, 0.7, 0.8]), np.array([0, 0, 1, 1])) == pytest.approx(0.5)
    assert best_threshold(np.array([0.8, 0.1, 0.1, 0.3]), np.array([1, 0, 0, 1])) == pytest.approx(0.2)
    tied = best_threshold(np.array([0.2, 0.4, 0.4, 0.4, 0.9]), np.array([0, 1, 0, 0, 1]))
    assert tied == pytest.approx(0.65), "of the tie both reals are worth more than the fake"


def test_where_nothing_is_better_than_chance_nothing_is_called_fake() -> None:
    for probability, label in (([0.5, 0.5, 0.5], [0, 1, 1]), ([0.2, 0.4, 0.6], [1, 1, 0])):
        assert max(probability) < best_threshold(np.array(probability), np.array(label)) <= 1


def test_best_threshold_parts_neighbouring_floats() -> None:
    label = np.array([0, 1])
    for high in (1.0, 0.5, np.nextafter(1.0, 0)):
        probability = np.array([np.nextafter(high, 0), high])
        assert measure(probability, label, best_threshold(probability, label) or 0)["accuracy"] == 1


@pytest.mark.parametrize("label", [[], [0], [1], [1, 1, 1], [0, 0]])
def test_best_threshold_without_a_class(label: list[int]) -> None:
    assert best_threshold(np.linspace(0.1, 0.2, len(label)), np.array(label, np.int64)) is None


def test_only_the_thresholded_scores_depend_on_the_threshold() -> None:
    probability, label = draw(5, 0)
    low, high = measure(probability, label, 0.3), measure(probability, label, 0.7)
    assert {name for name in METRICS if low[name] != high[name]} == set(THRESHOLDED)
