"""Methods by gradient against their definitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from resgat_pl.core.errors import ConfigError
from resgat_pl.explain.methods.gradient import GradCAM, GradientSHAP, IntegratedGradients, Saliency
from resgat_pl.explain.methods.pixels import baseline_of, mean_by_cell, node_of_pixel, sum_by_cell
from resgat_pl.nn.contribution import contributions
from resgat_pl.nn.resgat import ResGAT

from ...helpers.nets import IMAGES, both_heads, both_versions, make_net, make_uniform


def by_definition(net: ResGAT, images: Tensor) -> Tensor:
    """Channels weighted by the mean of their gradient, before any ReLU, one image at a time."""
    maps = []
    for image in images:
        features = net.encode(image[None]).detach().requires_grad_()
        (gradient,) = torch.autograd.grad(net.classify(net.graph(features)).logit.squeeze(), features)
        maps.append((features * gradient.mean(dim=1, keepdim=True)).sum(dim=2))
    return torch.cat(maps).detach()


def signed(net: ResGAT, images: Tensor) -> Tensor:
    return GradCAM(net).attribute(images).node_map.flatten(1)


@both_versions
@both_heads
def test_is_grad_cam(attention: str, head: str) -> None:
    net = make_net(attention=attention, head=head)
    expected = by_definition(net, IMAGES)
    assert expected.min() < 0 < expected.max()
    found = GradCAM(net).attribute(IMAGES)
    assert found.node_map.shape == (3, 4, 5)
    assert found.signed
    torch.testing.assert_close(found.node_map.flatten(1), expected, atol=1e-5, rtol=1e-4)
    assert (found.n_forward, found.n_backward) == (1, 1)


def test_relu_keeps_what_speaks_for_the_target() -> None:
    """The map for real is no negative of that for fake: what is left of it are the other nodes."""
    net = make_net()
    expected = by_definition(net, IMAGES)
    for target, map_ in (("fake", expected.relu()), ("real", (-expected).relu())):
        found = GradCAM(net, relu=True).attribute(IMAGES, target)  # type: ignore[arg-type]
        torch.testing.assert_close(found.node_map.flatten(1), map_, atol=1e-5, rtol=1e-4)
        assert not found.signed
        gap = (map_.sum(1) + found.bias - found.logit).abs() / (1 + found.logit.abs())
        torch.testing.assert_close(found.completeness_gap, gap, atol=1e-5, rtol=1e-4)


@both_versions
@both_heads
def test_is_the_evidence_where_attention_is_uniform(attention: str, head: str) -> None:
    """The mean over the nodes of A_jk is 1, so averaging the gradient takes the attention out, ring and all."""
    net = make_net(attention=attention, head=head)
    frozen = contributions(net, IMAGES).evidence
    assert (signed(net, IMAGES) - frozen).abs().max() > 1e-3  # not where attention depends on the nodes
    assert GradCAM(net).attribute(IMAGES).completeness_gap.max() > 1e-3
    parts = contributions(make_uniform(net), IMAGES)
    assert (parts.node - parts.evidence).abs().max() > 1e-3  # the contribution does have the ring
    found = GradCAM(net).attribute(IMAGES)
    torch.testing.assert_close(found.node_map.flatten(1), parts.evidence.detach(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.bias, parts.bias.detach(), atol=1e-5, rtol=1e-4)


def test_integrated_gradients_add_up_with_enough_steps() -> None:
    net = make_net()
    gaps = [float(IntegratedGradients(net, steps).attribute(IMAGES[:1]).completeness_gap.max()) for steps in (1, 8, 64)]
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 5e-3


@pytest.mark.parametrize("kind", ["mean", "blur", "black", "colour"])
def test_integrated_gradients_start_at_the_baseline(kind: Any) -> None:
    """The definition, by the same quadrature, and the bias is what the network says of the baseline."""
    net, image = make_net(), IMAGES[:1]
    baseline = torch.tensor([0.1, 0.5, 0.9]).view(3, 1, 1) if kind == "colour" else kind
    start = baseline_of(image, baseline)
    found = IntegratedGradients(net, steps=24, baseline=baseline, batch_size=9).attribute(image)
    total = torch.zeros_like(image)
    for place, weight in zip(*np.polynomial.legendre.leggauss(24), strict=True):
        point = (start + float(place + 1) / 2 * (image - start)).requires_grad_()
        total += torch.autograd.grad(net(point).logit.sum(), point)[0] * float(weight) / 2
    expected = sum_by_cell((total * (image - start)).sum(dim=1), node_of_pixel(net, 64, 80))
    torch.testing.assert_close(found.node_map.flatten(1), expected, atol=1e-3 * float(expected.abs().max()), rtol=1e-3)
    torch.testing.assert_close(found.bias, net(start).logit.detach(), atol=1e-5, rtol=1e-4)
    assert (found.n_forward, found.n_backward) == (26, 24)


def test_gradient_shap_is_captums_with_the_same_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    from captum.attr import GradientShap

    net, reference = make_net(), torch.rand(4, 3, 64, 80, generator=torch.Generator().manual_seed(2))
    random = torch.Generator().manual_seed(5)
    along, rows = torch.rand(6, 1, 1, 1, generator=random), torch.randint(4, (6,), generator=random)
    monkeypatch.setattr("numpy.random.uniform", lambda *_: along.flatten().numpy())
    monkeypatch.setattr("numpy.random.choice", lambda *_: rows.numpy())
    expected = GradientShap(lambda batch: net(batch).logit).attribute(IMAGES[:1], reference, n_samples=6)
    monkeypatch.undo()
    found = GradientSHAP(net, reference, samples=6, seed=5, batch_size=4).attribute(IMAGES[:1])
    nodes = sum_by_cell(expected.detach().sum(dim=1), node_of_pixel(net, 64, 80))
    torch.testing.assert_close(found.node_map.flatten(1), nodes, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.bias, net(reference[rows]).logit.mean(0, keepdim=True).detach())
    assert (found.n_forward, found.n_backward) == (13, 6)


def test_gradient_shap_draws_noise_around_the_baseline() -> None:
    net = make_net()
    quiet = GradientSHAP(net, baseline="black", noise=0, samples=32).attribute(IMAGES[:1])
    torch.testing.assert_close(quiet.bias, net(torch.zeros_like(IMAGES[:1])).logit.detach(), atol=1e-5, rtol=1e-4)
    assert quiet.completeness_gap.max() < 0.2  # an estimate of integrated gradients
    noisy = [
        GradientSHAP(net, baseline="black", noise=0.3, samples=4, seed=seed).attribute(IMAGES[:1]) for seed in (0, 1)
    ]
    assert (noisy[0].bias - quiet.bias).abs() > 1e-3
    assert (noisy[0].bias - noisy[1].bias).abs() > 1e-5


def test_saliency_is_the_greatest_gradient_of_a_pixel() -> None:
    net = make_net()
    pixels = IMAGES.clone().requires_grad_()
    logit = net(pixels).logit
    (gradient,) = torch.autograd.grad(logit.sum(), pixels)
    found = Saliency(net).attribute(IMAGES)
    expected = mean_by_cell(gradient.abs().amax(dim=1), node_of_pixel(net, *IMAGES.shape[2:]))
    torch.testing.assert_close(found.node_map.flatten(1), expected, atol=1e-6, rtol=1e-4)
    assert (found.unit, found.signed, found.n_forward, found.n_backward) == ("gradient", False, 1, 1)
    torch.testing.assert_close(found.node_map, Saliency(net).attribute(IMAGES, "real").node_map)
    tangent = logit.detach() - (gradient * IMAGES).sum(dim=(1, 2, 3))
    torch.testing.assert_close(found.bias, tangent, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda net: GradientSHAP(net, IMAGES[:, :, :32]),
            r"reference is \(3, 3, 32, 80\), the images are \(3, 64, 80\)",
        ),
        (lambda net: GradientSHAP(net, IMAGES[:0]), r"at least one face"),
        (
            lambda net: IntegratedGradients(net, baseline="white"),
            "baseline is 'white'; it must be mean or blur or black",
        ),
        (lambda net: IntegratedGradients(net, baseline=torch.zeros(3, 1, 3)), r"baseline is \(3, 1, 3\), the images"),
    ],
)
def test_refuses(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(make_net()).attribute(IMAGES)
