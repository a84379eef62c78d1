"""Losses beside the detection loss: masks, gates, restoration, silence, embedding, kinds and regions, attacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resgat_pl.core.lazy import lazy_names

if TYPE_CHECKING:
    from resgat_pl.training.losses.adversarial import Trades as Trades
    from resgat_pl.training.losses.base import AuxiliaryLoss as AuxiliaryLoss, LossInput as LossInput
    from resgat_pl.training.losses.bottleneck import EdgeBottleneck as EdgeBottleneck
    from resgat_pl.training.losses.embedding import Alignment as Alignment, Uniformity as Uniformity
    from resgat_pl.training.losses.masks import MaskGuidance as MaskGuidance
    from resgat_pl.training.losses.node_mask import NodeMask as NodeMask
    from resgat_pl.training.losses.outputs import Kinds as Kinds, Regions as Regions
    from resgat_pl.training.losses.restoration import Restoration as Restoration
    from resgat_pl.training.losses.silence import Silence as Silence

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Alignment": "embedding",
        "AuxiliaryLoss": "base",
        "EdgeBottleneck": "bottleneck",
        "Kinds": "outputs",
        "LossInput": "base",
        "MaskGuidance": "masks",
        "NodeMask": "node_mask",
        "Regions": "outputs",
        "Restoration": "restoration",
        "Silence": "silence",
        "Trades": "adversarial",
        "Uniformity": "embedding",
    },
)
