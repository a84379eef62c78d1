"""The graph of a feature map: every cell is a node, joined to itself and to its four neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOTS = ((0, 0), (0, -1), (0, 1), (-1, 0), (1, 0))
"""Offset (row, column) of the source in each slot of a target node: self, left, right, up, down."""
_MIRROR = (0, 2, 1, 4, 3)  # if i is in slot s of j, then j is in slot _MIRROR[s] of i


class Grid(nn.Module):
    """Index tables of a grid of nodes, numbered row by row from the top left.

    Work on the grid is dense: a quantity per edge is a tensor ``(B, N, 5, …)``, the second axis being the target node
    and the third the ``SLOTS`` of its sources; at the border some slots are absent. The tables are buffers (they
    follow the module's device) but no part of a state dict, since they follow from the shape alone.

    Args:
        height: Rows of nodes.
        width: Columns of nodes.

    Attributes:
        shape: (rows, columns).
        edge_index: ``(2, E)`` int64, row 0 source and row 1 target, self-loops included, sorted by target and, for
            one target, by slot. E = 5hw − 2h − 2w, which is 217 for 7×7.
        neighbours: ``(N, 5)`` int64, the source in each slot of each target; absent slots hold the target itself.
        present: ``(N, 5)`` bool, whether the slot exists.
        edge_slot: ``(E,)`` int64, place of each edge of ``edge_index`` in the flattened ``N · 5`` slots.
        outgoing: ``(N, 5)`` int64, the flattened slots in which a node is the *source*; absent ones point to an
            absent slot.

    Example:
        >>> grid = Grid(7, 7)
        >>> grid.num_nodes, grid.edge_index.shape[1], grid.neighbours[0].tolist()
        (49, 217, [0, 0, 1, 0, 7])
    """

    edge_index: Tensor
    neighbours: Tensor
    present: Tensor
    edge_slot: Tensor
    outgoing: Tensor

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.shape = (height, width)
        for name, table in _tables(height, width).items():
            self.register_buffer(name, table, persistent=False)

    @property
    def num_nodes(self) -> int:
        """Number of nodes, N."""
        return self.shape[0] * self.shape[1]

    def fit(self, height: int, width: int) -> None:
        """Rebuild the tables on their device if the shape differs; otherwise do nothing."""
        if (height, width) == self.shape:
            return
        device = self.edge_index.device
        self.shape = (height, width)
        for name, table in _tables(height, width).items():
            setattr(self, name, table.to(device))

    def fit_levels(self, shapes: Sequence[tuple[int, int]]) -> None:
        """``fit`` to an encoder's grids, of which there is one here; two have ``levels.LevelGrid``."""
        ((height, width),) = shapes
        self.fit(height, width)

    @property
    def level(self) -> Tensor | None:
        """``(N,)`` int64, 0 of a fine node and 1 of a coarse one; None of a single grid."""
        return None

    def gather(self, nodes: Tensor) -> Tensor:
        """Put each slot's source there: ``(B, N, …)`` → ``(B, N, 5, …)``."""
        slots = self.neighbours.shape[1]
        return nodes.index_select(1, self.neighbours.flatten()).reshape(len(nodes), -1, slots, *nodes.shape[2:])

    def add_neighbours(self, sources: Tensor, targets: Tensor) -> list[Tensor]:
        """Sums of the two ends of each edge, slot by slot, without a copy of the nodes for each slot.

        Args:
            sources: ``(B, N, F)``.
            targets: ``(B, N, F)``.

        Returns:
            For each of ``SLOTS`` the sums ``(B, rows, columns, F)`` at the targets that have such a source, which are a
            rectangle of the grid: one row or column less than the grid itself for four of them.
        """
        by_cell = [nodes.reshape(len(nodes), *self.shape, -1) for nodes in (sources, targets)]
        pairs = []
        for row, column in SLOTS:
            source, target = (
                nodes[:, _inner(sign * row, self.shape[0]), _inner(sign * column, self.shape[1])]
                for nodes, sign in zip(by_cell, (-1, 1), strict=True)
            )
            pairs.append(source + target)
        return pairs

    def stack_slots(self, parts: list[Tensor], absent: float) -> Tensor:
        """Join what was made of ``add_neighbours``, ``(B, rows, columns, F)`` each, to ``(B, N, 5, F)``.

        Args:
            parts: One per slot.
            absent: Value in absent slots.
        """
        # A rectangle lacks its first row or column where the source lies before the target, else its last.
        whole = [
            F.pad(part, (0, 0, max(0, -column), max(0, column), max(0, -row), max(0, row)), value=absent)
            for part, (row, column) in zip(parts, SLOTS, strict=True)
        ]
        return torch.stack(whole, dim=3).flatten(1, 2)

    def to_edges(self, slots: Tensor) -> Tensor:
        """Leave absent slots out: ``(B, N, 5, …)`` → ``(B, E, …)`` in the order of ``edge_index``."""
        return slots.flatten(1, 2).index_select(1, self.edge_slot)

    def sum_by_source(self, slots: Tensor) -> Tensor:
        """Sum over each node's *outgoing* edges: ``(B, N, 5, …)``, zero in absent slots → ``(B, N, …)``."""
        return slots.flatten(1, 2).index_select(1, self.outgoing.flatten()).reshape(slots.shape).sum(dim=2)


def _inner(offset: int, size: int) -> slice:
    """The cells of a row or column that have a neighbour at ``offset``."""
    return slice(max(0, -offset), size - max(0, offset))


# Tables made within inference mode, such as a validation pass before the first training step, could not be used in
# training afterwards.
@torch.inference_mode(False)
def _tables(height: int, width: int) -> dict[str, Tensor]:
    device = torch.empty(0).device
    with torch.device("cpu"):  # on ``meta`` there would be no numbers to look at
        return {name: table.to(device) for name, table in _computed(height, width).items()}


def _computed(height: int, width: int) -> dict[str, Tensor]:
    nodes = torch.arange(height * width)
    offset = torch.tensor(SLOTS)
    row = nodes[:, None] // width + offset[:, 0]
    column = nodes[:, None] % width + offset[:, 1]
    present = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    neighbours = torch.where(present, row * width + column, nodes[:, None])
    slots = torch.arange(5)
    outgoing = 5 * neighbours + torch.where(present, torch.tensor(_MIRROR), slots)
    edge_slot = present.flatten().nonzero().squeeze(1)
    edge_index = torch.stack([neighbours.flatten()[edge_slot], edge_slot // 5])
    return {
        "edge_index": edge_index,
        "neighbours": neighbours,
        "present": present,
        "edge_slot": edge_slot,
        "outgoing": outgoing,
    }
