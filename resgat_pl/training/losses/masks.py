"""Guidance: contributions trained to lie on the manipulation masks, on their area, their seam, or both."""

from __future__ import annotations

from typing import Final, Literal

from torch import Tensor

from resgat_pl.core.errors import ConfigError
from resgat_pl.nn.mask_guidance import guidance_loss, seam_of
from resgat_pl.training.losses.base import AuxiliaryLoss, LossInput

Target = Literal["area", "seam", "both"]

_SEAM: Final = 4.0
"""The seam crosses a cell as a line: that much of its share counts as the share of an area."""


class MaskGuidance(AuxiliaryLoss):
    """Binary cross-entropy of the nodes' contributions against the masks, see ``nn.mask_guidance``.

    Args:
        weight: More than 0.
        target: ``area``: the nodes that the mask covers. ``seam``: those that its rim crosses, where blending leaves
            its traces. ``both``: either.

    Example:
        >>> MaskGuidance(weight=2, target="both").needs_masks
        True
    """

    name = "mask_loss"
    needs_masks = True

    def __init__(self, weight: float = 1.0, target: Target = "area") -> None:
        super().__init__(weight)
        if target not in {"area", "seam", "both"}:
            raise ConfigError(f"MaskGuidance.target is {target!r}; it must be area, seam or both.")
        self.target: Target = target

    def __call__(self, step: LossInput) -> Tensor:
        """See base class."""
        cover = node_targets(step, step.batch["mask"], self.target)
        return guidance_loss(step.found.node, cover, step.batch["mask_known"])


def node_targets(step: LossInput, mask: Tensor, target: Target) -> Tensor:
    """Share ``(B, N)`` of each node's cell that is to be found, of masks ``(B, H, W)`` float in [0, 1]."""
    area = step.levels.cover(mask)
    if target == "area":
        return area
    seam = (step.levels.cover(seam_of(mask)) * _SEAM).clamp(max=1)
    return seam if target == "seam" else seam.maximum(area)
