"""Pictures of explanations: overlays on faces, and sheets of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resgat_pl.core.lazy import lazy_names

if TYPE_CHECKING:
    from resgat_pl.explain.drawing.sheet import draw_sheet as draw_sheet

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "draw_sheet": "sheet",
    },
)
