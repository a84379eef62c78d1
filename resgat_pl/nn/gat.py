"""Graph attention on a fixed grid, for a whole batch at once.

The layers inherit parameters, initialisation and checkpoint keys from torch-geometric, whose message-passing
``forward`` stays available; ``on_grid`` computes the same for a batch of equal grids without edge lists.

Symbols: x_j node features, W the value matrix (PyG: ``lin`` / ``lin_l``), α_ijk the attention of target i on source j
in head k, A_jk = Σ_i α_ijk.

The paper prints its Eq. (2), GATv2, as aᵀLeakyReLU([Wh_i‖Wh_j]), which separates into a term of i and one of j and so
is still static attention. Implemented is aᵀLeakyReLU(W[h_i‖h_j]) of Brody et al. (2022), as in torch-geometric.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.nn import GATConv, GATv2Conv

from resgat_pl.nn.grid import SLOTS, Grid


class GridAttention(NamedTuple):
    """What a graph attention layer gives for a batch of grids.

    Attributes:
        pooled: ``(B, heads·C)`` mean over the nodes of the layer's output.
        attention: ``(B, E, heads)`` α in the order of ``Grid.edge_index``, before dropout.
        received: ``(B, N, heads)`` A_jk, how much node j is listened to in total; sums to N over the nodes.
        values: ``(B, N, heads, C)`` what node j sends, the value's bias included.
    """

    pooled: Tensor
    attention: Tensor
    received: Tensor
    values: Tensor


class GridGATConv(GATConv):  # type: ignore[misc]  # torch-geometric's classes are untyped
    """GATv1 (Veličković et al. 2018, Eq. 1-4): α_ijk ∝ exp LeakyReLU(a_dstᵀWx_i + a_srcᵀWx_j)."""

    def on_grid(self, x: Tensor, grid: Grid) -> GridAttention:
        """Apply the layer to node features ``x`` ``(B, N, F)`` of ``grid`` and take the mean over the nodes."""
        values = self.lin(x).unflatten(-1, (self.heads, self.out_channels))
        source = (values * self.att_src).sum(dim=-1)
        target = (values * self.att_dst).sum(dim=-1)
        scores = torch.stack([source[:, slot] for slot in grid.sources], dim=2) + target[:, :, None]
        return _attend(self, F.leaky_relu(scores, self.negative_slope), values, grid)

    @property
    def value_bias(self) -> Tensor | None:
        """Bias of the value matrix, ``(heads·C,)``: GATv1 has none."""
        return None


class GridGATv2Conv(GATv2Conv):  # type: ignore[misc]  # torch-geometric's classes are untyped
    """GATv2 (Brody et al. 2022, Eq. 7): α_ijk ∝ exp aᵀLeakyReLU(W_l x_j + W_r x_i)."""

    def on_grid(self, x: Tensor, grid: Grid) -> GridAttention:
        """Apply the layer to node features ``x`` ``(B, N, F)`` of ``grid`` and take the mean over the nodes."""
        values = self.lin_l(x).unflatten(-1, (self.heads, self.out_channels))
        target = self.lin_r(x).unflatten(-1, (self.heads, self.out_channels))
        scores = [
            (F.leaky_relu(values[:, slot] + target, self.negative_slope) * self.att).sum(dim=-1)
            for slot in grid.sources
        ]
        return _attend(self, torch.stack(scores, dim=2), values, grid)

    @property
    def value_bias(self) -> Tensor | None:
        """Bias of the value matrix, ``(heads·C,)``."""
        bias: Tensor | None = self.lin_l.bias
        return bias


GridConv = GridGATConv | GridGATv2Conv


def _attend(layer: GridConv, scores: Tensor, values: Tensor, grid: Grid) -> GridAttention:
    """Softmax over the sources of each target, then the mean over nodes.

    The mean is linear, so instead of aggregating ``heads·C`` features along every edge, the attention is summed per
    source first: mean_i Σ_j α_ij V_j = (1/N) Σ_j A_j V_j.

    Args:
        layer: Gives heads, dropout and bias.
        scores: ``(B, N, 5, heads)``; what stands in empty slots is ignored.
        values: ``(B, N, heads, C)``.
        grid: The graph.
    """
    scores = scores.masked_fill(~grid.filled[..., None], float("-inf"))
    alpha = scores.softmax(dim=2).flatten(1, 2)  # (B, N·5, heads)
    used = F.dropout(alpha, layer.dropout, layer.training)
    received = used[:, grid.outgoing.flatten()].view(len(used), grid.nodes, SLOTS, -1).sum(dim=2)
    pooled = torch.einsum("bnh,bnhc->bhc", received, values).flatten(1) / grid.nodes
    if layer.bias is not None:
        pooled = pooled + layer.bias
    return GridAttention(pooled, alpha[:, grid.edges], received, values)
