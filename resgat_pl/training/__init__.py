"""Training with Lightning, and runs that survive crashes, signals and full disks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resgat_pl.core.lazy import lazy_names

if TYPE_CHECKING:
    from resgat_pl.training.module import ResGATModule as ResGATModule

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "ResGATModule": "module",
    },
)
