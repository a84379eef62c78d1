"""Read-outs of the graph attention itself."""

from __future__ import annotations

from torch import Tensor

from resgat_pl.types import ResGATOutput


def attention_map(output: ResGATOutput) -> Tensor:
    """The paper's node importance: attention averaged over heads, summed over a node's outgoing edges.

    It says how much the other nodes listen to a node, not whether what they hear speaks for *fake*, and perfectly
    uniform attention already draws a ring (border nodes have fewer neighbours). Read it beside the contributions.

    Returns:
        ``(B, N)`` float, 0 or more; its mean over the nodes is 1.
    """
    per_edge = output.attention.mean(dim=-1)
    nodes = int(output.edge_index.max()) + 1
    source = output.edge_index[0].expand_as(per_edge)
    return per_edge.new_zeros(len(per_edge), nodes).scatter_add_(1, source, per_edge)
