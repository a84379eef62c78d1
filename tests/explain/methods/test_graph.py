"""Read-outs of the attention against their definitions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from resgat_pl.explain.base import Explainer
from resgat_pl.explain.methods.graph import (
    Attention,
    AttentionExcess,
    Contribution,
    EdgeContribution,
    NodeEvidence,
    uniform_map,
)
from resgat_pl.nn.resgat import ResGAT

from ...helpers.nets import IMAGES, both_heads, both_versions, every_head, make_net, make_trained, make_uniform
from ...nn.conftest import sent_by_each_node


def received(edge_scores: Tensor, ends: Tensor, nodes: int) -> Tensor:
    return torch.stack([edge_scores[:, ends == node].sum(dim=1) for node in range(nodes)], dim=1)


@both_versions
@every_head
@pytest.mark.parametrize("make", [make_net, make_trained])
@pytest.mark.parametrize("kind", [Contribution, EdgeContribution])
def test_nodes_and_edges_add_up_to_the_logit(attention: str, head: str, make: type, kind: type[Explainer]) -> None:
    net = make(attention=attention, head=head)
    found = kind(net).attribute(IMAGES)
    torch.testing.assert_close(found.logit, net(IMAGES).logit.detach(), atol=1e-5, rtol=1e-5)
    tolerance = 1e-4 * (1 + found.logit.abs())
    for scores in (found.node_map.flatten(1), found.edge_scores):
        assert scores is not None
        assert ((scores.sum(dim=1) + found.bias - found.logit).abs() <= tolerance).all()
        assert (scores.abs().sum(dim=1) > 100 * tolerance).all()  # the sums are not of zeros
    assert kind.exact
    assert (found.completeness_gap <= 1e-4).all()


@both_versions
def test_an_edge_goes_to_its_source_or_to_its_target(attention: str) -> None:
    net = make_net(attention=attention)
    by_source, by_target = Contribution(net).attribute(IMAGES), EdgeContribution(net).attribute(IMAGES)
    assert by_source.edge_scores is not None
    assert by_target.edge_scores is not None
    assert torch.equal(by_source.edge_scores, by_target.edge_scores)
    for found, ends in ((by_source, by_source.edge_index[0]), (by_target, by_target.edge_index[1])):
        assert found.edge_scores is not None
        by_end = received(found.edge_scores, ends, 20)
        torch.testing.assert_close(by_end, found.node_map.flatten(1), atol=1e-5, rtol=1e-5)
    assert (by_source.node_map - by_target.node_map).abs().max() > 1e-3


@both_versions
@both_heads  # of a normalised head the gradient also has the change of the length
def test_contribution_is_attention_times_gradient(attention: str, head: str) -> None:
    """c_j = Σ α·∂z/∂α over the outgoing edges, z being built from the attention as a leaf, one edge at a time."""
    net = make_net(attention=attention, head=head)
    found = Contribution(net).attribute(IMAGES)
    source, target = found.edge_index
    with torch.no_grad():
        state = net.graph(net.encode(IMAGES))
        constant = net.gat.bias if net.gat.value_bias is None else net.gat.bias + net.gat.value_bias.flatten()
    alpha = net.grid.to_edges(state.attention).clone().requires_grad_()
    values = sent_by_each_node(net.gat, state.nodes)
    outputs = torch.zeros_like(values).index_add(1, target, alpha.unsqueeze(-1) * values[:, source])
    logit = net.head(outputs.flatten(2).mean(dim=1) + constant)
    torch.testing.assert_close(logit.detach(), found.logit, atol=1e-5, rtol=1e-5)
    (gradient,) = torch.autograd.grad(logit.sum(), alpha)
    by_edge = (alpha * gradient).sum(dim=-1).detach()
    torch.testing.assert_close(found.edge_scores, by_edge, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.node_map.flatten(1), received(by_edge, source, 20), atol=1e-5, rtol=1e-4)


@both_versions
def test_with_an_mlp_head_the_decomposition_is_local(attention: str) -> None:
    """A linear head has one bias for all images, an MLP one for each; both add up."""
    one, local = (
        Contribution(make_net(attention=attention, head=head)).attribute(IMAGES) for head in ("linear", "mlp")
    )
    assert float(one.bias.max() - one.bias.min()) == 0
    assert local.bias.std() > 1e-3
    assert (local.completeness_gap <= 1e-4).all()


@both_versions
def test_uniform_attention_draws_the_ring(attention: str) -> None:
    """The paper's map shows structure where the attention has none, and min-max makes it a ring."""
    net = make_uniform(make_net(attention=attention))
    ring = Attention(net).attribute(torch.rand(1, 3, 112, 112)).node_map[0]
    torch.testing.assert_close(ring.flatten(), uniform_map(net.grid.edge_index))
    torch.testing.assert_close(ring[0, :4], torch.tensor([0.833, 1.033, 0.950, 0.950]), atol=5e-4, rtol=0)
    scaled = (ring - ring.min()) / (ring.max() - ring.min())
    corners, second, centre = scaled[::6, ::6], scaled[1:6:4, 1:6:4], scaled[3, 3]
    torch.testing.assert_close(corners, torch.zeros(2, 2))
    torch.testing.assert_close(second, torch.ones(2, 2), atol=1e-5, rtol=0)
    assert float(centre) == pytest.approx(0.625, abs=1e-5)


