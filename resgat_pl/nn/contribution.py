"""The logit as a sum over nodes, or over edges: exact, signed and differentiable."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.types import ResGATOutput
from resgat_pl.nn.gat import GraphState
from resgat_pl.nn.head import NodeHead
from resgat_pl.nn.ledger import gated, open_ledger, read_nodes
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.nn.routing import NodeReading
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
        where: ``(B, N)`` float in [0, 1], m_j, the first of the three factors of ``node``, Σ_k m_j A_jk v_jk; None
            where nothing gates the nodes, and there are two.
        heard: ``(B, N, heads)`` float, A_jk, the second: the attention on node j, summed over its targets.
        says: ``(B, N, heads)`` float in logits, v_jk, the third: what node j says through head k, divided by N.
        mask: ``(B, N)`` float in [0, 1], the network's own mask of what is manipulated; None without a mask head. Of
            ``mask_head: aux`` it is no part of the logit, of ``gate`` it is ``where``.
        kept: ``(B, E)`` float in [0, 1], how far each edge is kept, see ``output.edge_index``; None without a
            bottleneck.
        routing: ``(B, N)`` float in [-1, 1], the mean over the heads of the share of a node's vote that goes to *fake*
            less that to *real*; None without capsules.
        level: ``(N,)`` int64, 0 of the nodes of the finer grid and 1 of those of the coarser; None of a graph of one
            grid. ``levels`` of the network brings numbers of nodes to one map.

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
    where: Tensor | None = None
    heard: Tensor | None = None
    says: Tensor | None = None
    mask: Tensor | None = None
    kept: Tensor | None = None
    routing: Tensor | None = None
    level: Tensor | None = None


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
    gives its own form, see ``nn.head``; capsules are a sum over the nodes at their routing coefficients, see
    ``nn.routing``. Gates are further factors of a node's value, and leave the constant alone: A_jk = Σ_i α_ij,k e_ij
    with an edge bottleneck, and c_j = (1/N) m_j Σ_k A_jk (w_k · W_k x_j) with a mask gate.

    Raises:
        ConfigError: The head has no additive form.
    """
    head, grid = model.head, model.grid
    reading: NodeReading | None = None
    if isinstance(head, NodeHead):
        # With dropout the logit is random, and the shares are those without.
        state = graph._replace(sent=None) if model.training and model.gat.dropout else graph
        reading = read_nodes(model.gat, head, grid, state)
    output = model.classify(graph) if reading is None or state is not graph else model.answer(reading.logit, graph)
    ledger = open_ledger(model.gat, head, grid, graph, reading)
    source = grid.edge_index[0]
    said = ledger.says.index_select(1, source)
    edge = (grid.to_edges(graph.weights) * said).sum(dim=-1)
    where = ledger.where
    return Contributions(
        output=output,
        node=ledger.node,
        edge=edge if where is None else edge * where.index_select(1, source),
        evidence=gated(ledger.says.sum(dim=-1), where),
        bias=ledger.bias,
        where=where,
        heard=ledger.heard,
        says=ledger.says,
        mask=None if graph.mask_logit is None else graph.mask_logit.sigmoid(),
        kept=None if graph.kept is None else grid.to_edges(graph.kept),
        routing=None if ledger.routing is None else ledger.routing.mean(dim=-1),
        level=grid.level,
    )
