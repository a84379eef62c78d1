"""``resgat explain``: the verdict on a user's own media, as HTML, JSON and pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resgat_pl.core.lazy import lazy_names

if TYPE_CHECKING:
    from resgat_pl.explain.report.command import explain as explain

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "explain": "command",
    },
)
