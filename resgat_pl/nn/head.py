"""Classification heads: from the pooled graph to one logit, positive meaning fake."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn


class LinearHead(nn.Linear):
    """The paper's head: one linear layer.

    Args:
        in_features: heads × hidden.
    """

    def __init__(self, in_features: int) -> None:
        super().__init__(in_features, 1)

    def forward(self, pooled: Tensor | None, read: Tensor | None = None) -> Tensor:
        """``(B, in_features)`` → logit ``(B,)``.

        Args:
            pooled: May be None if ``read`` is given.
            read: ``(B, 1)``, ``pooled`` along this layer's weight, where it is known already.
        """
        return (super().forward(cast("Tensor", pooled)) if read is None else read + self.bias).squeeze(-1)

    def linearise(self, pooled: Tensor | None) -> tuple[Tensor, Tensor]:
        """Weight ``(1, in_features)`` and bias ``(1,)`` with logit = weight · pooled + bias, for all images alike."""
        return self.weight, self.bias


class MLPHead(nn.Module):
    """Linear, ReLU, dropout, linear.

    Args:
        in_features: heads × hidden.
        width: Hidden units.
        dropout: Probability of dropping a hidden unit in training.
    """

    def __init__(self, in_features: int, width: int = 128, dropout: float = 0.0) -> None:
        super().__init__()
        self.hidden = nn.Linear(in_features, width)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width, 1)

    def forward(self, pooled: Tensor, read: Tensor | None = None) -> Tensor:
        """``(B, in_features)`` → logit ``(B,)``; ``read`` is for a linear head only."""
        logit: Tensor = self.out(self.dropout(self.hidden(pooled).relu()))
        return logit.squeeze(-1)

    def linearise(self, pooled: Tensor | None) -> tuple[Tensor, Tensor]:
        """Weight ``(B, in_features)`` and bias ``(B,)`` with logit = weight · pooled + bias, without dropout.

        The head is piecewise linear: the weight is its Jacobian at ``pooled``, and the bias is computed from the
        parameters of the hidden units that are on there.
        """
        if pooled is None:
            raise ValueError("the local linear form of an MLP depends on where it is taken")
        on = self.hidden(pooled) > 0
        weight = on * self.out.weight
        return weight @ self.hidden.weight, weight @ self.hidden.bias + self.out.bias
