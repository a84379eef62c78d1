"""Decompositions in 16 bits and in other memory formats, with every head."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from resgat_pl.nn.contribution import contributions

from .conftest import MakeNet

both_versions = pytest.mark.parametrize("attention", ["gatv1", "gatv2"])
every_head = pytest.mark.parametrize("head", ["linear", "mlp", "normalised"])


@both_versions
@every_head
@torch.no_grad()
def test_under_autocast_nodes_still_sum_to_the_logit(
    make_net: MakeNet, images: Tensor, attention: str, head: str
) -> None:
    """To the precision of 8 bits a summand; and they are the contributions of 32 bits to that precision."""
    net = make_net(attention=attention, head=head)
    exact = contributions(net, images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = contributions(net, images)
    size = exact.node.abs().sum(dim=1) + exact.bias.abs()
    gap = (found.node.float().sum(dim=1) + found.bias.float() - found.output.logit.float()).abs()
    assert bool((gap < 2**-7 * size).all())
    assert bool(((found.node.float() - exact.node).abs().sum(dim=1) < 0.1 * size).all())


@both_versions
@every_head
@torch.no_grad()
def test_a_network_in_16_bits_has_finite_contributions(
    make_net: MakeNet, images: Tensor, attention: str, head: str
) -> None:
    net = make_net(attention=attention, head=head).to(torch.bfloat16)
    found = contributions(net, images.to(torch.bfloat16))
    assert found.node.dtype == torch.bfloat16
    size = found.node.float().abs().sum(dim=1) + found.bias.float().abs()
    gap = (found.node.float().sum(dim=1) + found.bias.float() - found.output.logit.float()).abs()
    assert bool((gap < 2**-6 * size).all())


@both_versions
@every_head
@torch.no_grad()
def test_the_memory_format_does_not_matter(make_net: MakeNet, images: Tensor, attention: str, head: str) -> None:
    net = make_net(attention=attention, head=head, receptive=129)
    plain = contributions(net, images)
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    found = contributions(net, images.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(found.node, plain.node, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(found.node.sum(dim=1) + found.bias, found.output.logit, atol=1e-4, rtol=1e-4)
