"""Graph attention on a fixed grid, for a whole batch at once.

``gatv1`` is Veličković et al., "Graph Attention Networks" (ICLR 2018), ``gatv2`` is Brody et al., "How Attentive are
Graph Attention Networks?" (ICLR 2022). The paper's Eq. (2) as printed, aᵀLeakyReLU([W h_i ‖ W h_j]), separates into a
term of i and a term of j, so every target would rank its sources alike: *static* attention. Implemented, as in the
authors' code, is what Brody et al. define, aᵀLeakyReLU(W [h_i ‖ h_j]), in which the ranking depends on the target.

Parameters, their initialisation and their names are PyTorch Geometric's, and so is ``forward``, which runs one graph
given by an edge list; ``attend`` computes the same numbers densely, without a loop over images or a scatter.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from resgat_pl.nn.grid import Grid

with warnings.catch_warnings():
    # torch_geometric (2.8) scripts a function when imported, which torch 2.14 announces to be deprecated.
    warnings.filterwarnings("ignore", message=".*torch.jit.script", category=FutureWarning)
    from torch_geometric.nn import GATConv, GATv2Conv


class GraphState(NamedTuple):
    """What graph attention makes of the nodes of each image.

    Attributes:
        values: ``(B, N, heads, C)`` float, V_jk = W_k x_j without bias: what node j sends.
        scores: ``(B, N, 5, heads)`` float, attention before the softmax by target and slot (see ``Grid``); −∞ where
            there is no neighbour.
        attention: ``(B, N, 5, heads)`` float, α_ij,k: the softmax of ``scores`` over the slots, before dropout.
        pooled: ``(B, heads · C)`` float, the mean over the nodes of the layer's output, heads concatenated.
    """

    values: Tensor
    scores: Tensor
    attention: Tensor
    pooled: Tensor


class _OnGrid:
    """Batched evaluation, shared by both versions. The attributes are those of PyTorch Geometric's layers."""

    heads: int
    out_channels: int
    negative_slope: float
    dropout: float
    training: bool
    bias: Tensor

    @property
    def value_bias(self) -> Tensor | None:
        """``(heads, C)``, what is added to every value before it is sent, if anything."""
        return None

    def values_and_scores(self, x: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
        """Values ``(B, N, heads, C)`` without bias and unmasked scores ``(B, N, 5, heads)``."""
        raise NotImplementedError  # a mixin: each version defines its own

    def attend(self, x: Tensor, grid: Grid) -> GraphState:
        """Run the layer on ``x (B, N, F)``, the nodes of B images, and average its output over the nodes.

        The mean over targets is taken before the values are summed: with A_jk = Σ_i α_ij,k it is
        (1/N) Σ_j A_jk V_jk + bias, one product instead of N aggregations. In training, dropout acts on the attention
        that is used here, not on the attention that is returned.
        """
        values, scores = self.values_and_scores(x, grid)
        scores = scores.masked_fill(~grid.present.unsqueeze(-1), -torch.inf)
        attention = scores.softmax(dim=2)
        sent = grid.sum_by_source(F.dropout(attention, self.dropout, self.training))
        pooled = torch.einsum("bnh,bnhc->bhc", sent, values) / grid.num_nodes
        if self.value_bias is not None:
            pooled = pooled + sent.mean(dim=1).unsqueeze(-1) * self.value_bias
        return GraphState(values, scores, attention, pooled.flatten(1) + self.bias)

    def _by_head(self, features: Tensor) -> Tensor:
        return features.reshape(*features.shape[:-1], self.heads, self.out_channels)


class GridGATConv(_OnGrid, GATConv):  # type: ignore[misc]  # torch_geometric has no types, so its classes are Any
    """GATv1 (Veličković et al. 2018): LeakyReLU(a_srcᵀ W h_j + a_dstᵀ W h_i)."""

    def values_and_scores(self, x: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
        """See the base class."""
        values = self._by_head(self.lin(x))
        by_source = (values * self.att_src).sum(dim=-1)
        by_target = (values * self.att_dst).sum(dim=-1)
        return values, F.leaky_relu(grid.gather(by_source) + by_target.unsqueeze(2), self.negative_slope)


class GridGATv2Conv(_OnGrid, GATv2Conv):  # type: ignore[misc]  # torch_geometric has no types, so its classes are Any
    """GATv2 (Brody et al. 2022): aᵀLeakyReLU(W_l h_j + W_r h_i), which is Eq. (2) with W outside the concatenation."""

    @property
    def value_bias(self) -> Tensor:
        """``(heads, C)``, the bias of ``lin_l``."""
        return self._by_head(self.lin_l.bias)

    def values_and_scores(self, x: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
        """See the base class."""
        values = self._by_head(F.linear(x, self.lin_l.weight))
        target = self._by_head(self.lin_r(x)) + self.value_bias
        pairs = F.leaky_relu(grid.gather(values) + target.unsqueeze(2), self.negative_slope)
        return values, torch.einsum("bnshc,hc->bnsh", pairs, self.att.squeeze(0))
