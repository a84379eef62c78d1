"""Graph attention on a fixed grid, for a whole batch at once.

``gatv1`` is Veličković et al., "Graph Attention Networks" (ICLR 2018), ``gatv2`` is Brody et al., "How Attentive are
Graph Attention Networks?" (ICLR 2022). The paper's Eq. (2) as printed, aᵀLeakyReLU([W h_i ‖ W h_j]), separates into a
term of i and a term of j, so every target would rank its sources alike: *static* attention. Implemented, as in the
authors' code, is what Brody et al. define, aᵀLeakyReLU(W [h_i ‖ h_j]), in which the ranking depends on the target.

Parameters, their initialisation and their names are PyTorch Geometric's, and so is ``forward``, which runs one graph
given by an edge list; ``attend`` computes the same numbers densely, without a loop over images or a scatter.

GATv1 never projects its nodes. A score needs a_srcᵀ W x_j and a_dstᵀ W x_i, the mean over the graph W Σ_j A_j x_j, and
a contribution wᵀ W x_j, so W meets a few vectors per head (the attention's, the head's, one weighted sum of nodes an
image) instead of all N nodes: 49 times less arithmetic at 7×7, and the same numbers to float precision. GATv2 has no
such way round, because LeakyReLU stands between W and a.
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
    from torch_geometric.nn import GATConv, GATv2Conv, MessagePassing


class GraphState(NamedTuple):
    """Graph attention over the nodes of each image.

    Attributes:
        nodes: ``(B, N, F)`` float, the features x_j of the input.
        values: ``(B, N, heads, C)`` float, V_jk = W_k x_j without bias, of node j. None for GATv1, which never computes
            them; ``along`` serves both versions.
        scores: ``(B, N, 5, heads)`` float, attention before the softmax by target and slot (see ``Grid``); −∞ where
            there is no neighbour.
        attention: ``(B, N, 5, heads)`` float, α_ij,k: the softmax of ``scores`` over the slots, before dropout.
        pooled: ``(B, heads · C)`` float, the mean over the nodes of the layer's output, heads concatenated. None where
            only ``read`` was asked for and computed without it.
        read: ``(B, P)`` float, ``pooled`` along the directions that ``attend`` was given; None without any.
        sent: ``(B, N, heads)`` float, the weight of each node's value in N times the mean: attention after dropout,
            times the gates, summed over the node's targets.
        gate: ``(B, N)`` float in [0, 1], factor of each node's value; None without a gate. Constants are not gated.
        kept: ``(B, N, 5)`` float in [0, 1], factor of each edge's attention; None without a bottleneck.
        mask_logit: ``(B, N)`` float, logit of a node to be manipulated; None without a mask head.
        kept_logit: ``(B, N, 5)`` float, logit of an edge to be kept; None without a bottleneck.
    """

    nodes: Tensor
    values: Tensor | None
    scores: Tensor
    attention: Tensor
    pooled: Tensor | None
    read: Tensor | None = None
    sent: Tensor | None = None
    gate: Tensor | None = None
    kept: Tensor | None = None
    mask_logit: Tensor | None = None
    kept_logit: Tensor | None = None

    @property
    def weights(self) -> Tensor:
        """``(B, N, 5, heads)`` float, attention as far as edges are kept, before dropout."""
        return self.attention if self.kept is None else self.attention * self.kept.unsqueeze(-1)


class _OnGrid:
    """Batched evaluation, shared by both versions. The attributes are those of PyTorch Geometric's layers."""

    heads: int
    out_channels: int
    negative_slope: float
    dropout: float
    training: bool
    bias: Tensor

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        # PyTorch Geometric (2.8) puts generated code in the place of a class's propagate with its first layer, and
        # takes what it finds for the original, to which its explainers return: for a subclass, its parent's code.
        cls.propagate = MessagePassing.propagate  # type: ignore[attr-defined]

    @property
    def value_bias(self) -> Tensor | None:
        """``(heads, C)``, added to every value; None for GATv1."""
        return None

    @property
    def constant(self) -> Tensor:
        """``(heads · C,)``, the pooled output of nodes that send nothing: the biases of the layer and of its values."""
        return self.bias if self.value_bias is None else self.bias + self.value_bias.flatten()

    def constant_along(self, weight: Tensor) -> Tensor:
        """``constant`` along directions ``(P, heads · C)``, by head: ``(heads, P)`` float."""
        return (self._by_head(weight) * self._by_head(self.constant)).sum(dim=-1).T

    def attend(
        self,
        x: Tensor,
        grid: Grid,
        readout: Tensor | None = None,
        gate: Tensor | None = None,
        kept: Tensor | None = None,
    ) -> GraphState:
        """Run the layer on ``x (B, N, F)``, the nodes of B images, and average its output over the nodes.

        The mean over targets is taken before the values are summed: with A_jk = Σ_i α_ij,k it is
        (1/N) Σ_j A_jk V_jk + bias, one product instead of N aggregations. In training, dropout acts on the attention
        that is used here, not on the attention that is returned.

        With gates A_jk = m_j Σ_i α_ij,k e_ij, whose sum over j is no longer N. So they act on W_k x_j alone, and the
        bias of the values stays the constant that it is without: what is gated away says nothing at all.

        Args:
            x: Nodes.
            grid: Their grid.
            readout: ``(P, heads · C)`` float, directions along which alone the mean is needed, such as the weight of a
                linear head.
            gate: ``(B, N)`` float in [0, 1], m_j: factor of each node's value.
            kept: ``(B, N, 5)`` float in [0, 1], e_ij: factor of each edge's attention, by target and slot.
        """
        raise NotImplementedError  # a mixin: each version defines its own

    def along(self, graph: GraphState, weight: Tensor) -> Tensor:
        """Values of every node along directions: wᵀ V_jk without bias.

        Args:
            graph: From ``attend``.
            weight: ``(B, P, heads · C)`` float, or ``(1, P, heads · C)`` for the same directions in all images.

        Returns:
            ``(B, N, heads, P)`` float.
        """
        raise NotImplementedError

    def _attention(
        self, scores: Tensor, grid: Grid, gate: Tensor | None, kept: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """α ``(B, N, 5, heads)`` from scores; A ``(B, N, heads)`` after dropout, without gates and with them."""
        attention = scores.softmax(dim=2)
        dropped = F.dropout(attention, self.dropout, self.training)
        plain = sent = grid.sum_by_source(dropped)
        if kept is not None:
            sent = grid.sum_by_source(dropped * kept.unsqueeze(-1))
        return attention, plain, sent if gate is None else sent * gate.unsqueeze(-1)

    def _by_head(self, features: Tensor) -> Tensor:
        return features.reshape(*features.shape[:-1], self.heads, self.out_channels)


class GridGATConv(_OnGrid, GATConv):  # type: ignore[misc]  # torch_geometric has no types, so its classes are Any
    """GATv1 (Veličković et al. 2018): LeakyReLU(a_srcᵀ W h_j + a_dstᵀ W h_i).

    Example:
        >>> layer = GridGATConv(3, 4, heads=2)
        >>> state = layer.attend(torch.rand(1, 6, 3), Grid(2, 3))
        >>> state.attention.shape, state.pooled.shape
        (torch.Size([1, 6, 5, 2]), torch.Size([1, 8]))
    """

    def attend(
        self,
        x: Tensor,
        grid: Grid,
        readout: Tensor | None = None,
        gate: Tensor | None = None,
        kept: Tensor | None = None,
    ) -> GraphState:
        """See the base class."""
        # All vectors that W multiplies, in one product: W is read, and its gradient written, only once.
        vectors = [self.att_src, self.att_dst] + ([] if readout is None else [self._by_head(readout)])
        directions = torch.cat(vectors).transpose(0, 1) @ self._weight
        parts = F.linear(x, directions.flatten(0, 1)).reshape(*x.shape[:2], self.heads, -1)
        by_source, by_target = parts[..., 0], parts[..., 1]
        scores = F.leaky_relu(grid.gather(by_source) + by_target.unsqueeze(2), self.negative_slope)
        scores = scores.masked_fill(~grid.present.unsqueeze(-1), -torch.inf)
        attention, _, sent = self._attention(scores, grid, gate, kept)
        if readout is not None:
            read = (sent.unsqueeze(-1) * parts[..., 2:]).sum(dim=(1, 2)) / grid.num_nodes + readout @ self.bias
            return GraphState(x, None, scores, attention, None, read, sent, gate, kept)
        summed = (sent.transpose(1, 2) @ x) / grid.num_nodes
        # W is the left factor, so that its gradient comes out in W's own memory layout.
        pooled = (self._weight @ summed.permute(1, 2, 0)).permute(2, 0, 1)
        return GraphState(x, None, scores, attention, pooled.flatten(1) + self.bias, None, sent, gate, kept)

    def along(self, graph: GraphState, weight: Tensor) -> Tensor:
        """See the base class."""
        directions = torch.einsum("bphc,hcf->bhpf", self._by_head(weight), self._weight)
        sent = graph.nodes @ directions.flatten(1, 2).transpose(1, 2)
        return sent.reshape(*sent.shape[:2], self.heads, weight.shape[1])

    @property
    def _weight(self) -> Tensor:
        """W as ``(heads, C, F)``."""
        weight: Tensor = self.lin.weight
        return weight.view(self.heads, self.out_channels, -1)


class GridGCNConv(GridGATConv):
    """Learned values and uniform weights: what a graph without attention is worth.

    Each target takes the mean of its neighbours and itself: the mean aggregator of Hamilton et al., "Inductive
    Representation Learning on Large Graphs" (NeurIPS 2017), that is the convolution of Kipf and Welling (ICLR 2017)
    with D⁻¹(A + I) in the place of the symmetric D^-½(A + I)D^-½. Its attention is GATv1's with a = 0, so that
    everything that reads attention reads this; its heads differ in their values alone.

    Example:
        >>> layer = GridGCNConv(3, 4, heads=2)
        >>> state = layer.attend(torch.rand(1, 6, 3), Grid(2, 3))
        >>> state.attention[0, 0, :, 0]  # the upper left corner, itself, its right and its lower neighbour
        tensor([0.3333, 0.0000, 0.3333, 0.0000, 0.3333], grad_fn=<SelectBackward0>)
    """

    def __init__(self, in_channels: int, out_channels: int, heads: int = 1, dropout: float = 0.0) -> None:
        super().__init__(in_channels, out_channels, heads=heads, dropout=dropout)
        for name in ("att_src", "att_dst"):
            shape = getattr(self, name).shape
            delattr(self, name)
            self.register_buffer(name, torch.zeros(shape), persistent=False)  # nothing to learn or to store


class GridGATv2Conv(_OnGrid, GATv2Conv):  # type: ignore[misc]  # torch_geometric has no types, so its classes are Any
    """GATv2 (Brody et al. 2022): aᵀLeakyReLU(W_l h_j + W_r h_i), which is Eq. (2) with W outside the concatenation.

    Example:
        >>> layer = GridGATv2Conv(3, 4, heads=2)
        >>> state = layer.attend(torch.rand(1, 6, 3), Grid(2, 3))
        >>> state.attention.shape, state.pooled.shape
        (torch.Size([1, 6, 5, 2]), torch.Size([1, 8]))
    """

    @property
    def value_bias(self) -> Tensor:
        """``(heads, C)``, the bias of ``lin_l``."""
        return self._by_head(self.lin_l.bias)

    def attend(
        self,
        x: Tensor,
        grid: Grid,
        readout: Tensor | None = None,
        gate: Tensor | None = None,
        kept: Tensor | None = None,
    ) -> GraphState:
        """See the base class."""
        sources = F.linear(x, self.lin_l.weight)
        targets = self.lin_r(x) + self.lin_l.bias
        # All heads in one product: the matrix is mostly zeros, but the pairs need no other memory layout.
        heads = torch.eye(self.heads, dtype=self.att.dtype, device=self.att.device)
        matrix = (heads.unsqueeze(-1) * self.att).flatten(1)
        pairs = grid.add_neighbours(sources, targets)
        parts = [F.linear(F.leaky_relu(pair, self.negative_slope), matrix) for pair in pairs]
        scores = grid.stack_slots(parts, -torch.inf)
        attention, plain, sent = self._attention(scores, grid, gate, kept)
        values = self._by_head(sources)
        mean = torch.einsum("bnh,bnhc->bhc", sent, values) / grid.num_nodes
        mean = mean + plain.mean(dim=1).unsqueeze(-1) * self.value_bias
        pooled = mean.flatten(1) + self.bias
        read = None if readout is None else F.linear(pooled, readout)
        return GraphState(x, values, scores, attention, pooled, read, sent, gate, kept)

    def along(self, graph: GraphState, weight: Tensor) -> Tensor:
        """See the base class."""
        return torch.einsum("bnhc,bphc->bnhp", graph.values, self._by_head(weight))
