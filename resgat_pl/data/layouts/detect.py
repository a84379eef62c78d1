"""Detection of the layout that a folder has."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from resgat_pl.core.errors import DatasetNotFoundError, LayoutError
from resgat_pl.data.layouts.base import Layout, check_root, contents, entries
from resgat_pl.data.layouts.celebdf import CelebDF
from resgat_pl.data.layouts.crop_lists import CropLists
from resgat_pl.data.layouts.dfdc import DFDC
from resgat_pl.data.layouts.dfdc_preview import DFDCPreview
from resgat_pl.data.layouts.ffpp import FFPP
from resgat_pl.data.layouts.folder import Folder
from resgat_pl.data.layouts.lookalike import advice

LAYOUTS: Final[tuple[type[Layout], ...]] = (FFPP, DFDC, DFDCPreview, CelebDF, CropLists, Folder)
"""The layouts that are detected; any other subclass of ``Layout`` can be given by its class path."""


def detect_layout(root: str | Path) -> Layout:
    """Find the layout of a data set, with that layout's default options.

    Raises:
        DatasetNotFoundError: The root is missing, a file or empty, or no layout fits. When a folder next to it
            would fit, the message names it.
        LayoutError: More than one layout fits.
    """
    root = check_root(root)
    fitting = _fitting(root)
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = " and ".join(layout.name for layout in fitting)
        raise LayoutError(
            f"{root} fits more than one layout ({names}): choose one by its class, or keep the data sets apart."
        )
    looked_for = "; ".join(f"{layout.name}: {layout.expected}" for layout in LAYOUTS)
    msg = f"No known data set layout in {root}. Looked for {looked_for}. Found {contents(root)}."
    children = _children(root)
    fit = [folder for folder in children if _fitting(folder)]
    if len(fit) > 1:
        names = ", ".join(f"{folder.name}/" for folder in fit[:4])
        raise DatasetNotFoundError(f"{msg} {len(fit)} folders in it fit, each alone ({names}): give one of them.")
    nearby = next((folder for folder in (*fit, root.parent) if _fitting(folder)), None)
    nearby = nearby or next((folder for child in children for folder in _children(child) if _fitting(folder)), None)
    if nearby is not None:
        msg += f" Did you mean {nearby}?"
    elif found := advice(root):
        msg += f" {found}"
    raise DatasetNotFoundError(msg)


def _fitting(root: Path) -> list[Layout]:
    return [layout for layout in (kind() for kind in LAYOUTS) if layout.matches(root)]


def _children(root: Path) -> list[Path]:
    return [root / name for name in entries(root).folders[:20]]
