"""Self-blends: fakes made of genuine crops while training, or once for validation and test, with their masks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resgat_pl.core.lazy import lazy_names

if TYPE_CHECKING:
    from resgat_pl.data.self_blends.blender import Pair as Pair, SelfBlend as SelfBlend
    from resgat_pl.data.self_blends.held_out import BlendSummary as BlendSummary, blend as blend

__getattr__, __dir__ = lazy_names(
    __name__, {"BlendSummary": "held_out", "Pair": "blender", "SelfBlend": "blender", "blend": "held_out"}
)
