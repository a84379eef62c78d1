"""Pictures of explanations: overlays on faces, and figures that compare methods."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resgat_pl.core.lazy import lazy_names

if TYPE_CHECKING:
    from resgat_pl.explain.drawing.comparison import draw_comparison as draw_comparison

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "draw_comparison": "comparison",
    },
)
