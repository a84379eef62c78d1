"""The bottleneck's loss: how much the gates of the edges say beyond a prior."""

from __future__ import annotations

import math
from typing import cast

import torch.nn.functional as F
from torch import Tensor

from resgat_pl.core.errors import ConfigError
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.training.losses.base import AuxiliaryLoss, LossInput


class EdgeBottleneck(AuxiliaryLoss):
    """Kullback-Leibler divergence of the edges' gates from a prior, in nats, mean over the edges.

    Of an edge that is kept with probability p it is p log(p/r) + (1 − p) log((1 − p)/(1 − r)) (Miao et al., "GSAT",
    ICML 2022): a gate at r says nothing about its edge, so only edges that the verdict needs stand out.

    Args:
        weight: More than 0.
        prior: r, in (0, 1).

    Raises:
        ConfigError: A value is out of range.

    Example:
        >>> EdgeBottleneck(weight=0.1, prior=0.7).name
        'edge_kl'
    """

    name = "edge_kl"

    def __init__(self, weight: float = 1.0, prior: float = 0.5) -> None:
        super().__init__(weight)
        if not 0 < prior < 1:
            raise ConfigError(f"EdgeBottleneck.prior is {prior}; a probability is above 0 and below 1.")
        self.prior = prior

    def check_net(self, net: ResGAT) -> None:
        """See base class."""
        if net.edge_gate is None:
            raise ConfigError("model.losses has EdgeBottleneck, but net.bottleneck is false: set it to true.")

    def __call__(self, step: LossInput) -> Tensor:
        """See base class."""
        logits = step.net.grid.to_edges(cast("Tensor", step.graph.kept_logit)).float()
        kept = logits.sigmoid()
        entropy = F.softplus(logits) - kept * logits  # from logits, so that it is finite where a gate is certain
        return -(entropy + kept * math.log(self.prior) + (1 - kept) * math.log(1 - self.prior)).mean()
