"""The common ground of all methods that change the image and look at the logit."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from resgat_pl.core.errors import ConfigError
from resgat_pl.explain.base import Explainer
from resgat_pl.explain.methods.gradient import IntegratedGradients
from resgat_pl.explain.methods.lime import LIME
from resgat_pl.explain.methods.occlusion import HiddenParts, Occlusion
from resgat_pl.explain.methods.pixels import baseline_of, inpaint, node_of_pixel, sum_by_cell
from resgat_pl.explain.methods.shap import KernelSHAP

from ...helpers.nets import ContrastOfOneSquare, Stub, make_net

RANDOM = torch.Generator().manual_seed(0)
IMAGES = torch.rand(3, 3, 64, 80, generator=RANDOM)  # 4×5 nodes
WEIGHTS = torch.randn(3, 64, 80, generator=RANDOM) / 50

METHODS: dict[str, Callable[..., Explainer]] = {
    "occlusion": Occlusion,
    "inpainting": lambda net: Occlusion(net, "inpaint"),
    "lime": lambda net: LIME(net, 150, "squares"),
    "kernel": lambda net: KernelSHAP(net, 150),
}


class Additive(Stub):
    """Every pixel speaks for itself, so each of its methods must find the same, exactly."""

    def answer(self, images: Tensor) -> Tensor:
        return (images * WEIGHTS).sum(dim=(1, 2, 3)) + 1


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("name", METHODS)
def test_finds_the_square_that_matters(name: str, sign: float) -> None:
    net = make_net(ContrastOfOneSquare)
    net.sign = sign
    nodes = METHODS[name](net).attribute(IMAGES).node_map.flatten(1) * sign
    others = nodes[:, torch.arange(20) != 7].abs().amax(dim=1)
    assert (nodes[:, 7] > 3 * others).all()
    assert (nodes[:, 7] > 0.1).all()


@pytest.mark.parametrize("fill", ["mean", "blur", "black", "colour"])
@pytest.mark.parametrize("method", ["occlusion", "kernel", "gradients"])
def test_finds_what_an_additive_network_adds(method: str, fill: Any) -> None:
    fill = torch.tensor([0.1, 0.5, 0.9]).view(3, 1, 1) if fill == "colour" else fill
    net, images = make_net(Additive), IMAGES[:1]
    explainer: Explainer = {
        "occlusion": lambda: Occlusion(net, fill),
        "kernel": lambda: KernelSHAP(net, 100, fill=fill),
        "gradients": lambda: IntegratedGradients(net, 2, fill),
    }[method]()
    found = explainer.attribute(images)
    start = baseline_of(images, fill)
    expected = sum_by_cell(((images - start) * WEIGHTS).sum(dim=1), node_of_pixel(net, 64, 80))
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(found.node_map.flatten(1), expected, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(found.bias, net(start).logit, atol=1e-4, rtol=1e-4)
    assert found.completeness_gap.max() < 1e-4


@torch.no_grad()
@pytest.mark.long
def test_shapley_values_of_four_squares() -> None:
    """By their definitions, on a network in which squares act together."""
    net, image = make_net(), IMAGES[0, :, :32, :32]
    game = HiddenParts(net, image, node_of_pixel(net, 32, 32), "mean", 32)

    def worth(members: set[int]) -> float:
        return float(game.logits(torch.tensor([[player in members for player in range(4)]])))

    shapley = torch.zeros(4)
    for order in itertools.permutations(range(4)):
        for place, player in enumerate(order):
            shapley[player] += (worth({*order[: place + 1]}) - worth({*order[:place]})) / 24
    few, many = (KernelSHAP(net, samples).attribute(image[None]) for samples in (20, 4000))
    error = [float((found.node_map.flatten() - shapley).abs().max()) for found in (few, many)]
    assert error[1] < 0.05 * float(shapley.abs().max())
    assert few.bias == pytest.approx(worth(set()), abs=1e-5)
    assert max(few.completeness_gap, many.completeness_gap) < 1e-5


def test_superpixels_share_their_shapley_value_by_area() -> None:
    net = make_net(Additive)
    image = torch.where(torch.arange(80) < 40, 0.2, 0.8).expand(1, 3, 64, 80).clone()
    found = KernelSHAP(net, 100, segments="quickshift").attribute(image)
    assert found.completeness_gap.max() < 1e-4
    assert found.node_map.abs().max() > 1e-3
    few = {round(float(value), 4) for value in found.node_map.flatten()}
    assert len(few) < 20  # squares within one superpixel have the same share of it


def test_inpainting_draws_from_what_is_left() -> None:
    image = torch.rand(3, 32, 32, generator=RANDOM)
    hidden = torch.zeros(32, 32, dtype=torch.bool)
    hidden[10:20, 10:20] = True
    image[:, 5:25, 5:25] = torch.tensor([0.2, 0.4, 0.6]).view(3, 1, 1)
    damaged = image.clone()
    damaged[:, 10:20, 10:20] = 1
    drawn = inpaint(damaged, hidden)
    assert torch.equal(drawn[:, ~hidden], image[:, ~hidden])
    torch.testing.assert_close(drawn, image, atol=3 / 255, rtol=0)
    everything = inpaint(image, torch.ones_like(hidden))
    torch.testing.assert_close(everything, image.mean(dim=(1, 2), keepdim=True).expand_as(image))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda net: Occlusion(net, "white"), "fill is 'white'; it must be mean or blur or black or inpaint"),
        (lambda net: Occlusion(net, torch.zeros(3, 5, 5)), r"baseline is \(3, 5, 5\), the images are \(3, 64, 80\)"),
        (lambda net: KernelSHAP(net, samples=39), "samples is 39, but the image has 20 segments: give at least 40"),
    ],
)
def test_refuses(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(make_net(Additive)).attribute(IMAGES)
