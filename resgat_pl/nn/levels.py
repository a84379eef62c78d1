"""Two grids of one picture in one graph: coarse nodes are the parents of fine ones, and both are read out together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from resgat_pl.core.errors import ConfigError
from resgat_pl.nn.grid import SLOTS, Grid
from resgat_pl.nn.node_geometry import Lattice

_PARENT = len(SLOTS)  # slot of a fine node's parent; from here on those of a coarse node's children
_MOST = 2  # children of a coarse node along either axis


class LevelGrid(Grid):
    """Index tables of two grids, fine and coarse, in one graph.

    The fine nodes come first, row by row, then the coarse ones. Within a grid the edges are those of ``Grid``. Fine
    node (i, j) is also joined, in both directions, with its parent, coarse node (⌊i h'/h⌋, ⌊j w'/w⌋): one more slot of
    a fine node, and one for each child of a coarse one.

    Args:
        fine: Rows and columns, h and w.
        coarse: Rows and columns, h' and w': at most as many, and at least half.

    Attributes:
        coarse: Rows and columns of the coarse grid; ``shape`` has those of the fine one.

    Raises:
        ConfigError: A coarse node would have no child, or more than two along an axis.

    Example:
        >>> grid = LevelGrid((4, 4), (2, 2))
        >>> grid.num_nodes, grid.neighbours[16].tolist()  # the first coarse node, its neighbours and its children
        (20, [16, 16, 17, 16, 18, 0, 1, 4, 5])
    """

    slot_edge: Tensor
    node_level: Tensor

    def __init__(self, fine: tuple[int, int], coarse: tuple[int, int]) -> None:
        super().__init__(*fine)
        self.coarse = coarse
        for name, table in _tables(fine, coarse).items():
            self.register_buffer(name, table, persistent=False)

    @property
    def level(self) -> Tensor:
        """``(N,)`` int64, 0 of a fine node and 1 of a coarse one."""
        return self.node_level

    @property
    def num_nodes(self) -> int:
        """Number of nodes of both grids, N."""
        return math.prod(self.shape) + math.prod(self.coarse)

    def fit(self, height: int, width: int) -> None:
        """Rebuild the tables for a fine grid, and a coarse one of half as many rows and columns."""
        self.fit_levels([(height, width), (-(-height // 2), -(-width // 2))])

    def fit_levels(self, shapes: Sequence[tuple[int, int]]) -> None:
        """Rebuild the tables on their device if a shape differs; otherwise do nothing."""
        fine, coarse = shapes
        if (self.shape, self.coarse) == (fine, coarse):
            return
        device = self.edge_index.device
        tables = _tables(fine, coarse)
        self.shape, self.coarse = fine, coarse
        for name, table in tables.items():
            setattr(self, name, table.to(device))

    def add_neighbours(self, sources: Tensor, targets: Tensor) -> list[Tensor]:
        """Sums of the two ends of each edge, ``(B, E, F)`` of ``(B, N, F)`` each; one part for all slots."""
        source, target = self.edge_index
        return [sources.index_select(1, source) + targets.index_select(1, target)]

    def stack_slots(self, parts: list[Tensor], absent: float) -> Tensor:
        """Join what was made of ``add_neighbours``, ``(B, E, F)``, to ``(B, N, S, F)``; ``absent`` in absent slots."""
        (edges,) = parts
        nothing = torch.full_like(edges[:, :1], absent)
        slots = torch.cat([edges, nothing], dim=1).index_select(1, self.slot_edge)
        return slots.reshape(len(edges), self.num_nodes, -1, edges.shape[2])


# As those of a grid: usable in training also if they are made within inference mode, and numbers even on ``meta``.
@torch.inference_mode(False)
def _tables(fine: tuple[int, int], coarse: tuple[int, int]) -> dict[str, Tensor]:
    device = torch.empty(0).device
    with torch.device("cpu"):
        return {name: table.to(device) for name, table in _computed(fine, coarse).items()}


def _computed(fine: tuple[int, int], coarse: tuple[int, int]) -> dict[str, Tensor]:
    if any(not few <= many <= _MOST * few for many, few in zip(fine, coarse, strict=True)):
        raise ConfigError(
            f"Grids of {fine[0]}×{fine[1]} and {coarse[0]}×{coarse[1]} nodes cannot be levels of one graph: a coarse "
            "node needs one or two fine ones along an axis. Set encoder_stage 3 or 4, or another image_size."
        )
    count, slots = math.prod(fine), _PARENT + _MOST**2
    grids = [Grid(*fine), Grid(*coarse)]
    nodes = count + math.prod(coarse)

    # Edges within the grids, in the slots of one grid.
    neighbours = torch.arange(nodes)[:, None].repeat(1, slots)
    present = torch.zeros(nodes, slots, dtype=torch.bool)
    mirror = torch.arange(slots).repeat(nodes, 1)  # slot in which a node is the source, at the other end of its slot
    for grid, first in zip(grids, (0, count), strict=True):
        some = slice(first, first + grid.num_nodes)
        neighbours[some, :_PARENT] = grid.neighbours + first
        present[some, :_PARENT] = grid.present
        mirror[some, :_PARENT] = grid.outgoing % _PARENT

    # Edges between them: a child is in the slot of its row and column among the children of its parent.
    parent_row, parent_column = (torch.arange(many) * few // many for many, few in zip(fine, coarse, strict=True))
    row, column = (
        torch.arange(many) - (torch.arange(many) * few // many * many + few - 1) // few
        for many, few in zip(fine, coarse, strict=True)
    )
    parent = (count + parent_row[:, None] * coarse[1] + parent_column).flatten()
    place = (_PARENT + row[:, None] * _MOST + column).flatten()
    children = torch.arange(count)
    neighbours[children, _PARENT], present[children, _PARENT], mirror[children, _PARENT] = parent, True, place
    neighbours[parent, place], present[parent, place], mirror[parent, place] = children, True, _PARENT

    edge_slot = present.flatten().nonzero().squeeze(1)
    slot_edge = torch.full((nodes * slots,), len(edge_slot))
    slot_edge[edge_slot] = torch.arange(len(edge_slot))
    return {
        "edge_index": torch.stack([neighbours.flatten()[edge_slot], edge_slot // slots]),
        "neighbours": neighbours,
        "present": present,
        "edge_slot": edge_slot,
        "outgoing": slots * neighbours + mirror,
        "slot_edge": slot_edge,
        "node_level": (torch.arange(nodes) >= count).long(),
    }


@dataclass(frozen=True)
class Levels:
    """Places of the nodes of a graph of one grid or of two, and how their numbers become one map.

    The map is on the first lattice. With one grid it has the nodes' own numbers.

    Attributes:
        lattices: Of each grid, the finest first.

    Example:
        >>> levels = Levels((Lattice.even(2, 2), Lattice.even(1, 1)))
        >>> levels.summed(torch.tensor([[1.0, 2, 3, 4, 8]]))
        tensor([[[3., 4.],
                 [5., 6.]]])
        >>> levels.averaged(torch.tensor([[1.0, 2, 3, 4, 8]]))
        tensor([[[4.5000, 5.0000],
                 [5.5000, 6.0000]]])
    """

    lattices: tuple[Lattice, ...]

    @property
    def num_nodes(self) -> int:
        """Number of nodes of all grids."""
        return sum(math.prod(lattice.shape) for lattice in self.lattices)

    def cover(self, masks: Tensor) -> Tensor:
        """Mean of masks ``(B, H, W)`` over each node's cell, ``(B, N)`` float32, see ``Lattice.cover``."""
        return torch.cat([lattice.cover(masks).flatten(1) for lattice in self.lattices], dim=1)

    def split(self, nodes: Tensor) -> list[Tensor]:
        """Numbers of nodes ``(…, N)`` as a map ``(…, h, w)`` of each grid."""
        parts = torch.split(nodes, [math.prod(lattice.shape) for lattice in self.lattices], dim=-1)
        return [part.reshape(*part.shape[:-1], *one.shape) for part, one in zip(parts, self.lattices, strict=True)]

    def summed(self, nodes: Tensor) -> Tensor:
        """Shares of nodes ``(…, N)`` as one map ``(…, h, w)``: each coarse one is divided over its cell, by area.

        The sum of the map is that of the nodes.
        """
        fine, *others = self.split(nodes)
        for maps, lattice in zip(others, self.lattices[1:], strict=True):
            fine = fine + divided(maps, lattice, self.lattices[0])
        return fine

    def averaged(self, nodes: Tensor) -> Tensor:
        """Numbers that are no shares, such as a mask, ``(…, N)`` as one map ``(…, h, w)``: the mean of the levels."""
        first, *lattices = self.lattices
        fine, *others = self.split(nodes)
        if not lattices:
            return fine
        total = fine
        for maps, lattice in zip(others, lattices, strict=True):
            down, across = (
                _overlap(mine, theirs).to(maps) for mine, theirs in zip(first.edges, lattice.edges, strict=True)
            )
            total = total + down.T @ maps @ across
        return total / len(self.lattices)


