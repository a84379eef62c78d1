"""The table of crops: one row per crop, its schema, reading, validation and cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resgat_pl.core.lazy import lazy_names

if TYPE_CHECKING:
    from resgat_pl.data.manifest.class_counts import ClassCounts as ClassCounts
    from resgat_pl.data.manifest.schema import SCHEMA as SCHEMA
    from resgat_pl.data.manifest.table import Manifest as Manifest

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "ClassCounts": "class_counts",
        "Manifest": "table",
        "SCHEMA": "table",
    },
)
