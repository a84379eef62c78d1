"""Distances of faces from a pool: false alarms as promised, odd faces beyond the limit, numbers read again."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from resgat_pl.evaluation.familiarity import Familiarity, fit_familiarity, has_features, pooled_features
from resgat_pl.nn.ensemble import Ensemble
from resgat_pl.nn.pooled import PooledClassifier
from resgat_pl.nn.resgat import ResGAT


def frames(clips: int, seed: int, size: int = 40):
    """Three frames a clip, with few directions that vary much."""
    rng = np.random.default_rng(seed)
    mix = np.random.default_rng(99).normal(size=(5, size))
    middle = rng.normal(size=(clips, 5)) @ mix
    return np.repeat(middle, 3, axis=0) + rng.normal(0, 0.3, (3 * clips, size)), np.repeat(np.arange(clips), 3)


def test_others_of_the_kind_are_called_unlike_no_more_often_than_promised() -> None:
    found = fit_familiarity(*frames(80, 0))
    assert found is not None
    assert found.false_alarms <= 0.05
    others, clip = frames(400, 1)
    beyond = np.array([np.median(found.distance(others)[clip == code]) for code in range(400)]) > found.limit
    assert beyond.mean() < 0.12
    assert (found.distance(others + 3) > found.limit).mean() > 0.99  # off the directions in which the pool varies


def test_few_clips_or_constant_features_give_no_limit() -> None:
    assert fit_familiarity(*frames(19, 0)) is None
    assert fit_familiarity(np.ones((40, 8)), np.arange(40)) is None


def test_numbers_are_read_again_and_others_refused() -> None:
    found = fit_familiarity(*frames(30, 0))
    assert found is not None
    again = Familiarity.read(found.plain())
    assert again is not None
    rows = frames(4, 3)[0]
    np.testing.assert_allclose(again.distance(rows), found.distance(rows))
    assert Familiarity.read(None) is None
    for wrong in ({}, {**found.plain(), "axes": [[1.0]]}, {**found.plain(), "rest": 0}, {**found.plain(), "mean": "x"}):
        with pytest.raises(ValueError, match="Gaussian"):
            Familiarity.read(wrong)


def test_features_are_means_over_nodes() -> None:
    net = ResGAT(encoder="resnet18", encoder_stage=3, heads=2, hidden=8, image_size=64).eval()
    images = torch.rand(3, 3, 64, 64)
    assert has_features(net)
    with torch.no_grad():
        expected = net.encode(images).mean(dim=1)
    np.testing.assert_allclose(pooled_features(net, images, batch_size=2), expected.double(), rtol=1e-4, atol=1e-5)
    assert has_features(PooledClassifier(encoder="resnet18", image_size=64))
    assert not has_features(Ensemble([net.spec, net.spec], [0.5, 0.5], [1.0, 1.0], ["a", "b"], 64))