def divided(maps: Tensor, lattice: Lattice, common: Lattice) -> Tensor:
    """Divide the value of each cell of a lattice among the cells of another, by area: every sum stays as it is.

    Args:
        maps: ``(…, h, w)`` float, on ``lattice``.
        lattice: Where they are.
        common: Where they shall be.

    Returns:
        ``(…, h', w')`` float, on ``common``.

    Example:
        >>> divided(torch.ones(1, 1, 1), Lattice.even(1, 1), Lattice.even(2, 2))
        tensor([[[0.2500, 0.2500],
                 [0.2500, 0.2500]]])
    """
    down, across = (_overlap(mine, theirs).to(maps) for mine, theirs in zip(lattice.edges, common.edges, strict=True))
    return down @ maps @ across.T


def _overlap(edges: Sequence[float], others: Sequence[float]) -> Tensor:
    """Share ``(others, cells)`` float64 of each cell that lies in each other one; columns sum to 1."""
    cells, wanted = (torch.tensor(list(pairwise(ends)), dtype=torch.float64) for ends in (edges, others))
    high = torch.minimum(wanted[:, None, 1], cells[None, :, 1])
    low = torch.maximum(wanted[:, None, 0], cells[None, :, 0])
    return (high - low).clamp(min=0) / (cells[:, 1] - cells[:, 0])
