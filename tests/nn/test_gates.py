from __future__ import annotations

import torch

from resgat_pl.nn.gates import EdgeGate
from resgat_pl.nn.grid import Grid


def test_a_gate_is_random_in_training_and_its_probability_in_evaluation() -> None:
    gate, logits = EdgeGate(3), torch.linspace(-2, 2, 20_000).reshape(1, -1, 5)
    assert torch.equal(gate.eval().kept(logits), logits.sigmoid())
    drawn = gate.train().kept(logits)
    assert not torch.equal(drawn, gate.kept(logits))
    assert bool(((drawn > 0) & (drawn < 1)).all())
    # Of a binary concrete variable P(x > ½) is the sigmoid of its logit, at any temperature.
    above = (drawn > 0.5).float().flatten().reshape(4, -1).mean(dim=1)
    torch.testing.assert_close(above, logits.sigmoid().flatten().reshape(4, -1).mean(dim=1), atol=0.03, rtol=0)


@torch.no_grad()
def test_an_untrained_gate_is_nearly_open() -> None:
    torch.manual_seed(0)
    kept = EdgeGate(8).eval().kept(EdgeGate(8)(torch.rand(2, 6, 8), Grid(2, 3)))
    assert 0.7 < float(kept.mean()) < 0.97


def test_a_gate_depends_on_its_two_ends_alone_and_on_which_is_which() -> None:
    torch.manual_seed(0)
    gate, grid, nodes = EdgeGate(8).double(), Grid(2, 2), torch.rand(1, 4, 8).double()
    logits = grid.to_edges(gate(nodes, grid))[0]
    changed = nodes.clone()
    changed[0, 3] += 1
    other = grid.to_edges(gate(changed, grid))[0]
    touches = (grid.edge_index == 3).any(dim=0)
    assert torch.equal((other != logits), touches)
    edges = [tuple(edge) for edge in grid.edge_index.T.tolist()]
    assert logits[edges.index((0, 1))] != logits[edges.index((1, 0))]
