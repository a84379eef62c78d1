"""Losses of the embedding: pooled features of one class alike, and all of them spread over the sphere."""

from __future__ import annotations

from torch import Tensor

from resgat_pl.nn.embedding_losses import alignment_loss, uniformity_loss
from resgat_pl.training.losses.base import AuxiliaryLoss, LossInput


class Alignment(AuxiliaryLoss):
    """Squared distance between pooled directions of one class, see ``nn.embedding_losses.alignment_loss``.

    Example:
        >>> Alignment(weight=0.1).name
        'alignment'
    """

    name = "alignment"

    def __call__(self, step: LossInput) -> Tensor:
        """See base class."""
        return alignment_loss(step.pooled, step.batch["label"])


class Uniformity(AuxiliaryLoss):
    """Logarithm of the mean potential of pooled directions, see ``nn.embedding_losses.uniformity_loss``.

    Example:
        >>> Uniformity(weight=0.5).name
        'uniformity'
    """

    name = "uniformity"

    def __call__(self, step: LossInput) -> Tensor:
        """See base class."""
        return uniformity_loss(step.pooled)
