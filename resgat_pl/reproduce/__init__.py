"""The paper's table and figures, each run in a separate process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resgat_pl.core.lazy import lazy_names

if TYPE_CHECKING:
    from resgat_pl.reproduce.runs import reproduce as reproduce

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "reproduce": "runs",
    },
)
