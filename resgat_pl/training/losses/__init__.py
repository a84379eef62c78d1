"""Losses beside the detection loss: guidance by masks, mask head, bottleneck, restoration, silence, embedding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resgat_pl.core.lazy import lazy_names

if TYPE_CHECKING:
    from resgat_pl.training.losses.base import AuxiliaryLoss as AuxiliaryLoss, LossInput as LossInput
    from resgat_pl.training.losses.bottleneck import EdgeBottleneck as EdgeBottleneck
    from resgat_pl.training.losses.embedding import Alignment as Alignment, Uniformity as Uniformity
    from resgat_pl.training.losses.masks import MaskGuidance as MaskGuidance
    from resgat_pl.training.losses.node_mask import NodeMask as NodeMask
    from resgat_pl.training.losses.restoration import Restoration as Restoration
    from resgat_pl.training.losses.silence import Silence as Silence

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Alignment": "embedding",
        "AuxiliaryLoss": "base",
        "EdgeBottleneck": "bottleneck",
        "LossInput": "base",
        "MaskGuidance": "masks",
        "NodeMask": "node_mask",
        "Restoration": "restoration",
        "Silence": "silence",
        "Uniformity": "embedding",
    },
)
