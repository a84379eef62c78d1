"""From videos on disk to batches of face crops: layouts, extraction, manifest, splits, loading."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resgat_pl.core import opencv_version
from resgat_pl.core.lazy import lazy_names

if TYPE_CHECKING:
    from resgat_pl.data.datamodule import FaceDataModule as FaceDataModule
    from resgat_pl.data.extraction.command import extract as extract
    from resgat_pl.data.manifest.table import Manifest as Manifest

opencv_version.require()  # another release finds other boxes, and so gives other scores

__getattr__, __dir__ = lazy_names(
    __name__,
    {"FaceDataModule": "datamodule", "Manifest": "manifest.table", "extract": "extraction.command"},
)
