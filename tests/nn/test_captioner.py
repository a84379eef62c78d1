from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from resgat_pl.core.errors import ConfigError
from resgat_pl.nn.captioner import END, PAD, START, Captioner
from resgat_pl.nn.node_geometry import Lattice

LATTICE = Lattice.even(3, 3)


def small() -> Captioner:
    torch.manual_seed(0)
    return Captioner(words=9, features=5, width=16, heads=2, longest=8, dropout=0.0).eval()


def test_a_node_that_contributes_nothing_cannot_be_seen() -> None:
    net, tokens = small(), torch.tensor([[START, 4, 5]])
    nodes, contribution = torch.randn(1, 9, 5), torch.randn(1, 9)
    contribution[0, 4] = 0
    other = nodes.clone()
    other[0, 4] += 10
    assert torch.equal(net(tokens, nodes, contribution, LATTICE), net(tokens, other, contribution, LATTICE))
    other[0, 3] += 10
    assert not torch.allclose(net(tokens, nodes, contribution, LATTICE), net(tokens, other, contribution, LATTICE))


def test_a_token_depends_on_those_before_it_alone() -> None:
    net, nodes, contribution = small(), torch.randn(1, 9, 5), torch.randn(1, 9)
    one, other = torch.tensor([[START, 4, 5, 6]]), torch.tensor([[START, 4, 7, 8]])
    found = [net(tokens, nodes, contribution, LATTICE)[:, :2] for tokens in (one, other)]
    torch.testing.assert_close(*found)


def test_it_learns_to_name_the_place_of_the_contribution() -> None:
    """Token 4 where the contribution is at the top, 5 where it is at the bottom."""
    net = small().train()
    nodes = torch.ones(2, 9, 5)
    contribution = torch.zeros(2, 9)
    contribution[0, :3] = 1
    contribution[1, 6:] = 1
    tokens = torch.tensor([[START, 4, END], [START, 5, END]])
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(60):
        loss = F.cross_entropy(net(tokens[:, :-1], nodes, contribution, LATTICE).flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert net.eval().write(nodes, contribution, LATTICE) == [[4], [5]]


def test_writing_ends() -> None:
    net = small()
    with torch.no_grad():
        net.out.bias[4] = 100
    (found,) = net.write(torch.randn(1, 9, 5), torch.randn(1, 9), LATTICE)
    assert found == [4] * 7
    with torch.no_grad():
        net.out.bias[PAD] = 200
    assert net.write(torch.randn(1, 9, 5), torch.randn(1, 9), LATTICE) == [[]]
    with pytest.raises(ConfigError, match="2 heads do not divide"):
        Captioner(5, 5, width=7, heads=2)
