"""``resgat extract``: from videos to face crops and a manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resgat_pl.core.lazy import lazy_names

if TYPE_CHECKING:
    from resgat_pl.data.extraction.command import extract as extract
    from resgat_pl.data.extraction.settings import Extraction as Extraction
    from resgat_pl.data.extraction.summary import ExtractionSummary as ExtractionSummary

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Extraction": "settings",
        "ExtractionSummary": "summary",
        "extract": "command",
    },
)
