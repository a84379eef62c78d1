"""Maps without a network: what they depend on, and what not."""

from __future__ import annotations

import pytest
import torch

from resgat_pl.explain.methods.baselines import CentrePrior, Random
from resgat_pl.nn.pooled import PooledClassifier


@pytest.fixture(scope="module")
def net() -> PooledClassifier:
    torch.manual_seed(0)
    return PooledClassifier("resnet18", encoder_stage=3, image_size=64)


def test_random_maps_depend_on_the_seed_and_on_the_picture(net: PooledClassifier) -> None:
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    one, again, other = (Random(net, seed=seed).attribute(images).node_map for seed in (0, 0, 1))
    assert one.equal(again)
    assert not one.equal(other)
    assert not one[0].equal(one[1])
    assert Random(net).attribute(images[1:]).node_map[0].equal(one[1])  # in any batch


def test_the_centre_prior_falls_from_the_middle_outwards(net: PooledClassifier) -> None:
    found = CentrePrior(net).attribute(torch.rand(1, 3, 64, 64))
    down, across = ((torch.tensor(centres) - 0.5) ** 2 for centres in found.lattice.centres)
    distance = (down[:, None] + across).flatten()
    assert (found.node_map.flatten()[distance.argsort()].diff() <= 1e-7).all()
