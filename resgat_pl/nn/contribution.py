"""The logit as an exact sum over the graph's nodes and edges.

With one attention layer, the mean over nodes and a linear head,

    z = b' + Σ_j c_j,   c_j = (1/N) Σ_k A_jk · v_jk,   v_jk = w_k · W_k x_j,   A_jk = Σ_i α_ijk

where k runs over heads and w_k is the head's slice of the linear layer; per edge c_ij = (1/N) Σ_k α_ijk · v_jk. W_k is
taken without its bias: Σ_j A_jk = N for every head, so the bias adds the constant Σ_k w_k·b_k, which belongs in b'.
b' is computed from the parameters, never as z - Σ c_j: a gap that is zero by construction would prove nothing.

The contributions take α as it is; how α itself would change if a node were gone is another question.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from resgat_pl.nn.resgat import ResGAT
from resgat_pl.types import ResGATOutput


class Contributions(NamedTuple):
    """Signed parts of the logit; positive speaks for fake. All can be differentiated.

    Attributes:
        output: The prediction that is explained.
        node: ``(B, N)`` c_j in logits; ``node.sum(1) + bias`` is the logit.
        edge: ``(B, E)`` c_ij in logits, in the order of ``output.edge_index``; the edges out of j sum to c_j.
        bias: ``(B,)`` b' in logits.
        evidence: ``(B, N)`` mean over heads of v_jk, in logits per unit of attention: what a node says, however much
            it is listened to.
    """

    output: ResGATOutput
    node: Tensor
    edge: Tensor
    bias: Tensor
    evidence: Tensor


def contributions(net: ResGAT, images: Tensor) -> Contributions:
    """Predict and decompose in one forward pass.

    With the MLP head, w is its local slope: the sum still is the logit, but only for this input.

    Args:
        net: The detector. With attention dropout it must be in evaluation mode, else the parts do not add up.
        images: ``(B, 3, H, W)`` float in [0, 1], RGB.
    """
    return decompose(net, net.encode(images))


def decompose(net: ResGAT, features: Tensor) -> Contributions:
    """Like ``contributions``, from node features ``(B, N, F)`` of ``net.encode``."""
    graph = net.graph(features)
    local = net.head.local_linear(graph.pooled)
    weight = local.weight.reshape(len(features), net.gat.heads, net.gat.out_channels)  # w_k
    spoken = torch.einsum("bhc,bnhc->bnh", weight, graph.values)
    bias = local.bias
    if net.gat.bias is not None:
        bias = bias + local.weight @ net.gat.bias
    if net.gat.value_bias is not None:
        constant = (weight * net.gat.value_bias.view(weight.shape[1:])).sum(dim=-1)  # w_k·b_k, (B, heads)
        spoken = spoken - constant[:, None]  # now v_jk
        bias = bias + constant.sum(dim=1)
    nodes = net.grid.nodes
    source = net.grid.edge_index[0]
    return Contributions(
        output=net.output(net.head(graph.pooled), graph),
        node=(graph.received * spoken).sum(dim=-1) / nodes,
        edge=(graph.attention * spoken[:, source]).sum(dim=-1) / nodes,
        bias=bias,
        evidence=spoken.mean(dim=-1),
    )
