from __future__ import annotations

import torch
from hypothesis import given, settings, strategies as st

from resgat_pl.nn.grid import Grid

sides = st.integers(2, 9)


def brute_force(height: int, width: int) -> set[tuple[int, int]]:
    cells = [(row, column) for row in range(height) for column in range(width)]
    return {
        (a[0] * width + a[1], b[0] * width + b[1])
        for a in cells
        for b in cells
        if abs(a[0] - b[0]) + abs(a[1] - b[1]) <= 1
    }


@given(sides, sides)
@settings(max_examples=20, deadline=None)
def test_edges_are_the_four_neighbours_and_the_node_itself_in_order(height: int, width: int) -> None:
    grid = Grid(height, width)
    edges = [tuple(edge) for edge in grid.edge_index.T.tolist()]
    assert set(edges) == brute_force(height, width)
    assert len(edges) == len(set(edges)) == 5 * height * width - 2 * height - 2 * width
    order = {0: 0, -1: 1, 1: 2, -width: 3, width: 4}  # self, left, right, up, down
    keys = [(target, order[source - target]) for source, target in edges]
    assert keys == sorted(keys)


@given(sides, sides)
@settings(max_examples=20, deadline=None)
def test_slots_edges_and_sources_agree(height: int, width: int) -> None:
    grid = Grid(height, width)
    nodes = torch.rand(2, grid.num_nodes, 3)
    by_edge = grid.to_edges(grid.gather(nodes))
    assert torch.equal(by_edge, nodes[:, grid.edge_index[0]])

    slots = torch.rand(2, grid.num_nodes, 5, 3) * grid.present.unsqueeze(-1)
    expected = torch.zeros(2, grid.num_nodes, 3).index_add(1, grid.edge_index[0], grid.to_edges(slots))
    torch.testing.assert_close(grid.sum_by_source(slots), expected)


@given(sides, sides)
@settings(max_examples=20, deadline=None)
def test_pairs_slot_by_slot_are_those_of_the_tables(height: int, width: int) -> None:
    grid = Grid(height, width)
    sources, targets = torch.rand(2, 2, grid.num_nodes, 3)
    pairs = grid.add_neighbours(sources, targets)
    assert sum(pair[0, ..., 0].numel() for pair in pairs) == grid.edge_index.shape[1]
    found = grid.stack_slots(pairs, -7.0)
    expected = grid.gather(sources) + targets.unsqueeze(2)
    assert torch.equal(found, expected.masked_fill(~grid.present.unsqueeze(-1), -7.0))


def test_fit_rebuilds_only_for_another_shape() -> None:
    grid = Grid(3, 4)
    before = grid.edge_index
    grid.fit(3, 4)
    assert grid.edge_index is before
    grid.fit(4, 3)
    assert grid.shape == (4, 3)
    assert all(torch.equal(a, b) for a, b in zip(grid.buffers(), Grid(4, 3).buffers(), strict=True))


def test_tables_are_not_saved() -> None:
    assert not Grid(3, 3).state_dict()


def test_tables_made_in_inference_mode_serve_training() -> None:
    grid = Grid(2, 2)
    with torch.inference_mode():
        grid.fit(3, 3)
    nodes = torch.rand(1, 9, 2, requires_grad=True)
    grid.gather(nodes).sum().backward()
    assert nodes.grad is not None
