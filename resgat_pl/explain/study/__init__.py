"""``resgat study``: pages for a user study of the maps, and the analysis of its answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resgat_pl.core.lazy import lazy_names

if TYPE_CHECKING:
    from resgat_pl.explain.study.command import study as study

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "study": "command",
    },
)
