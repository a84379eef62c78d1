"""``resgat check``: the audit of a data set before hours are spent on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resgat_pl.core.lazy import lazy_names

if TYPE_CHECKING:
    from resgat_pl.data.check.command import check as check

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "check": "command",
    },
)
