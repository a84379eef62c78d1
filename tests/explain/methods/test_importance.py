"""Methods by region on networks whose answer is known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from resgat_pl.core.errors import ConfigError
from resgat_pl.explain.methods.importance import PartialDependence, PermutationImportance
from resgat_pl.explain.methods.pixels import baseline_of, node_of_pixel, sum_by_cell
from resgat_pl.explain.regions import AVERAGE_LANDMARKS, REGIONS, region_weights
from resgat_pl.nn.node_geometry import Lattice
from resgat_pl.nn.resgat import ResGAT

from ...helpers.nets import Stub, make_net

RANDOM = torch.Generator().manual_seed(0)
IMAGES = torch.rand(2, 3, 64, 64, generator=RANDOM)  # 4×4 nodes
REFERENCE = torch.rand(5, 3, 64, 64, generator=RANDOM)
WEIGHTS = torch.randn(3, 64, 64, generator=RANDOM) / 50
SHARES = region_weights(AVERAGE_LANDMARKS[None], Lattice.even(64, 64))[0]  # 9, 64, 64
MOUTH = REGIONS.index("mouth")


class Sum(Stub):
    """A power of a weighted sum of the pixels."""

    weights = WEIGHTS
    power = 1

    def answer(self, images: Tensor) -> Tensor:
        return (images * self.weights).sum(dim=(1, 2, 3)) ** self.power + 1


def make_sum(**attributes: Any) -> Sum:
    net = make_net(Sum)
    for name, value in attributes.items():
        setattr(net, name, value)
    return net


def both(net: ResGAT) -> list[PartialDependence]:
    return [PermutationImportance(net, REFERENCE, draws=9), PartialDependence(net, REFERENCE, draws=5)]


@pytest.mark.parametrize("number", [0, 1])
def test_finds_what_an_additive_network_adds(number: int) -> None:
    """The regions share every pixel out, so that here they add up to the logit."""
    net = make_sum()
    found = both(net)[number].attribute(IMAGES)
    lost = (IMAGES[:, None] - REFERENCE[None]).mean(dim=1) * WEIGHTS
    regions = torch.einsum("bchw,rhw->br", lost, SHARES)
    area = sum_by_cell(SHARES, node_of_pixel(net, 64, 64))
    expected = regions @ (area / area.sum(dim=1, keepdim=True))
    assert expected.abs().max() > 1e-2
    torch.testing.assert_close(found.node_map.flatten(1), expected, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(found.node_map.sum(dim=(1, 2)), regions.sum(dim=1), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(found.bias, net(REFERENCE).logit.mean().expand(2), atol=1e-4, rtol=1e-4)
    assert found.completeness_gap.max() < 1e-4
    assert found.unit == "logit"


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("number", [0, 1])
def test_finds_the_region_that_matters(number: int, sign: float) -> None:
    net = make_sum(weights=sign * (SHARES[MOUTH] == 1) * torch.ones(3, 1, 1) / 100)
    images = IMAGES.clone() / 2 + 0.5  # brighter than the references everywhere
    found = both(net)[number].attribute(images).node_map.flatten(1) * sign
    area = sum_by_cell(SHARES[MOUTH][None], node_of_pixel(net, 64, 64))[0]
    assert (found[:, area > 5] > 0.01).all()
    assert found[:, area == 0].abs().max() < 1e-5
    torch.testing.assert_close(found / found.sum(dim=1, keepdim=True), (area / area.sum()).expand(2, -1))


@pytest.mark.parametrize("content", ["mean", "blur", "black"])
def test_the_curve_is_that_of_the_blended_region(content: Any) -> None:
    net = make_sum(power=2)
    explainer = PartialDependence(net, content, steps=3, batch_size=1)
    curves = explainer.curves(IMAGES)
    assert curves.shape == (2, 9, 4)
    other = baseline_of(IMAGES, content)
    for region, share in enumerate(SHARES):
        for step in range(4):
            blend = IMAGES + step / 3 * share * (other - IMAGES)
            torch.testing.assert_close(curves[:, region, step], net(blend).logit, atol=1e-4, rtol=1e-3)
    slope = torch.tensor([-0.3, -0.1, 0.1, 0.3]) * 3  # least squares over 0, 1/3, 2/3, 1
    total = (curves @ -slope).sum(dim=1)
    torch.testing.assert_close(explainer.attribute(IMAGES).node_map.sum(dim=(1, 2)), total, atol=1e-4, rtol=1e-3)


def test_landmarks_say_where_the_regions_are() -> None:
    net = make_sum(weights=(SHARES[MOUTH] == 1) * torch.ones(3, 1, 1) / 100)
    moved = AVERAGE_LANDMARKS - torch.tensor([0.0, 0.2])  # the mouth lies where the nose was, the chin on the mouth
    found = PermutationImportance(net, REFERENCE, moved).attribute(IMAGES).node_map
    assert (found - PermutationImportance(net, REFERENCE).attribute(IMAGES).node_map).abs().max() > 0.01


def test_the_seed_draws_the_same_faces_for_every_image() -> None:
    net = make_sum()
    once = [PermutationImportance(net, REFERENCE, draws=2, seed=seed).attribute(IMAGES) for seed in (0, 0, 3)]
    assert torch.equal(once[0].node_map, once[1].node_map)
    assert (once[0].node_map - once[2].node_map).abs().max() > 1e-4
    assert once[0].bias[0] == once[0].bias[1] != once[2].bias[0]
    pairs = {round(float(net(REFERENCE[[i, j]]).logit.mean()), 4) for i in range(5) for j in range(i)}
    assert round(float(once[0].bias[0]), 4) in pairs  # two of them, not one twice


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda net: PermutationImportance(net, REFERENCE[:, :, :32]), r"reference is \(5, 3, 32, 64\), the images"),
        (lambda net: PermutationImportance(net, REFERENCE[0]), r"reference is \(3, 64, 64\)"),
        (lambda net: PermutationImportance(net, REFERENCE[:0]), "at least one face"),
        (lambda net: PermutationImportance(net, REFERENCE, torch.zeros(2, 2)), "landmarks"),
        (lambda net: PartialDependence(net, "white"), "baseline is 'white'"),
    ],
)
def test_refuses(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(make_sum()).attribute(IMAGES)
