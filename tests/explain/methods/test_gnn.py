from __future__ import annotations

import pytest
import torch
from torch import Tensor

from resgat_pl.explain.methods.gnn import GNNExplainer, GraphPart, loops_last
from resgat_pl.nn.contribution import contributions
from resgat_pl.nn.resgat import ResGAT

from ...helpers.nets import IMAGES, both_versions, every_head, make_net, make_trained


def part_of(net: ResGAT) -> tuple[GraphPart, Tensor, Tensor]:
    """The graph part for the first image, its one-hot nodes and its edges in PyTorch Geometric's order."""
    with torch.no_grad():
        part = GraphPart(net, net.encode(IMAGES[:1])[0])
    edges = net.grid.edge_index
    return part, torch.eye(20), edges[:, loops_last(edges)]


@both_versions
@every_head
@torch.no_grad()
def test_the_graph_part_is_the_network_after_its_encoder(attention: str, head: str) -> None:
    net = make_trained(attention=attention, head=head)
    part, nodes, edges = part_of(net)
    torch.testing.assert_close(part(nodes, edges), net(IMAGES[:1]).logit, atol=1e-5, rtol=1e-5)
    factors = torch.rand(20, 1, generator=torch.Generator().manual_seed(1))
    scaled = net.classify(net.graph((net.encode(IMAGES[:1])[0] * factors)[None])).logit
    torch.testing.assert_close(part(nodes * factors, edges), scaled, atol=1e-5, rtol=1e-5)


@both_versions
@every_head
def test_the_graph_part_shares_the_networks_weights_but_not_its_parameters(attention: str, head: str) -> None:
    net = make_net(attention=attention, head=head)
    part, nodes, edges = part_of(net)
    mine, theirs = dict(part.named_parameters()), dict(net.named_parameters())
    assert {name for name in theirs if not name.startswith("backbone")} == set(mine)
    for name, parameter in mine.items():
        assert parameter is not theirs[name]
        assert not parameter.requires_grad
        product = name.endswith("weight") and ".lin" in name
        assert (parameter.data_ptr() == theirs[name].data_ptr()) != product
    factors = torch.ones(20, 1, requires_grad=True)
    part(nodes * factors, edges).backward()
    assert factors.grad is not None
    assert factors.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in net.parameters())


@both_versions
@torch.no_grad()
def test_edges_are_in_the_layers_own_order(attention: str) -> None:
    net = make_net(attention=attention)
    edges = net.grid.edge_index
    order = loops_last(edges)
    assert torch.equal(order.sort().values, torch.arange(edges.shape[1]))
    _, (used, weights) = net.gat(net.encode(IMAGES[:1])[0], edges, return_attention_weights=True)
    assert torch.equal(used, edges[:, order])
    assert not torch.equal(used, edges)
    torch.testing.assert_close(weights, net(IMAGES[:1]).attention[0, order], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_mask_of_an_edge_acts_on_that_edge() -> None:
    """Without its message the logit lacks just its contribution: PyTorch Geometric's masks meet the right edges."""
    from torch_geometric.explain.algorithm.utils import set_masks

    net = make_net(attention="gatv1")
    part, nodes, edges = part_of(net)
    found = contributions(net, IMAGES[:1])
    for place, edge in enumerate(loops_last(net.grid.edge_index).tolist()):
        mask = torch.ones(edges.shape[1])
        mask[place] = 0
        set_masks(part, mask, edges, apply_sigmoid=False)
        torch.testing.assert_close(found.output.logit - part(nodes, edges), found.edge[:, edge], atol=1e-5, rtol=1e-3)


@both_versions
def test_only_what_can_matter_has_a_factor(attention: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If one node alone has features, the factors of the others, and of edges not from it, are 0."""
    net = make_net(attention=attention)
    if attention == "gatv2":
        net.gat.lin_l.bias.data.zero_()  # it is sent along every edge
    features = torch.zeros(1, 20, 256)
    features[0, 7] = torch.rand(256)
    monkeypatch.setattr(net, "encode", lambda _: features)
    found = GNNExplainer(net, epochs=3).attribute(IMAGES[:1])
    assert found.node_map.flatten().nonzero().flatten().tolist() == [7]
    assert found.edge_scores is not None
    assert torch.equal(found.edge_scores[0] > 0, found.edge_index[0] == 7)


@both_versions
def test_learnt_factors_keep_the_decision_better_than_the_same_factors_elsewhere(attention: str) -> None:
    from torch_geometric.explain.algorithm.utils import set_masks

    net = make_trained(attention=attention)
    found = GNNExplainer(net, epochs=60, lr=0.1).attribute(IMAGES[:1])
    assert found.n_graph == 61
    assert found.edge_scores is not None
    for factors in (found.node_map, found.edge_scores):
        assert factors.min() >= 0
        assert factors.max() <= 1
    part, one_hot, edges = part_of(net)
    generator = torch.Generator().manual_seed(0)

    @torch.no_grad()
    def confidence(of_nodes: Tensor, of_edges: Tensor) -> float:
        set_masks(part, of_edges[loops_last(net.grid.edge_index)], edges, apply_sigmoid=False)
        return float(part(one_hot * of_nodes[:, None], edges) * found.logit.sign())

    nodes, messages = found.node_map.flatten(), found.edge_scores[0]
    learnt = confidence(nodes, messages)
    elsewhere = [confidence(nodes[torch.randperm(20, generator=generator)], messages) for _ in range(20)] + [
        confidence(nodes, messages[torch.randperm(len(messages), generator=generator)]) for _ in range(20)
    ]
    assert learnt > max(elsewhere)


def test_beyond_the_reach_of_float32_there_is_nothing_to_learn() -> None:
    """As the documentation warns: the cross-entropy of a very sure decision has no gradient."""
    net = make_net(head="linear")
    net.head.get_parameter("weight").data.zero_()
    net.head.get_parameter("bias").data.fill_(50)
    assert not GNNExplainer(net, epochs=2).attribute(IMAGES).node_map.any()
