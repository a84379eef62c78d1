"""resgat app: verdicts and reports in a browser, on this machine, without a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resgat_pl.core.lazy import lazy_names

if TYPE_CHECKING:
    from resgat_pl.explain.app.command import app as app

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "app": "command",
    },
)