@both_versions
def test_excess_is_what_the_ring_is_not(attention: str) -> None:
    net = make_net(attention=attention)
    excess = AttentionExcess(net).attribute(IMAGES).node_map
    assert excess.abs().max() > 0.01
    torch.testing.assert_close(excess.sum(dim=(1, 2)), torch.zeros(3), atol=1e-4, rtol=0)  # both maps have mean 1
    uniform = AttentionExcess(make_uniform(net)).attribute(IMAGES).node_map
    torch.testing.assert_close(uniform, torch.zeros_like(uniform), atol=1e-5, rtol=0)


@both_versions
def test_attention_is_the_mean_over_heads(attention: str) -> None:
    net = make_net(attention=attention)
    found, output = Attention(net).attribute(IMAGES), net(IMAGES)
    assert found.edge_scores is not None
    torch.testing.assert_close(found.edge_scores, output.attention.mean(dim=-1).detach())
    sent = received(found.edge_scores, found.edge_index[0], 20)
    torch.testing.assert_close(found.node_map.flatten(1), sent)
    by_target = received(found.edge_scores, found.edge_index[1], 20)
    torch.testing.assert_close(by_target, torch.ones_like(by_target))  # for every target the attention sums to 1


@both_versions
def test_attention_does_not_know_the_head(attention: str) -> None:
    """Its fault as an explanation: another head, another decision, the same map."""
    net = make_net(attention=attention)
    before = Attention(net).attribute(IMAGES), Contribution(net).attribute(IMAGES)
    torch.nn.init.normal_(net.head.get_parameter("weight"), generator=torch.Generator().manual_seed(1))
    after = Attention(net).attribute(IMAGES), Contribution(net).attribute(IMAGES)
    assert torch.equal(before[0].node_map, after[0].node_map)
    assert (before[1].node_map - after[1].node_map).abs().max() > 1e-3


@both_versions
@every_head
def test_evidence_is_the_contribution_of_nodes_attended_to_once_by_each_head(attention: str, head: str) -> None:
    """With every node attending to itself alone, attention damps nothing."""
    net: ResGAT = make_net(attention=attention, head=head)
    evidence = NodeEvidence(net).attribute(IMAGES)
    assert not NodeEvidence.exact
    with torch.no_grad():
        state = net.graph(net.encode(IMAGES))
        own = torch.zeros_like(state.attention)
        own[:, :, 0] = 1
    net.graph = lambda features: state._replace(attention=own)  # type: ignore[method-assign,assignment]
    contribution = Contribution(net).attribute(IMAGES)
    torch.testing.assert_close(evidence.node_map, contribution.node_map, atol=1e-6, rtol=1e-5)
