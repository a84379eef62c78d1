"""The additive ledger of a graph: weight times value of every node and head, which with a bias add up to the logit."""

from __future__ import annotations

from typing import NamedTuple, cast

from torch import Tensor

from resgat_pl.nn.gat import GraphState, GridGATConv, GridGATv2Conv
from resgat_pl.nn.grid import Grid
from resgat_pl.nn.head import Head, NodeHead
from resgat_pl.nn.routing import NodeReading


class Ledger(NamedTuple):
    """Σ_jk m_j · A_jk · v_jk + b' is the logit, with m_j = 1 where nothing gates the nodes.

    Attributes:
        heard: ``(B, N, heads)`` float, A_jk = Σ_i α_ij,k e_ij: attention on node j, of the edges as far as they are
            kept.
        says: ``(B, N, heads)`` float in logits, v_jk: the value of the node along the head's weights, divided by N.
        where: ``(B, N)`` float in [0, 1], m_j; None without a gate.
        bias: ``(B,)`` float, b'.
        routing: ``(B, N, heads)`` float, see ``NodeReading``; None of most heads.
    """

    heard: Tensor
    says: Tensor
    where: Tensor | None
    bias: Tensor
    routing: Tensor | None = None

    @property
    def node(self) -> Tensor:
        """``(B, N)``, c_j."""
        return gated((self.heard * self.says).sum(dim=-1), self.where)


def gated(nodes: Tensor, where: Tensor | None) -> Tensor:
    """``nodes (B, N)`` times the gate, if there is one."""
    return nodes if where is None else nodes * where


def open_ledger(
    gat: GridGATConv | GridGATv2Conv, head: Head, grid: Grid, graph: GraphState, reading: NodeReading | None = None
) -> Ledger:
    """Enter weight, value and bias of a graph that ``gat`` has made.

    Args:
        gat: Its layer.
        head: The head that reads it.
        grid: Its grid.
        graph: The graph.
        reading: What a ``NodeHead`` has read in it, if that is known.

    Raises:
        ConfigError: The head has no additive form.
    """
    heard = grid.sum_by_source(graph.weights)
    if isinstance(head, NodeHead):
        found = read_nodes(gat, head, grid, graph) if reading is None else reading
        return Ledger(heard, found.value / grid.num_nodes, graph.gate, found.bias, found.routing)
    weight, bias = head.linearise(cast("Tensor", graph.pooled))  # None for a linear head alone, which needs none
    says = gat.along(graph, weight.unsqueeze(1)).squeeze(-1) / grid.num_nodes
    return Ledger(heard, says, graph.gate, (bias + weight @ gat.constant).expand(len(graph.nodes)))


def read_nodes(gat: GridGATConv | GridGATv2Conv, head: NodeHead, grid: Grid, graph: GraphState) -> NodeReading:
    """The answer of a head that reads the nodes one by one."""
    heard = graph.sent
    if heard is None:
        heard = grid.sum_by_source(graph.weights)
        heard = heard if graph.gate is None else heard * graph.gate.unsqueeze(-1)
    found: NodeReading = head(
        gat.along(graph, head.directions.unsqueeze(0)), heard / grid.num_nodes, gat.constant_along(head.directions)
    )
    return found
