from __future__ import annotations

import sys
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from resgat_pl.errors import ConfigError
from resgat_pl.explain.gradient import grad_cam
from resgat_pl.nn.contribution import contributions
from resgat_pl.nn.resgat import ResGAT

both_versions = pytest.mark.parametrize("attention", ["gatv1", "gatv2"])
both_heads = pytest.mark.parametrize("head", ["linear", "mlp"])
IMAGES = torch.rand(3, 3, 64, 80, generator=torch.Generator().manual_seed(0))  # 4×5 nodes


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """On a busy machine several wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make_net(**arguments: Any) -> ResGAT:
    return deepcopy(_made(**arguments))


@cache
def _made(**arguments: Any) -> ResGAT:
    """With attention that is not uniform and biases that are not zero."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = ResGAT(**{"encoder": "resnet18", "encoder_stage": 3, "heads": 2, "hidden": 8, **arguments})
        with torch.no_grad():
            net.backbone(IMAGES)  # in training mode: a first set of batch statistics
            for name, parameter in net.gat.named_parameters():
                parameter.mul_(5) if name.startswith("att") else parameter
                parameter.normal_() if name.endswith("bias") else parameter
    return net.eval()


def by_definition(net: ResGAT, images: Tensor) -> Tensor:
    """Channels weighted by the mean of their gradient, before any ReLU, one image at a time."""
    maps = []
    for image in images:
        features = net.encode(image[None]).detach().requires_grad_()
        (gradient,) = torch.autograd.grad(net.classify(net.graph(features)).logit.squeeze(), features)
        maps.append((features * gradient.mean(dim=1, keepdim=True)).sum(dim=2))
    return torch.cat(maps).detach()


@both_versions
@both_heads
def test_is_grad_cam(attention: str, head: str) -> None:
    net = make_net(attention=attention, head=head)
    expected = by_definition(net, IMAGES)
    assert expected.min() < 0 < expected.max()
    signed = grad_cam(net, IMAGES, relu=False)
    assert signed.shape == (3, 20)
    torch.testing.assert_close(signed, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(grad_cam(net, IMAGES), expected.relu(), atol=1e-5, rtol=1e-4)


@both_versions
@both_heads
def test_is_the_evidence_where_attention_is_uniform(attention: str, head: str) -> None:
    """The mean over the nodes of A_jk is 1, so averaging the gradient takes the attention out, ring and all."""
    net = make_net(attention=attention, head=head)
    frozen = contributions(net, IMAGES).evidence
    assert (grad_cam(net, IMAGES, relu=False) - frozen).abs().max() > 1e-3  # not where attention depends on the nodes
    for name, parameter in net.gat.named_parameters():
        if name.startswith("att"):
            torch.nn.init.zeros_(parameter)
    parts = contributions(net, IMAGES)
    assert (parts.node - parts.evidence).abs().max() > 1e-3  # the contribution does have the ring
    torch.testing.assert_close(grad_cam(net, IMAGES, relu=False), parts.evidence, atol=1e-5, rtol=1e-4)


def test_an_image_has_one_map_whatever_its_batch() -> None:
    net = make_net()
    alone = torch.cat([grad_cam(net, image[None], relu=False) for image in IMAGES])
    torch.testing.assert_close(grad_cam(net, IMAGES, relu=False), alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@pytest.mark.parametrize("trainable", [True, False])
def test_the_network_stays_as_it_is(mode: Any, trainable: bool) -> None:
    net = make_net(normalize="none").requires_grad_(trainable)  # so that the images themselves reach the encoder
    expected = by_definition(net, IMAGES)
    for parameter in net.parameters():
        parameter.grad = torch.full_like(parameter, 7.0)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with mode():
        images = IMAGES.clone()
        found = grad_cam(net, images, relu=False)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert not found.requires_grad
    assert not images.requires_grad
    for parameter in net.parameters():
        assert parameter.grad is not None
        assert (parameter.grad == 7).all()
        assert parameter.requires_grad == trainable
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(module.training or module._forward_hooks for module in net.modules())


def test_training_mode_is_refused() -> None:
    net = make_net()
    net.backbone.train()
    with pytest.raises(ConfigError, match=r"net\.eval\(\)"):
        grad_cam(net, IMAGES)


def test_says_how_to_get_captum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(ConfigError, match=r'captum.*pip install "resgat-pl\[figures\]"'):
        grad_cam(make_net(), IMAGES)
