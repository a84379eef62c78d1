"""The ledger of a clip: its logit as a sum over frames, nodes and temporal edges."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from resgat_pl.nn.gat import GraphState
from resgat_pl.nn.video.net import VideoResGAT


class Ledger(NamedTuple):
    """Decomposed logits of clips, in logits, positive towards fake: ``cell.sum((1, 2)) + bias`` is ``logit``.

    Attributes:
        logit: ``(B,)`` float.
        node: ``(B, T, N)`` float, what each node adds by itself.
        edge: ``(B, T, N, 2)`` float, what each node receives from the same place of the previous and of the next frame;
            0 without ``spacetime``.
        bias: ``(B,)`` float, computed from the parameters, never as the rest of the logit.

    Example:
        >>> net = VideoResGAT("mean", encoder="resnet18", encoder_stage=3, heads=2, hidden=4, image_size=64).eval()
        >>> found = clip_ledger(net, net.encode(torch.rand(1, 3, 3, 64, 64)))
        >>> found.cell.shape, torch.allclose(found.frame.sum(1) + found.bias, found.logit, atol=1e-5)
        (torch.Size([1, 3, 16]), True)
    """

    logit: Tensor
    node: Tensor
    edge: Tensor
    bias: Tensor

    @property
    def cell(self) -> Tensor:
        """``(B, T, N)``, nodes with what they receive over time."""
        return self.node + self.edge.sum(dim=-1)

    @property
    def frame(self) -> Tensor:
        """``(B, T)``, what each frame adds."""
        return self.cell.sum(dim=-1)

    def regions(self, weights: Tensor) -> Tensor:
        """``(B, T, R)``, what each region of each frame adds; ``weights (B, T, R, N)`` share out nodes and sum to 1."""
        return torch.einsum("btrn,btn->btr", weights.to(self.node.dtype), self.cell)


def clip_ledger(net: VideoResGAT, nodes: Tensor) -> Ledger:
    """Decompose the logits of clips with nodes ``(B, T, N, F)``, as ``net.encode`` gives them; one pass forward.

    z = b' + Σ_t Σ_j c_tj with c_tj = (1/N) Σ_k A_tjk (ω_tk · W_k x_tj), ω_t being the weight at which the temporal part
    takes the pooled features of frame t (``TemporalPart.linearise``), plus the differences over the temporal edges.

    Raises:
        ConfigError: The temporal part or the head has no additive form, or the number of nodes is not that of the grid.
    """
    clips = len(nodes)
    graph = net.graph(nodes.flatten(0, 1))
    frames = net.frames_of(graph, clips)
    weight, bias = net.temporal.linearise(net.head, frames)
    node, constant = _shares(net, graph, weight.flatten(0, 1))
    node = node.reshape(clips, -1, node.shape[1])
    edge = net.temporal.edges(frames)
    return Ledger(
        logit=net.temporal(net.head, frames),
        node=node,
        edge=node.new_zeros(*node.shape, 2) if edge is None else edge,
        bias=bias + constant.reshape(clips, -1).sum(dim=1),
    )


def _shares(net: VideoResGAT, graph: GraphState, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Shares of the nodes in weight · pooled of each frame, ``(B · T, N)``, and the rest ``(B · T,)``, from parameters.

    Args:
        net: The detector.
        graph: Of all frames.
        weight: ``(B · T, D)`` float.
    """
    value = net.gat.along(graph, weight.unsqueeze(1)).squeeze(-1) / net.grid.num_nodes
    return (net.grid.sum_by_source(graph.attention) * value).sum(dim=-1), weight @ net.gat.constant
