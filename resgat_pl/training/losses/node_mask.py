"""The mask head's loss: what it says of each node against the manipulation masks."""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor

from resgat_pl.core.errors import ConfigError
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.training.losses.base import AuxiliaryLoss, LossInput
from resgat_pl.training.losses.masks import Target, node_targets


class NodeMask(AuxiliaryLoss):
    """Binary cross-entropy of a node's mask m_j against the share of its cell that was manipulated.

    Faces of which it is not known what was manipulated take no part. All nodes of a genuine face are clean. The target
    is the share itself, so that m_j, drawn over the pixels between the nodes, is as large as the mask is there.

    Args:
        weight: More than 0.
        target: Of ``MaskGuidance``.

    Raises:
        ConfigError: The weight is out of range, or the target is unknown.

    Example:
        >>> NodeMask(weight=0.5).needs_masks
        True
    """

    name = "node_mask"
    needs_masks = True

    def __init__(self, weight: float = 1.0, target: Target = "area") -> None:
        super().__init__(weight)
        if target not in {"area", "seam", "both"}:
            raise ConfigError(f"NodeMask.target is {target!r}; it must be area, seam or both.")
        self.target: Target = target

    def check_net(self, net: ResGAT) -> None:
        """See base class."""
        if net.node_gate is None:
            raise ConfigError("model.losses has NodeMask, but net.mask_head is none: set it to aux or gate.")

    def __call__(self, step: LossInput) -> Tensor:
        """See base class."""
        logits = cast("Tensor", step.graph.mask_logit)
        cover = node_targets(step, step.batch["mask"], self.target).to(logits.dtype)
        known = step.batch["mask_known"][:, None].to(logits.dtype).expand_as(logits)
        losses = F.binary_cross_entropy_with_logits(logits, cover, weight=known, reduction="sum")
        return losses / known.sum().clamp(min=1)
