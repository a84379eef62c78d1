from __future__ import annotations

import time
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.metrics import pairwise_distances
from torch import Tensor

from resgat_pl.core.errors import ConfigError
from resgat_pl.explain.base import Explainer
from resgat_pl.explain.methods import nodes as module
from resgat_pl.explain.methods.graph import Contribution, NodeEvidence
from resgat_pl.explain.methods.nodes import NodeAblation, NodeLIME, NodeRISE, NodeShapley, coalition_logits
from resgat_pl.nn.gat import GraphState
from resgat_pl.nn.resgat import ResGAT

from ...helpers.nets import IMAGES, both_versions, drop_slowly, every_head, make_net, make_trained

sampled = pytest.mark.parametrize("kind", [NodeShapley, NodeLIME, NodeRISE])


def some_coalitions(nodes: int) -> Tensor:
    """None, all, each alone, all but each, and some of every size."""
    generator = torch.Generator().manual_seed(0)
    random = torch.rand(12, nodes, generator=generator) < torch.linspace(0.1, 0.95, 12)[:, None]
    alone = torch.eye(nodes, dtype=torch.bool)
    ends = torch.tensor([[False], [True]]).expand(2, nodes)
    return torch.cat([ends, alone, ~alone, random])


@torch.no_grad()
def encoded(net: ResGAT, images: Tensor = IMAGES) -> tuple[Tensor, GraphState]:
    features = net.encode(images)
    return features, net.graph(features)


@both_versions
@every_head
@pytest.mark.parametrize("make", [make_net, make_trained])
@torch.no_grad()
def test_a_coalition_has_the_logit_of_the_graph_without_the_others(attention: str, head: str, make: Any) -> None:
    net = make(attention=attention, head=head)
    features, state = encoded(net)
    coalitions = some_coalitions(20)
    found = coalition_logits(net, state, coalitions)
    expected = torch.stack([torch.stack([drop_slowly(net, image, kept) for kept in coalitions]) for image in features])
    assert expected.std(dim=1).min() > 0.01  # dropping does matter
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)


@both_versions
@every_head
@torch.no_grad()
def test_a_dropped_node_is_one_without_features_or_neighbours(attention: str, head: str) -> None:
    """The same by another road: all nodes stay in PyTorch Geometric's graph, and nothing but the plain mean."""
    net = make_net(attention=attention, head=head)
    features, state = encoded(net)
    source, target = net.grid.edge_index
    coalitions = some_coalitions(20)[-14:]
    expected = [
        net.head(net.gat(image * kept[:, None], net.grid.edge_index[:, kept[source] & kept[target]]).mean(0)[None])
        for image in features[:1]
        for kept in coalitions
    ]
    found = coalition_logits(net, state, coalitions)[0]
    torch.testing.assert_close(found, torch.cat(expected), atol=2e-5, rtol=1e-4)


@both_versions
@every_head
@torch.no_grad()
def test_all_nodes_give_the_logit_and_no_node_gives_the_bias(attention: str, head: str) -> None:
    net = make_net(attention=attention, head=head)
    _, state = encoded(net)
    none, every = coalition_logits(net, state, torch.tensor([[False] * 20, [True] * 20])).T
    torch.testing.assert_close(every, net(IMAGES).logit, atol=1e-5, rtol=1e-5)
    silent = net.classify(net.graph(torch.zeros(3, 20, 256))).logit
    torch.testing.assert_close(none, silent, atol=1e-5, rtol=1e-5)
    if head == "linear":
        torch.testing.assert_close(none, Contribution(net).attribute(IMAGES).bias, atol=1e-5, rtol=1e-5)


@both_versions
@torch.no_grad()
def test_sharp_attention_does_not_underflow(attention: str) -> None:
    """When the one source that had all the attention goes, the next gets it, however far below it was."""
    net = make_net(attention=attention)
    for name, parameter in net.gat.named_parameters():
        if name.startswith("att"):
            parameter.mul_(300)
    features, state = encoded(net)
    scores = state.scores[state.scores.isfinite()]
    assert scores.max() - scores.min() > 300  # exp(-300) is 0 in float32
    coalitions = some_coalitions(20)
    found = coalition_logits(net, state, coalitions)[0]
    expected = torch.stack([drop_slowly(net, features[0], kept) for kept in coalitions])
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


