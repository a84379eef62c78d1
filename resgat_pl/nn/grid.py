"""The graph: one node per cell of the feature map, joined with its right, left, upper and lower neighbour."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from resgat_pl.errors import ConfigError

SLOTS = 5
"""Places for sources of a node: itself, left, right, up, down."""
_STEPS = ((0, 0), (0, -1), (0, 1), (-1, 0), (1, 0))
_OPPOSITE = (0, 2, 1, 4, 3)


class Grid(nn.Module):
    """Neighbourhoods of an ``h × w`` grid with self-loops, as index buffers that are built once per size.

    Every image of a batch has the same graph, so attention is a dense array over (node, slot) and needs neither an
    edge list per image nor scattering: a node of the border simply leaves slots empty.

    Args:
        height: Rows of nodes, at least 2.
        width: Columns of nodes, at least 2.

    Attributes:
        edge_index: ``(2, E)`` int64, row 0 source and row 1 target, self-loops included; ordered by target, then by
            slot (itself, left, right, up, down). Nodes are numbered row by row. E = 5hw - 2h - 2w.
        sources: ``(5, N)`` int64, the source in each slot of each target; an empty slot repeats the target.
        filled: ``(N, 5)`` bool, whether the slot holds an edge.
        edges: ``(E,)`` int64, position of each edge in the flattened (N, 5) table.
        outgoing: ``(N, 5)`` int64, positions in that table at which the node is the source; where it has fewer than
            five, the position of an empty slot.
    """

    edge_index: Tensor
    sources: Tensor
    filled: Tensor
    edges: Tensor
    outgoing: Tensor

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.shape = (0, 0)
        self.fit(height, width)

    @property
    def nodes(self) -> int:
        """Number of nodes N."""
        return self.shape[0] * self.shape[1]

    def fit(self, height: int, width: int) -> None:
        """Rebuild the buffers if the size differs from the present one.

        Raises:
            ConfigError: A side is shorter than 2 nodes.
        """
        if (height, width) == self.shape:
            return
        if height < 2 or width < 2:
            raise ConfigError(
                f"The image gives a grid of {height}×{width} nodes, at least 2×2 are needed. Use larger images "
                "(64 px a side at encoder_stage 4, 32 px at encoder_stage 3)."
            )
        device = self.edge_index.device if "edge_index" in self._buffers else None
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        nodes = torch.arange(height * width)
        sources, filled = [], []
        for down, right in _STEPS:
            row, column = (rows + down).flatten(), (columns + right).flatten()
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            sources.append(torch.where(inside, row * width + column, nodes))
            filled.append(inside)
        source, present = torch.stack(sources, dim=1), torch.stack(filled, dim=1)
        edges = present.flatten().nonzero().squeeze(1)
        # The grid is symmetric: the edge from j to its right neighbour lies in that neighbour's left slot.
        empty = nodes[:, None] * SLOTS + torch.arange(SLOTS)
        outgoing = torch.where(present, source * SLOTS + torch.tensor(_OPPOSITE), empty)
        buffers = {
            "edge_index": torch.stack([source.flatten()[edges], edges // SLOTS]),
            "sources": source.T.contiguous(),
            "filled": present,
            "edges": edges,
            "outgoing": outgoing,
        }
        for name, values in buffers.items():
            self.register_buffer(name, values.to(device), persistent=False)
        self.shape = (height, width)
