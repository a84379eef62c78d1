from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from resgat_pl.nn.contribution import contributions, decompose
from resgat_pl.nn.head import NormalisedHead
from resgat_pl.nn.resgat import ResGAT

from .conftest import MakeNet, enliven, sent_by_each_node

both_versions = pytest.mark.parametrize("attention", ["gatv1", "gatv2"])
every_head = pytest.mark.parametrize("head", ["linear", "mlp", "normalised"])


@both_versions
@every_head
@pytest.mark.parametrize("stage", [3, 4])
def test_nodes_and_edges_sum_to_the_logit(
    make_net: MakeNet, images: Tensor, attention: str, head: str, stage: int
) -> None:
    net = make_net(attention=attention, head=head, encoder_stage=stage)
    parts = contributions(net, images)
    logit = net(images).logit
    assert torch.equal(parts.output.logit, logit)
    tolerance = 1e-4 * (1 + logit.abs())
    assert ((parts.node.sum(dim=1) + parts.bias - logit).abs() <= tolerance).all()
    by_node = torch.zeros_like(parts.node).index_add(1, parts.output.edge_index[0], parts.edge)
    torch.testing.assert_close(by_node, parts.node, atol=1e-5, rtol=1e-5)
    assert (parts.node.abs().sum(dim=1) > 100 * tolerance).all()  # the sums are not zeros


@pytest.mark.parametrize("train", ["full", "lora"])
@pytest.mark.parametrize("encoder", ["timm/test_resnet", "timm/test_convnext", "timm/test_vit", "timm/test_vit2"])
@given(
    attention=st.sampled_from(["gatv1", "gatv2"]),
    stage=st.sampled_from([3, 4]),
    rows=st.integers(2, 4),
    columns=st.integers(2, 4),
    seed=st.integers(0, 2**16),
)
@settings(max_examples=5, deadline=None)
def test_sums_are_exact_for_every_kind_of_encoder(
    encoder: str, train: Any, attention: Any, stage: Any, rows: int, columns: int, seed: int
) -> None:
    pytest.importorskip("timm")
    if train == "lora" and "vit" not in encoder:
        return
    torch.manual_seed(seed)
    net = ResGAT(attention, encoder, heads=2, hidden=4, encoder_stage=stage, image_size=64, train=train).eval()
    enliven(net)
    side = net.backbone.stride
    images = torch.rand(2, 3, side * rows, side * columns)
    parts = contributions(net, images)
    logit = net(images).logit
    assert parts.node.shape == (2, rows * columns)
    for found in (parts.node, parts.edge):
        torch.testing.assert_close(found.sum(dim=1) + parts.bias, logit, atol=1e-4, rtol=1e-4)


@both_versions
def test_bias_is_the_answer_to_nodes_that_send_nothing(make_net: MakeNet, images: Tensor, attention: str) -> None:
    net = make_net(attention=attention)
    features = net.encode(images)
    silent = net.classify(net.graph(torch.zeros_like(features))).logit
    torch.testing.assert_close(decompose(net, net.graph(features)).bias, silent)


@both_versions
@every_head
def test_node_is_attention_times_value(make_net: MakeNet, images: Tensor, attention: str, head: str) -> None:
    """By the definitions, one node at a time, with the gradient in place of the head's weights.

    That of a normalised head is taken at the length of the pooled features, which is no part of its linear form.
    """
    net = make_net(attention=attention, head=head)
    parts = contributions(net, images[:1])
    state = net.graph(net.encode(images[:1]))
    pooled = net.gat.attend(state.nodes, net.grid).pooled
    answer = net.head(pooled)
    if isinstance(net.head, NormalisedHead):
        answer = (answer - net.head.bias) * pooled.norm() / pooled.norm().detach()
    (weight,) = torch.autograd.grad(answer.sum(), pooled)
    values = sent_by_each_node(net.gat, state.nodes)[0]
    source, target = parts.output.edge_index
    assert len(target) == parts.output.attention.shape[1]
    for node in range(net.grid.num_nodes):
        value = (values[node] * weight.reshape(3, 16)).sum(dim=1) / net.grid.num_nodes
        received = parts.output.attention[0, source == node].sum(dim=0)
        torch.testing.assert_close(parts.node[0, node], (received * value).sum(), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(parts.evidence[0, node], value.sum(), atol=1e-5, rtol=1e-4)


@both_versions
def test_uniform_attention_draws_the_ring(make_net: MakeNet, attention: str) -> None:
    net = make_net(attention=attention)
    for name, parameter in net.gat.named_parameters():
        if name.startswith("att"):
            torch.nn.init.zeros_(parameter)
    state = net.graph(net.encode(torch.rand(1, 3, 224, 224)))
    ring = net.grid.sum_by_source(state.attention).mean(dim=-1).reshape(7, 7)
    quarter = torch.tensor(
        [[0.833, 1.033, 0.950, 0.950], [1.033, 1.100, 1.050, 1.050], [0.950, 1.050, 1.0, 1.0], [0.950, 1.050, 1.0, 1.0]]
    )
    torch.testing.assert_close(ring[:4, :4], quarter, atol=5e-4, rtol=0)
    torch.testing.assert_close(ring, ring.flip(0))
    torch.testing.assert_close(ring, ring.T)


@both_versions
@every_head
def test_contributions_can_be_trained(make_net: MakeNet, images: Tensor, attention: str, head: str) -> None:
    net = make_net(attention=attention, head=head).train()
    parts = contributions(net, images)
    (parts.node.square().sum() + parts.edge.square().sum() + parts.evidence.square().sum()).backward()
    for name in ("backbone.0.weight", f"gat.{'lin' if attention == 'gatv1' else 'lin_l'}.weight"):
        gradient = net.get_parameter(name).grad
        assert gradient is not None
        assert gradient.abs().sum() > 0


def test_images_are_encoded_once(make_net: MakeNet, images: Tensor) -> None:
    net = make_net()
    calls: list[int] = []
    net.backbone.register_forward_hook(lambda *_: calls.append(1))
    contributions(net, images)
    assert len(calls) == 1
