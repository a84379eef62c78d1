"""``resgat extract``: from videos to face crops and a manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resgat_pl.core.lazy import lazy_names

if TYPE_CHECKING:
    from resgat_pl.data.extraction.command import extract as extract
    from resgat_pl.data.extraction.crop_video import Extraction as Extraction

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Extraction": "crop_video",
        "extract": "command",
    },
)
