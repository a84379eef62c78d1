"""From the pooled graph to one logit."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

HeadKind = Literal["linear", "mlp"]


class LocalLinear(NamedTuple):
    """The head as a linear function around its input: ``logit = weight·x + bias``, exactly at that input.

    Attributes:
        weight: ``(B, F)``.
        bias: ``(B,)``.
    """

    weight: Tensor
    bias: Tensor


class LinearHead(nn.Linear):
    """One linear layer to one logit, as in the authors' code.

    Args:
        features: Length of the pooled vector.
    """

    def __init__(self, features: int) -> None:
        super().__init__(features, 1)

    def forward(self, pooled: Tensor) -> Tensor:
        """``(B, features)`` → logit ``(B,)``."""
        return super().forward(pooled).squeeze(-1)

    def local_linear(self, pooled: Tensor) -> LocalLinear:
        """The layer itself, the same for every input."""
        return LocalLinear(self.weight.expand(len(pooled), -1), self.bias.expand(len(pooled)))


class MLPHead(nn.Module):
    """One hidden layer with ReLU.

    Args:
        features: Length of the pooled vector.
        hidden: Length of the hidden layer.
    """

    def __init__(self, features: int, hidden: int = 256) -> None:
        super().__init__()
        self.hidden = nn.Linear(features, hidden)
        self.out = nn.Linear(hidden, 1)

    def forward(self, pooled: Tensor) -> Tensor:
        """``(B, features)`` → logit ``(B,)``."""
        logit: Tensor = self.out(F.relu(self.hidden(pooled)))
        return logit.squeeze(-1)

    def local_linear(self, pooled: Tensor) -> LocalLinear:
        """The linear piece that the input lies in: hidden units that are off drop out."""
        active = (self.hidden(pooled) > 0) * self.out.weight  # (B, hidden)
        return LocalLinear(active @ self.hidden.weight, active @ self.hidden.bias + self.out.bias)


def build_head(kind: HeadKind, features: int) -> LinearHead | MLPHead:
    """Make the head of this kind."""
    return LinearHead(features) if kind == "linear" else MLPHead(features)
