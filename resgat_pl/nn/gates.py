"""Gates of the graph: one for each node, whether it is manipulated, and one for each edge, whether it is needed."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

from resgat_pl.nn.grid import Grid

_OPEN: Final = 2.0
"""Logit of an untrained edge's gate: 0.88 is let through, so training begins near the network without gates."""
_WIDTH: Final = 32
_SMALLEST: Final = 1e-6


class NodeGate(nn.Linear):
    """One layer on each node's features, the 1×1 convolution of a segmentation head: is this node manipulated?

    Shapes:
        ``(B, N, F)`` float → logits ``(B, N)`` float; their sigmoid is m_j.

    Args:
        in_features: F.

    Example:
        >>> NodeGate(8)(torch.rand(2, 49, 8)).shape
        torch.Size([2, 49])
    """

    def __init__(self, in_features: int) -> None:
        super().__init__(in_features, 1)

    def forward(self, nodes: Tensor) -> Tensor:
        """See the class."""
        return super().forward(nodes).squeeze(-1)


class EdgeGate(nn.Module):
    """Gate of each edge, from the features of its two ends, self-loops included.

    After Miao et al., "Interpretable and Generalizable Graph Learning via Stochastic Attention Mechanism" (GSAT, ICML
    2022): in training a gate is drawn from a binary concrete distribution, so that the detector learns to do without
    edges; in evaluation it is the probability itself. ``training.losses.EdgeBottleneck`` pulls it to a prior.

    Args:
        in_features: F, of a node.

    Example:
        >>> gate, grid = EdgeGate(8), Grid(2, 3)
        >>> gate(torch.rand(2, 6, 8), grid).shape
        torch.Size([2, 6, 5])
    """

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.sources = nn.Linear(in_features, _WIDTH)
        self.targets = nn.Linear(in_features, _WIDTH, bias=False)
        self.out = nn.Linear(_WIDTH, 1)
        nn.init.constant_(self.out.bias, _OPEN)

    def forward(self, nodes: Tensor, grid: Grid) -> Tensor:
        """Logits ``(B, N, 5)`` float by target and slot of ``nodes (B, N, F)``; in absent slots they mean nothing."""
        pairs = grid.gather(self.sources(nodes)) + self.targets(nodes).unsqueeze(2)
        logits: Tensor = self.out(pairs.relu())
        return logits.squeeze(-1)

    def kept(self, logits: Tensor) -> Tensor:
        """Share in (0, 1) of each edge's message that is let through: drawn in training, else the probability."""
        if not self.training:
            return logits.sigmoid()
        uniform = torch.rand_like(logits, dtype=torch.promote_types(logits.dtype, torch.float32))
        uniform = uniform.clamp(_SMALLEST, 1 - _SMALLEST)
        return (logits + uniform.logit()).sigmoid().to(logits.dtype)
