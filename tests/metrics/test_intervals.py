from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from resgat_pl.metrics.intervals import auroc, bootstrap, f1


def test_equal_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        label = np.r_[0, 1, rng.integers(0, 2, 50)]
        score = rng.integers(0, 8, 52) / 8  # with ties
        assert auroc(score, label) == pytest.approx(reference.roc_auc_score(label, score))
        called = rng.integers(0, 2, 52)
        assert f1(called, label) == pytest.approx(reference.f1_score(label, called))


def test_undefined() -> None:
    assert np.isnan(auroc(np.array([0.1, 0.2]), np.array([1, 1])))
    assert f1(np.zeros(3, int), np.zeros(3, int)) == 0


def test_covers_the_truth_about_as_often_as_it_says() -> None:
    hits = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        label = np.repeat([0, 1], 60)
        score = rng.normal(label, 1.0)
        interval = bootstrap(auroc, score, label, np.arange(120), resamples=200, seed=seed)
        hits += interval.low <= 0.7602 <= interval.high  # Φ(1/√2)
    assert hits >= 52


def test_resamples_videos_not_frames() -> None:
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], 20)
    score = rng.normal(label, 1.0)
    once = bootstrap(auroc, score, label, np.arange(40))
    copied = bootstrap(auroc, np.repeat(score, 25), np.repeat(label, 25), np.repeat(np.arange(40), 25))
    assert copied.high - copied.low == pytest.approx(once.high - once.low, rel=0.15)
