from __future__ import annotations

import math
import time

import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.typing import NDArray

from resgat_pl.evaluation.metrics.binary import METRICS, measure
from resgat_pl.evaluation.metrics.intervals import FEWEST, Interval, Units, bootstrap, draw, interval, over_seeds


def sample(seed: int, each: int = 20) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """As many genuine videos as fakes; probabilities whose logits are normal with means 0 and 1."""
    label = np.repeat([0, 1], each)
    return 1 / (1 + np.exp(-np.random.default_rng(seed).normal(label, 1.0))), label


@given(st.integers(0, 40), st.integers(0, 20), st.integers(0, 5))
def test_every_resample_draws_as_many_groups_as_there_are(groups: int, resamples: int, seed: int) -> None:
    drawn = draw(groups, resamples, seed)
    assert drawn.shape == (resamples, groups)
    assert (drawn >= 0).all()
    assert (drawn.sum(axis=1) == groups).all()
    assert np.array_equal(drawn, draw(groups, resamples, seed))
    assert np.array_equal(drawn[: resamples // 2], draw(groups, resamples // 2, seed)), "more only adds"


def test_groups_are_drawn_alike_with_replacement() -> None:
    drawn = draw(50, 4000, seed=0)
    np.testing.assert_allclose(drawn.mean(axis=0), 1, atol=0.1)
    assert np.mean(drawn == 0) == pytest.approx((1 - 1 / 50) ** 50, abs=0.005)
    assert not np.array_equal(drawn[:2], draw(50, 2, seed=1))


def test_covers_the_truth_about_as_often_as_it_says() -> None:
    hits = 0
    for seed in range(60):
        probability, label = sample(seed, each=60)
        found = interval(bootstrap(probability, label, np.arange(120), resamples=200, seed=seed)["auroc"], 60)
        hits += found.low <= 0.7602 <= found.high  # Φ(1/√2)
    assert hits >= 52
    assert hits < 60, "nor is it far too wide"


def test_resamples_videos_not_frames() -> None:
    probability, label = sample(0)
    once = bootstrap(probability, label, np.arange(40), resamples=100)
    many, labels = np.repeat(probability, 25), np.repeat(label, 25)
    frames = bootstrap(many, labels, np.repeat(np.arange(40), 25), resamples=100)
    for name in METRICS:  # copies of a frame are no evidence: not only as wide, but the same
        np.testing.assert_allclose(frames[name], once[name], atol=1e-12, err_msg=name)
    each = interval(bootstrap(many, labels, np.arange(1000), resamples=100)["auroc"], 500)
    whole = interval(once["auroc"], 20)
    assert each.high - each.low < (whole.high - whole.low) / 3, "frames as groups would be five times too sure"


def test_a_resample_is_the_score_of_the_drawn_videos() -> None:
    probability, label = sample(1)
    group = np.arange(40) // 2
    found = bootstrap(probability, label, group, threshold=0.4, resamples=5, seed=7)
    assert tuple(found) == METRICS
    assert all(values.shape == (6,) for values in found.values())
    assert bootstrap(probability, label, group, resamples=0)["auroc"].shape == (1,)
    for place, counts in enumerate([np.ones(20, np.int64), *draw(20, 5, seed=7)]):  # the value itself comes first
        copies = counts[group]
        wanted = measure(np.repeat(probability, copies), np.repeat(label, copies), 0.4)
        assert {name: values[place] for name, values in found.items()} == pytest.approx(wanted, abs=1e-12)


def test_same_seed_and_groups_are_resampled_in_pairs() -> None:
    probability, label = sample(3)
    better = np.clip(probability + 0.05 * (2 * label - 1), 0, 1)
    one, two = (bootstrap(p, label, np.arange(40), resamples=200, seed=4)["auroc"] for p in (probability, better))
    other = bootstrap(better, label, np.arange(40), resamples=200, seed=5)["auroc"]
    assert (two >= one).all(), "better in each resample, since both saw the same videos"
    assert np.std((two - one)[1:]) < np.std((other - one)[1:]) / 3
    again = bootstrap(probability, label, np.arange(40), resamples=200, seed=4)["auroc"]
    assert np.array_equal(one, again)


def test_interval_takes_the_percentiles_of_the_resamples_alone() -> None:
    values = np.r_[55.0, np.random.default_rng(0).permutation(np.arange(1001.0))]
    assert interval(values, 30) == Interval(55.0, 25.0, 975.0, 30)


def test_a_value_is_printed_with_what_it_rests_on() -> None:
    assert str(Interval(0.98765, 0.9, 1.0)) == "98.77 [90.00, 100.00]"
    assert str(Interval(0.98765, 0.9, 1.0, 1400)) == "98.77 [90.00, 100.00] (n = 1,400)"
    assert Interval(0.98765, 0.9, 1.0, 1400).brief == "98.77 [90.00, 100.00]"
    assert str(Interval(1.0, groups=6)) == Interval(1.0, groups=6).brief == "100.00 (n = 6)"
    assert str(Interval(1.0)) == "100.00 (no interval)"
    assert str(Interval(math.nan, groups=6)) == "undefined"
    assert Interval(0.02, -0.01, 0.05, 12).text(sign="+") == "+2.00 [-1.00, +5.00] (n = 12)"
    assert Interval(0.5, groups=3).plain() == [0.5, None, None]
    assert Interval(0.5, groups=3).cells() == ["0.500000", "", "", "3"]


@pytest.mark.parametrize("samples", [None, 400])
def test_fewer_than_ten_groups_have_no_interval(samples: int | None) -> None:
    values = np.random.default_rng(0).uniform(0.4, 0.6, 100)
    for groups in range(FEWEST):
        assert not interval(values, groups, samples).known, groups
    assert interval(values, FEWEST, samples).known


def test_resamples_without_width_are_no_interval() -> None:
    perfect = bootstrap(np.repeat([0.1, 0.9], 20), np.repeat([0, 1], 20), np.arange(40), resamples=50)
    units = Units.count(np.repeat([0, 1], 20), np.arange(40))
    found = {name: units.interval(name, values) for name, values in perfect.items()}
    assert found["auroc"][:1] == (1.0,)
    assert not found["auroc"].known
    assert not found["f1_fake"].known
    # Wilson, 40 of 40 and 20 of 20: n / (n + z²)
    assert found["accuracy"] == pytest.approx((1.0, 40 / 43.8415, 1.0, 40), abs=1e-4)
    assert found["balanced_accuracy"] == pytest.approx((1.0, 20 / 23.8415, 1.0, 20), abs=1e-4)


def test_the_interval_of_a_calibration_error_holds_the_error() -> None:
    rng = np.random.default_rng(0)
    probability = rng.random(60)
    label = (rng.random(60) < probability).astype(np.int64)  # calibrated: what is measured is noise
    values = bootstrap(probability, label, np.arange(60), resamples=200)["ece"]
    assert np.quantile(values[1:], 0.3) > values[0], "resampling adds noise"
    found = Units.count(label, np.arange(60)).interval("ece", values)
    assert 0 <= found.low < found.value < found.high
    assert found.high - found.low == pytest.approx(np.ptp(np.quantile(values[1:], [0.025, 0.975])), abs=0.02)


def test_groups_are_those_of_the_scarcer_class() -> None:
    label = np.repeat([0, 1], [3, 60])
    units = Units.count(label, np.arange(63) // 3)
    assert units == Units(63, 21, 1)
    found = bootstrap(np.linspace(0, 1, 63), label, np.arange(63) // 3, resamples=100)
    known = {name for name, values in found.items() if units.interval(name, values).known}
    assert known == {"accuracy", "log_loss", "ece"}, "one genuine clip says nothing of others"
    assert Units.count(np.ones(5, np.int64), np.arange(5)) == Units(5, 5, 5)
    assert Units.count(np.empty(0, np.int64), np.empty(0, np.int64)) == Units(0, 0, 0)


@pytest.mark.parametrize(("right", "each"), [(0.9, 1), (0.9, 20), (0.98, 1), (0.98, 20)])
def test_an_accuracy_is_covered_however_alike_the_samples_of_a_group_are(right: float, each: int) -> None:
    rng = np.random.default_rng(0)
    hits, groups = 0, 60
    for _ in range(200):
        by_group = np.repeat(rng.random(groups) < right, each)  # a group is right or wrong as a whole
        drawn = draw(groups, 100, 0) / groups @ by_group.reshape(groups, each).mean(axis=1)
        found = interval(np.r_[by_group.mean(), drawn], groups, len(by_group))
        hits += found.low <= right <= found.high
    assert 0.9 <= hits / 200 <= 0.99


def test_a_proportion_of_independent_samples_gets_wilsons_interval() -> None:
    found = interval(np.r_[0.9, np.random.default_rng(0).binomial(60, 0.9, 20_000) / 60], 60, 60)
    assert found == pytest.approx((0.9, 0.7985, 0.9534, 60), abs=2e-3)  # statsmodels, method="wilson"


def test_resamples_without_a_class_do_not_count() -> None:
    drawn = np.linspace(0, 1, 41)
    plain = interval(np.r_[0.5, drawn], 20)
    assert plain.known
    assert interval(np.r_[0.5, np.nan, drawn, np.nan], 20) == plain
    for values in ([np.nan, np.nan, np.nan], [np.nan]):
        assert np.isnan(interval(np.array(values), 20)[:3]).all()
    lone = bootstrap(np.array([0.1, 0.9]), np.array([0, 1]), np.arange(2), resamples=50)["auroc"]
    assert np.isnan(lone).any()
    assert str(interval(lone, 2)) == "100.00 (n = 2)"


def test_nothing_to_score_is_undefined_not_a_crash() -> None:
    found = bootstrap(np.empty(0), np.empty(0, np.int64), np.empty(0, np.int64), resamples=3)
    assert str(interval(found["auroc"], 0)) == "undefined"


def test_a_thousand_resamples_of_five_thousand_videos_are_quick() -> None:
    rng = np.random.default_rng(0)
    probability, label = rng.random(5000), rng.integers(0, 2, 5000)

    def seconds() -> float:
        start = time.process_time()
        bootstrap(probability, label, np.arange(5000))
        return time.process_time() - start

    assert any(seconds() < 2 for _ in range(3))  # of the processor, which others use too


def test_one_seed_is_itself_and_several_are_resampled() -> None:
    """Means of k draws from k values vary by their variance / k, which the scale makes / (k − 1)."""
    rng = np.random.default_rng(0)
    table = np.tile(rng.normal(size=(4, 1)), (1, 20001))
    assert np.array_equal(over_seeds(table[:1], 0), table[0])
    found = over_seeds(table, 0)
    assert found[0] == pytest.approx(table[:, 0].mean())
    assert found[1:].std() == pytest.approx(table[:, 0].std(ddof=1) / 2, rel=0.03)
    np.testing.assert_allclose(over_seeds(table + 1, 0), found + 1, err_msg="both draw the same seeds")
