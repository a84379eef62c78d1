"""Layouts of data sets on disk: one file per layout; each turns a root folder into an index of videos."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resgat_pl.core.lazy import lazy_names

if TYPE_CHECKING:
    from resgat_pl.data.layouts.base import Layout as Layout
    from resgat_pl.data.layouts.celebdf import CelebDF as CelebDF
    from resgat_pl.data.layouts.crop_lists import CropLists as CropLists
    from resgat_pl.data.layouts.detect import LAYOUTS as LAYOUTS, detect_layout as detect_layout
    from resgat_pl.data.layouts.dfdc import DFDC as DFDC
    from resgat_pl.data.layouts.dfdc_preview import DFDCPreview as DFDCPreview
    from resgat_pl.data.layouts.ffpp import FFPP as FFPP
    from resgat_pl.data.layouts.folder import Folder as Folder
    from resgat_pl.data.layouts.pairs import Pairs as Pairs

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "CelebDF": "celebdf",
        "CropLists": "crop_lists",
        "DFDC": "dfdc",
        "DFDCPreview": "dfdc_preview",
        "FFPP": "ffpp",
        "Folder": "folder",
        "LAYOUTS": "detect",
        "Layout": "base",
        "Pairs": "pairs",
        "detect_layout": "detect",
    },
)
