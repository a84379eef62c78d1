"""LIME against the authors' package."""

from __future__ import annotations

import random
import sys
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from resgat_pl.core.errors import ConfigError
from resgat_pl.explain.methods.lime import LIME, lime_map
from resgat_pl.explain.methods.pixels import mean_by_cell, node_of_pixel
from resgat_pl.nn.resgat import ResGAT

from ...helpers.nets import ContrastOfOneSquare, make_net

IMAGE = torch.rand(3, 64, 80, generator=torch.Generator().manual_seed(0))  # 4×5 nodes


def lime_nodes(net: ResGAT, weights: Tensor) -> Tensor:
    return mean_by_cell(weights[None], node_of_pixel(net, *weights.shape))[0]


def test_a_network_in_training_mode_is_explained_as_in_evaluation_mode() -> None:
    net = make_net()
    expected = lime_map(net, IMAGE, 20, "squares")
    torch.testing.assert_close(lime_map(net.train(), IMAGE, 20, "squares"), expected)
    assert net.backbone.training


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_finds_the_square_that_matters(sign: float) -> None:
    net = make_net(ContrastOfOneSquare)
    net.sign = sign
    weights = lime_map(net, IMAGE, samples=200, segments="squares")
    assert weights.shape == (64, 80)
    assert weights.dtype == torch.float32
    square = torch.zeros(64, 80, dtype=torch.bool)
    square[8:24, 24:40] = True
    assert (weights[square] * sign > 0.3).all()  # in probability
    assert weights[~square].abs().max() < 0.05
    nodes = lime_nodes(net, weights)
    assert nodes.shape == (20,)
    assert int(nodes.abs().argmax()) == 7
    torch.testing.assert_close(nodes[7], weights[16, 32])


def test_finds_the_superpixels_that_matter() -> None:
    net = make_net(ContrastOfOneSquare)
    rows = torch.arange(64) < 32
    image = torch.where(rows[:, None], 0.2, 0.8).expand(3, 64, 80).clone()
    image[:, 16:32, 32:48] = torch.tensor([0.9, 0.1]).repeat(8)  # stripes, each a superpixel of its own at most
    weights = lime_map(net, image, samples=100)
    nodes = lime_nodes(net, weights)
    assert len(weights.unique()) > 2
    assert nodes[7] > 0
    elsewhere = ~torch.isin(weights, weights[8:24, 24:40])  # superpixels that do not reach into the square
    assert elsewhere.sum() > 1000
    assert weights[elsewhere].abs().max() < weights.max() / 5


def test_is_the_package_itself(capsys: pytest.CaptureFixture[str]) -> None:
    """The same perturbations, regression and weights as lime's own code, which loops over pixels and shows a bar."""
    from lime.lime_image import LimeImageExplainer
    from skimage.segmentation import quickshift

    net = make_net()
    ours = lime_map(net, IMAGE, samples=40, seed=3, batch_size=16)
    assert capsys.readouterr() == ("", "")

    def classify(pictures: NDArray[np.float32]) -> NDArray[np.float64]:
        with torch.no_grad():
            fake = net(torch.from_numpy(pictures).permute(0, 3, 1, 2)).probability.double().numpy()
        return np.stack([1 - fake, fake], axis=1)

    pixels = IMAGE.permute(1, 2, 0).numpy()
    explanation = LimeImageExplainer(random_state=3).explain_instance(
        pixels,
        classify,
        top_labels=None,
        num_samples=40,
        random_seed=3,
        segmentation_fn=lambda image: quickshift(image, kernel_size=4, max_dist=200, ratio=0.2, rng=3),
    )
    weights = dict(explanation.local_exp[1])
    assert max(abs(weight) for weight in weights.values()) > 1e-3
    expected = np.vectorize(weights.get)(explanation.segments)
    np.testing.assert_allclose(ours.numpy(), expected, atol=1e-5)


def test_superpixels_have_the_defaults_and_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    def halves(image: NDArray[np.float32], **arguments: Any) -> NDArray[np.int64]:
        given.update(arguments)
        return (np.arange(image.shape[1]) >= 40)[None].repeat(image.shape[0], axis=0).astype(np.int64)

    monkeypatch.setattr("skimage.segmentation.quickshift", halves)
    weights = lime_map(make_net(), IMAGE, samples=10, seed=11)
    assert given == {"kernel_size": 4, "max_dist": 200, "ratio": 0.2, "rng": 11}
    assert len(weights[:, :40].unique()) == len(weights[:, 40:].unique()) == 1


@pytest.mark.parametrize("segments", ["squares", "quickshift"])
def test_the_seed_decides_and_nothing_else(segments: Any) -> None:
    net = make_net()
    states = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state())  # type: ignore[index]  # noqa: NPY002
    first = lime_map(net, IMAGE, samples=30, segments=segments, seed=1)
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]  # type: ignore[index]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[2])
    np.random.seed(5)  # noqa: NPY002
    assert torch.equal(lime_map(net, IMAGE, samples=30, segments=segments, seed=1), first)
    assert not torch.allclose(lime_map(net, IMAGE, samples=30, segments=segments, seed=2), first, atol=1e-4)
    sizes: list[int] = []
    net.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    other_batches = lime_map(net, IMAGE, samples=30, segments=segments, seed=1, batch_size=7)
    assert sizes == [7, 7, 7, 7, 2]
    torch.testing.assert_close(other_batches, first, atol=1e-5, rtol=1e-3)
    assert first.abs().max() > 1e-3


def test_the_explainer_gives_the_same_map_by_node() -> None:
    net = make_net()
    images = torch.rand(2, 3, 100, 70, generator=torch.Generator().manual_seed(1))  # 7×5 nodes, which differ by a pixel
    found = LIME(net, samples=40, segments="squares", seed=4).attribute(images)
    maps = [lime_map(net, image, samples=40, segments="squares", seed=4) for image in images]
    assert found.node_map.shape == (2, 7, 5)
    for image, nodes, pixels, bias in zip(images, found.node_map, maps, found.bias, strict=True):
        torch.testing.assert_close(nodes.flatten(), lime_nodes(net, pixels), atol=1e-5, rtol=1e-4)
        table = node_of_pixel(net, 100, 70)
        torch.testing.assert_close(nodes.flatten()[table], pixels, atol=1e-5, rtol=1e-4)
        hidden = mean_by_cell(image, table)[:, table]
        torch.testing.assert_close(bias, net(hidden[None]).logit[0].detach(), atol=1e-5, rtol=1e-4)
    assert found.unit == "probability"
    assert found.completeness_gap.isnan().all()
    assert found.n_forward == 42  # with the image itself and with all of it hidden


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image": IMAGE[None]}, r"\(1, 3, 64, 80\) torch.float32; give one image \(3, H, W\)"),
        ({"image": IMAGE.mul(255).byte()}, r"torch.uint8; give one image"),
        ({"segments": "slic"}, r"segments is 'slic'; it must be squares or quickshift"),
        ({"samples": 1}, r"samples is 1; it must be at least 2"),
        ({"batch_size": 0}, r"batch_size is 0; it must be at least 1"),
        ({"seed": -1}, r"seed is -1; it must be at least 0"),
    ],
)
def test_refuses(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        lime_map(make_net(), **{"image": IMAGE, **arguments})


def test_says_how_to_get_superpixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage.segmentation", None)
    with pytest.raises(ConfigError, match=r'needs scikit-image,.*pip install "resgat-pl\[figures\]"'):
        lime_map(make_net(), IMAGE, samples=2)
