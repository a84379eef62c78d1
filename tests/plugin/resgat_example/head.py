"""A linear head whose weight has length one."""

import torch
from torch import Tensor, nn

from resgat_pl.nn import Head


class UnitHead(Head):
    """Logit along a direction: (w · x) / ‖w‖ times a learnt scale, plus a bias."""

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(in_features))
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.bias = nn.Parameter(torch.tensor(0.0))

    def forward(self, pooled: Tensor) -> Tensor:
        """``(B, in_features)`` → logit ``(B,)``."""
        weight, bias = self.linearise(pooled)
        return (pooled * weight).sum(dim=1) + bias

    def linearise(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Weight ``(1, in_features)`` and bias ``(1,)``, for all images alike."""
        return (self.scale * self.weight / self.weight.norm())[None], self.bias[None]
