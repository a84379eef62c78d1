"""The smallest deciding parts of a graph, against trying every set of nodes."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from torch import Tensor

from resgat_pl.core.errors import ConfigError
from resgat_pl.explain.methods import subgraph as module
from resgat_pl.explain.methods.nodes import coalition_logits
from resgat_pl.explain.methods.subgraph import MinimalSubgraph, certify, fewest_terms, smallest_parts
from resgat_pl.nn.contribution import contributions
from resgat_pl.nn.pooled import PooledClassifier

from ...helpers.nets import IMAGES, both_versions, every_head, make_net, make_trained, make_uniform

SMALL = torch.rand(4, 3, 48, 48, generator=torch.Generator().manual_seed(1))  # 3×3 nodes at stage 3


def every_set(total: int) -> Tensor:
    return (torch.arange(2**total)[:, None] >> torch.arange(total) & 1).bool()


def fewest(sets: Tensor, done: Tensor) -> int | None:
    sizes = sets.sum(dim=1)[done]
    return int(sizes.min()) if len(sizes) else None


@pytest.mark.parametrize("seed", range(20))
def test_greedy_is_exact_where_shares_add_up(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROVEN_UP_TO", 0)  # nothing but greedy
    random = torch.Generator().manual_seed(seed)
    shares = torch.randn(9, generator=random, dtype=torch.float64)
    bias = float(torch.randn(1, generator=random))
    sets = every_set(9)
    values = sets.double() @ shares + bias
    fake = bool(values[-1] > 0)
    keeps, turns = smallest_parts(lambda some: some.double() @ shares + bias, 9)
    assert len(keeps.nodes) == fewest(sets, (values > 0) == fake)
    left_out = ~sets
    expected = fewest(sets, (left_out.double() @ shares + bias > 0) != fake)
    assert (turns is None) == (expected is None)
    if turns is not None:
        assert len(turns.nodes) == expected


@both_versions
@every_head
def test_a_certificate_holds_and_its_proof_is_that_of_all_sets(attention: str, head: str) -> None:
    net = make_trained(attention=attention, head=head)
    found = certify(net, SMALL, limit=-0.3)
    sets = every_set(9)
    with torch.no_grad():
        graph = net.graph(net.encode(SMALL))
        logits = coalition_logits(net, graph, sets)
        torch.testing.assert_close(
            torch.tensor([one.logit for one in found]), net.classify(graph).logit, atol=1e-5, rtol=1e-5
        )
    for one, values in zip(found, logits, strict=True):
        fake = one.logit > -0.3
        assert one.verdict == ("fake" if fake else "real")
        chosen = torch.zeros(9, dtype=torch.bool)
        chosen[list(one.keeps.nodes)] = True
        place = int((sets == chosen).all(dim=1).nonzero())
        assert one.keeps.logit == pytest.approx(float(values[place]), abs=1e-5)
        assert (one.keeps.logit > -0.3) == fake
        assert one.keeps.smallest  # nine nodes: every smaller set was tried
        assert len(one.keeps.nodes) == fewest(sets, (values > -0.3) == fake)
        turned = fewest(~sets, (values > -0.3) != fake)
        assert (one.turns is None) == (turned is None)
        if one.turns is not None:
            assert len(one.turns.nodes) == turned
            assert (one.turns.logit > -0.3) != fake


def test_without_a_proof_greedy_is_an_upper_bound_that_cannot_spare_a_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROVEN_UP_TO", 0)
    net = make_trained()
    sets = every_set(9)
    with torch.no_grad():
        logits = coalition_logits(net, net.graph(net.encode(SMALL)), sets)
    for limit in (-0.5, 0.0, 0.5):
        for one, values in zip(certify(net, SMALL, limit), logits, strict=True):
            keeping = (values > limit) == (one.logit > limit)
            assert len(one.keeps.nodes) >= (fewest(sets, keeping) or 0)
            assert one.keeps.smallest == (len(one.keeps.nodes) == 0)
            for spared in one.keeps.nodes:
                rest = torch.zeros(9, dtype=torch.bool)
                rest[[node for node in one.keeps.nodes if node != spared]] = True
                assert not keeping[(sets == rest).all(dim=1)]


def test_what_was_taken_early_and_is_needless_is_left_out_again() -> None:
    # Alone the first node is best, but the other two reach the limit only together, and then without it.
    table = {(): 0, (0,): 2, (1,): 1, (2,): 1, (0, 1): 2.5, (0, 2): 2.5, (1, 2): 9, (0, 1, 2): 9}

    def logits(sets: Tensor) -> Tensor:
        return torch.tensor([float(table[tuple(row.nonzero().flatten().tolist())]) for row in sets])

    keeps, turns = smallest_parts(logits, 3, limit=3)
    assert set(keeps.nodes) == {1, 2}
    assert turns is not None
    assert len(turns.nodes) == 1


@pytest.mark.parametrize("seed", range(10))
def test_the_fewest_edges_are_those_of_every_subset(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    terms = torch.randn(8, generator=random, dtype=torch.float64)
    bias = float(torch.randn(1, generator=random))
    full = float(terms.sum()) + bias > 0.2
    sizes = [(size, sum(some)) for size in range(9) for some in combinations(terms.tolist(), size)]
    keep = min(size for size, value in sizes if (value + bias > 0.2) == full)
    turning = [size for size, value in sizes if (float(terms.sum()) - value + bias > 0.2) != full]
    assert fewest_terms(terms, bias, 0.2) == (keep, min(turning) if turning else None, 8)


def test_edges_are_counted_by_the_exact_ledger() -> None:
    net = make_trained()
    with torch.no_grad():
        ledger = contributions(net, SMALL)
    for place, one in enumerate(certify(net, SMALL)):
        assert one.edges == fewest_terms(ledger.edge[place].double(), float(ledger.bias[place]))
        assert f"of {ledger.edge.shape[1]} edges" in one.edge_sentence


def test_the_map_marks_the_nodes_that_suffice_in_their_order() -> None:
    net = make_trained()
    limit = float(net(IMAGES).logit.detach().min()) - 0.05  # all are fake, by little
    maps = MinimalSubgraph(net, limit=limit).attribute(IMAGES).node_map.flatten(1)
    for row, one in zip(maps, certify(net, IMAGES, limit), strict=True):
        size = len(one.keeps.nodes)
        assert row.count_nonzero() == size
        assert row.topk(size).indices.tolist() == list(one.keeps.nodes)
        assert ((row == 0) | (row > 0.5)).all()


def test_words_say_what_was_proven_and_what_was_not() -> None:
    net = make_uniform(make_net())
    one = certify(net, SMALL, limit=-1e6)[0]  # whatever is there, the verdict is fake
    assert one.keeps.nodes == ()
    assert one.turns is None
    assert "No node is needed for fake" in one.sentence
    assert "no removal" in one.sentence
    parts = [module.Part((1, 4), 0.5, smallest=True), module.Part((2,), -0.25, smallest=False)]
    said = module.Certificate("fake", 1.0, 0.0, -1.0, 49, *parts).sentence
    assert said == (
        "2 of 49 nodes suffice for fake (logit +0.50 with these alone, and no fewer will do); without 1 of them it "
        "turns (logit −0.25, found greedily: fewer may do)."
    )


def test_a_detector_without_a_graph_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="MinimalSubgraph explains the graph of a ResGAT"):
        MinimalSubgraph(PooledClassifier("resnet18", image_size=64))