@every_head
@torch.no_grad()
def test_memory_is_bounded_by_chunks(head: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net = make_net(head=head)
    _, state = encoded(net)
    coalitions = some_coalitions(20)
    whole = coalition_logits(net, state, coalitions)
    sizes: list[int] = []
    rows = module._table_rows
    monkeypatch.setattr(module, "_table_rows", lambda grid, part: sizes.append(len(part)) or rows(grid, part))
    monkeypatch.setattr(module, "_CHUNK", 700)
    torch.testing.assert_close(coalition_logits(net, state, coalitions), whole, atol=1e-6, rtol=1e-6)
    assert max(sizes) <= 7
    assert sum(sizes) == len(coalitions)


@pytest.mark.parametrize(
    "coalitions", [torch.ones(2, 19, dtype=torch.bool), torch.ones(20, dtype=torch.bool), torch.ones(2, 20)]
)
def test_wrong_coalitions_are_refused(coalitions: Tensor) -> None:
    net = make_net()
    with pytest.raises(ConfigError, match=r"\(M, 20\) bool"):
        coalition_logits(net, encoded(net)[1], coalitions)


@torch.no_grad()
def test_two_thousand_coalitions_take_a_moment() -> None:
    """7×7 nodes, 9 heads of 512: milliseconds. The bound is loose because the machine may be busy."""
    net = make_net(heads=9, hidden=512)
    net.grid.fit(7, 7)
    state = net.graph(torch.rand(1, 49, 256))
    coalitions = torch.rand(2000, 49) < 0.5
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        coalition_logits(net, state, coalitions)
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 1


@both_versions
@every_head
@torch.no_grad()
def test_ablation_is_the_loss_of_each_node(attention: str, head: str) -> None:
    net = make_net(attention=attention, head=head)
    features, _ = encoded(net)
    found = NodeAblation(net).attribute(IMAGES)
    every = torch.ones(20, dtype=torch.bool)
    for image, shares, logit in zip(features, found.node_map.flatten(1), found.logit, strict=True):
        losses = [logit - drop_slowly(net, image, every & (torch.arange(20) != node)) for node in range(20)]
        torch.testing.assert_close(shares, torch.stack(losses), atol=2e-5, rtol=1e-3)
    assert found.n_graph == 22
    gap = (found.node_map.sum(dim=(1, 2)) + found.bias - found.logit).abs() / (1 + found.logit.abs())
    torch.testing.assert_close(found.completeness_gap, gap)
    assert not NodeAblation.exact


def exact_shapley(net: ResGAT, state: GraphState) -> Tensor:
    """By the definition, over all subsets."""
    nodes = net.grid.num_nodes
    subsets = [set(s) for size in range(nodes + 1) for s in combinations(range(nodes), size)]
    masks = torch.tensor([[node in subset for node in range(nodes)] for subset in subsets])
    value = dict(zip(map(frozenset, subsets), coalition_logits(net, state, masks).T, strict=True))
    return torch.stack(
        [
            sum(
                (value[frozenset(s | {node})] - value[frozenset(s)]) / (nodes * comb(nodes - 1, len(s)))
                for s in subsets
                if node not in s
            )
            for node in range(nodes)
        ],
        dim=1,
    )


@both_versions
@every_head
@torch.no_grad()
def test_shapley_values_approach_the_definition(attention: str, head: str) -> None:
    net, images = make_net(attention=attention, head=head), IMAGES[:, :, :32, :48]  # 2×3 nodes
    expected = exact_shapley(net, encoded(net, images)[1])
    few, many = (NodeShapley(net, samples=n).attribute(images).node_map.flatten(1) for n in (24, 12_000))
    size = expected.norm()
    assert (many - expected).norm() < 0.03 * size
    assert (many - expected).norm() < (few - expected).norm()


@both_versions
@every_head
@pytest.mark.parametrize("samples", [40, 500])
def test_shapley_values_add_up_however_few_the_samples(attention: str, head: str, samples: int) -> None:
    net = make_trained(attention=attention, head=head)
    found = NodeShapley(net, samples=samples).attribute(IMAGES)
    assert NodeShapley.exact
    assert (found.completeness_gap <= 1e-5).all()
    assert found.n_graph == 2 + 38 * ((samples - 2) // 38)
    empty = coalition_logits(net, encoded(net)[1], torch.zeros(1, 20, dtype=torch.bool))[:, 0]
    torch.testing.assert_close(found.bias, empty.detach())


def test_permutations_come_in_opposite_pairs() -> None:
    kept = NodeShapley(make_net(), samples=200).coalitions(20)
    assert not kept[0].any()
    assert kept[1].all()
    steps = kept[2:].reshape(-1, 19, 20)
    assert torch.equal(steps.sum(dim=2), torch.arange(1, 20).expand(len(steps), -1))  # one node at a time
    assert (steps[:, 1:] >= steps[:, :-1]).all()  # and no node leaves
    first, second = steps.chunk(2)
    assert torch.equal(first, ~second.flip(1))
    assert not torch.equal(first[0], first[1])


def test_too_few_samples_for_two_permutations_are_refused() -> None:
    with pytest.raises(ConfigError, match="samples is 39, but Shapley values of 20 nodes take at least 40"):
        NodeShapley(make_net(), samples=39).attribute(IMAGES)


@both_versions
@torch.no_grad()
def test_lime_is_a_weighted_ridge_regression(attention: str) -> None:
    """As in the lime package: its kernel and distance, scikit-learn's ridge regression."""
    net = make_net(attention=attention)
    explainer = NodeLIME(net, samples=150, seed=3, kernel_width=0.4)
    found = explainer.attribute(IMAGES)
    kept = explainer.coalitions(20)
    assert kept[0].all()
    assert abs(float(kept[1:].float().mean()) - 0.5) < 0.05
    assert found.n_graph == len(kept) == 150
    answers = coalition_logits(net, encoded(net)[1], kept).double().numpy()
    rows = kept.double().numpy()
    distance = pairwise_distances(rows, rows[:1], metric="cosine").ravel()
    weights = np.sqrt(np.exp(-(distance**2) / 0.4**2))
    for shares, bias, answer in zip(found.node_map.flatten(1), found.bias, answers, strict=True):
        ridge = Ridge(alpha=1).fit(rows, answer, sample_weight=weights)
        np.testing.assert_allclose(shares.numpy(), ridge.coef_, atol=1e-5)
        np.testing.assert_allclose(float(bias), ridge.intercept_, atol=1e-5)


@both_versions
@torch.no_grad()
def test_rise_is_the_mean_with_a_node_less_the_mean_without(attention: str) -> None:
    net = make_net(attention=attention)
    explainer = NodeRISE(net, samples=101, seed=2)
    found = explainer.attribute(IMAGES)
    kept = explainer.coalitions(20)
    assert found.n_graph == len(kept) == 100
    answers = coalition_logits(net, encoded(net)[1], kept)
    for node in range(20):
        share = answers[:, kept[:, node]].mean(dim=1) - answers[:, ~kept[:, node]].mean(dim=1)
        torch.testing.assert_close(found.node_map.flatten(1)[:, node], share, atol=1e-5, rtol=1e-4)


@both_versions
@pytest.mark.parametrize(
    ("kind", "tolerance"), [(NodeAblation, 1e-5), (NodeShapley, 1e-5), (NodeLIME, 0.05), (NodeRISE, 0.15)]
)
def test_all_agree_where_nodes_only_add_up(attention: str, kind: type[Explainer], tolerance: float) -> None:
    """With attention on themselves alone nodes do not interact: then each has one share, its evidence."""
    net = make_net(attention=attention)
    _, state = encoded(net)
    scores = state.scores.clone()
    scores[:, :, 1:] = -1e4
    alone = state._replace(scores=scores.masked_fill(~net.grid.present.unsqueeze(-1), -torch.inf))
    net.graph = lambda features: alone  # type: ignore[method-assign,assignment]
    shares, found = NodeEvidence(net).attribute(IMAGES), kind(net).attribute(IMAGES)
    error = (found.node_map - shares.node_map).flatten(1).norm(dim=1) / shares.node_map.flatten(1).norm(dim=1)
    assert (error <= tolerance).all()
    torch.testing.assert_close(found.bias, shares.bias, atol=tolerance, rtol=tolerance)


@sampled
def test_more_samples_give_steadier_maps(kind: type[Explainer]) -> None:
    net = make_net()

    def spread(samples: int) -> float:
        maps = [kind(net, seed=seed, samples=samples).attribute(IMAGES).node_map for seed in range(6)]  # type: ignore[call-arg]
        return float(torch.stack(maps).std(dim=0).mean())

    assert spread(4000) < 0.6 * spread(200)


@pytest.mark.parametrize("attention", ["gatv1", "gatv2", "gcn"])
@pytest.mark.parametrize(
    "part",
    [
        {"mask_head": "gate"},
        {"bottleneck": True, "head": "mlp"},
        {"head": "capsule"},
        {"mask_head": "gate", "two_pass": True, "bottleneck": True, "head": "capsule"},
        {"mask_head": "gate", "bottleneck": True, "head": "normalised"},
    ],
)
@torch.no_grad()
def test_coalitions_of_variants_are_graphs_without_the_others(attention: str, part: dict[str, Any]) -> None:
    """By the same layer, with scores of what is gone at −∞, and its rows and gates at 0."""
    net = make_net(attention=attention, **part)
    _, state = encoded(net)
    coalitions = some_coalitions(20)
    found = coalition_logits(net, state, coalitions)
    values = net.gat.along(state, torch.eye(16)[None])
    for place in (0, 1, 2, 30, -1):
        there = coalitions[place]
        present = there[net.grid.neighbours] & there[:, None]
        attention_left = state.scores.masked_fill(~present[..., None], -1e30).softmax(dim=2) * present[..., None]
        kept = 1 if state.kept is None else state.kept[..., None]
        gate = 1 if state.gate is None else state.gate[..., None]
        sent = net.grid.sum_by_source(attention_left * kept) * gate
        pooled = (sent.unsqueeze(-1) * values).sum(dim=(1, 2)) / 20 + net.gat.constant
        left = state._replace(sent=sent, pooled=pooled, read=None)
        torch.testing.assert_close(found[:, place], net.classify(left).logit, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(found[:, 1], net.classify(state).logit, atol=2e-5, rtol=1e-4)
    assert found.std(dim=1).min() > 1e-3
