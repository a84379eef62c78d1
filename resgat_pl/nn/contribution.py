"""The logit as a sum over nodes, or over edges: exact, signed and differentiable."""

from __future__ import annotations

from typing import NamedTuple, cast

from torch import Tensor, nn

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.types import ResGATOutput
from resgat_pl.nn.gat import GraphState
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.nn.unwrap import unwrap


class Contributions(NamedTuple):
    """A decomposed prediction; everything is in logits, positive towards fake.

    ``node.sum(1) + bias`` and ``edge.sum(1) + bias`` are the logit, to float precision. In training with dropout the
    logit is random; these then describe the network without dropout.

    Attributes:
        output: The prediction itself.
        node: ``(B, N)`` float, c_j: attention times value of node j.
        edge: ``(B, E)`` float, the same by edge, in the order of ``output.edge_index``; summed over the outgoing edges
            of a node they give ``node``.
        evidence: ``(B, N)`` float, v_j: the contribution of node j if the attention on it, summed over its targets,
            were 1 in every head. The factor of ``node`` that attention cannot damp.
        bias: ``(B,)`` float, b': the logit without any node; with a head that is not linear, that of its linear form
            here. It is computed from the parameters, never as the rest of the logit, so the sums above can be checked.

    Example:
        >>> import torch
        >>> net = ResGAT(encoder="resnet18", encoder_stage=3, heads=2, hidden=4, image_size=64).eval()
        >>> found = contributions(net, torch.rand(1, 3, 64, 64))
        >>> torch.allclose(found.node.sum(1) + found.bias, found.output.logit, atol=1e-5)
        True
    """

    output: ResGATOutput
    node: Tensor
    edge: Tensor
    evidence: Tensor
    bias: Tensor


def contributions(model: nn.Module, images: Tensor) -> Contributions:
    """Decompose the logits of ``images (B, 3, H, W)`` float in [0, 1], RGB, in one forward pass.

    Args:
        model: A ``ResGAT``, compiled, distributed or held by a module as it may be.
        images: What to decompose.

    Raises:
        ConfigError: The images are too small for a grid of 2×2 nodes, there is no ``ResGAT`` in the model, or its head
            has no additive form.
    """
    net = unwrap(model, wanted=ResGAT)
    if not isinstance(net, ResGAT):
        raise ConfigError(f"Contributions are of the graph of a ResGAT, and this network is a {type(net).__name__}.")
    return decompose(net, net.graph(net.encode(images)))


def decompose(model: ResGAT, graph: GraphState) -> Contributions:
    """Decompose the logits of graphs that ``model.graph`` has just made.

    z = b' + Σ_j c_j with c_j = (1/N) Σ_k A_jk (w_k · W_k x_j) and A_jk = Σ_i α_ij,k: after the attention nothing is
    non-linear but an MLP head, which is replaced by its local linear form, and the length by which a normalised head
    divides, which is taken as it is. Since Σ_j A_jk = N in every head, the bias
    that GATv2 adds to each value adds a constant to the logit, so it is part of b' and of no node. A head from outside
    gives its own form, see ``nn.head``.

    Raises:
        ConfigError: The head has no additive form.
    """
    grid = model.grid
    weight, bias = model.head.linearise(cast("Tensor", graph.pooled))  # None for a linear head alone, which needs none
    value = model.gat.along(graph, weight.unsqueeze(1)).squeeze(-1) / grid.num_nodes
    constant = model.gat.bias
    if model.gat.value_bias is not None:
        constant = constant + model.gat.value_bias.flatten()
    return Contributions(
        output=model.classify(graph),
        node=(grid.sum_by_source(graph.attention) * value).sum(dim=-1),
        edge=(grid.to_edges(graph.attention) * value.index_select(1, grid.edge_index[0])).sum(dim=-1),
        evidence=value.sum(dim=-1),
        bias=(bias + weight @ constant).expand(len(graph.nodes)),
    )
