"""Fidelity and sparsity against the logits of single coalitions."""

from __future__ import annotations

import pytest
import torch

from resgat_pl.explain.benchmark.fidelity import fidelity
from resgat_pl.explain.methods.nodes import coalition_logits
from resgat_pl.explain.methods.subgraph import MinimalSubgraph, certify

from ...helpers.nets import IMAGES, make_trained


def logit_with(place: int, nodes: list[int]) -> float:
    net = make_trained()
    kept = torch.zeros(1, 20, dtype=torch.bool)
    kept[0, nodes] = True
    with torch.no_grad():
        return float(coalition_logits(net, net.graph(net.encode(IMAGES[place : place + 1])), kept)[0, 0])


def sigmoid(value: float) -> float:
    return float(torch.tensor(value, dtype=torch.float64).sigmoid())


@pytest.mark.parametrize("cut", [-100.0, 100.0])  # all fake, and all real
def test_scores_are_those_of_the_graph_without_the_nodes(cut: float) -> None:
    maps = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(3))
    found = fidelity(make_trained(), IMAGES, maps, cut, batch_size=2)
    sign = 1 if cut < 0 else -1
    for place in range(3):
        top = maps[place].flatten().topk(2).indices.tolist()  # 10.2 % of 20
        full = sigmoid(sign * logit_with(place, list(range(20))))
        without = sigmoid(sign * logit_with(place, [node for node in range(20) if node not in top]))
        alone = sigmoid(sign * logit_with(place, top))
        assert float(found["fidelity_plus"][place]) == pytest.approx(full - without, abs=1e-5)
        assert float(found["fidelity_minus"][place]) == pytest.approx(full - alone, abs=1e-5)
        assert found["sparsity"][place] == 1  # so far away, the bias alone gives the verdict


def test_no_map_is_sparser_than_the_smallest_subgraph() -> None:
    net, images = make_trained(), IMAGES[:, :, :48, :48]  # 3×3 nodes: every set is tried
    limit = float(net(images).logit.detach().min()) - 0.05
    certificates = certify(net, images, limit)
    assert all(one.keeps.smallest and one.keeps.nodes for one in certificates)
    smallest = [1 - len(one.keeps.nodes) / 9 for one in certificates]
    own = fidelity(net, images, MinimalSubgraph(net, limit=limit).attribute(images).node_map, limit)["sparsity"]
    other = fidelity(net, images, torch.rand(3, 3, 3), limit)["sparsity"]
    assert (own <= torch.tensor(smallest).double() + 1e-9).all()
    assert (other <= torch.tensor(smallest).double() + 1e-9).all()


def test_no_face_is_no_score() -> None:
    assert fidelity(make_trained(), IMAGES[:0], torch.zeros(0, 4, 5))["sparsity"].shape == (0,)
