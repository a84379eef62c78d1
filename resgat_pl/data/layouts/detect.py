"""Layouts by name, and detection of the layout that a folder has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Final

from resgat_pl.core.errors import DatasetNotFoundError, LayoutError
from resgat_pl.core.parts import errors_of, find_part, installed_parts
from resgat_pl.data.layouts.base import Layout, check_root, contents, entries
from resgat_pl.data.layouts.celebdf import CelebDF
from resgat_pl.data.layouts.crop_lists import CropLists
from resgat_pl.data.layouts.dfdc import DFDC
from resgat_pl.data.layouts.dfdc_preview import DFDCPreview
from resgat_pl.data.layouts.ffpp import FFPP
from resgat_pl.data.layouts.folder import Folder
from resgat_pl.data.layouts.lookalike import advice
from resgat_pl.data.layouts.pairs import Pairs

LAYOUTS: Final[tuple[type[Layout], ...]] = (FFPP, DFDC, DFDCPreview, CelebDF, CropLists, Folder, Pairs)
"""The layouts of this package. Those of installed packages (entry points ``resgat_pl.layouts``) are detected, too; any
other subclass of ``Layout`` can be given by its class path."""


def installed_layouts() -> list[type[Layout]]:
    """Layouts that installed packages add.

    Raises:
        ConfigError: A package fails, or adds something else.

    Example:
        >>> [kind.name for kind in installed_layouts()]  # doctest: +SKIP
        ['two_folders']
    """
    return [find_part("layout", name, Layout, {}) for name in sorted(installed_parts("layout"))]


@cache
def layout_of(dataset: str) -> type[Layout] | None:
    """The layout whose records have this name of a data set: of this package, imported, or installed.

    Raises:
        ConfigError: An installed package fails.

    Example:
        >>> layout_of("dfdc").__name__, layout_of("unknown")
        ('DFDC', None)
    """
    known = (*LAYOUTS, *_derived(Layout), *installed_layouts())  # type: ignore[type-abstract]  # its subclasses
    return next((kind for kind in known if _name_of(kind) == dataset), None)


@cache
def default_layout(dataset: str) -> Layout | None:
    """The layout of a data set with its default options; None where it is not here, or cannot do without any.

    Example:
        >>> default_layout("dfdc").people
        False
    """
    kind = layout_of(dataset)
    try:
        return None if kind is None else kind()
    except TypeError:
        return None


def detect_layout(root: str | Path) -> Layout:
    """Find the layout of a data set, with that layout's default options.

    Raises:
        DatasetNotFoundError: The root is missing, a file or empty, or no layout fits. When a folder next to it
            would fit, the message names it.
        LayoutError: More than one layout fits.
    """
    root = check_root(root)
    kinds = (*LAYOUTS, *installed_layouts())
    fitting = _fitting(root, kinds)
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = " and ".join(layout.name for layout in fitting)
        raise LayoutError(
            f"{root} fits more than one layout ({names}): choose one with --layout, or keep the data sets apart."
        )
    looked_for = "; ".join(f"{layout.name}: {layout.expected}" for layout in kinds)
    msg = f"No known data set layout in {root}. Looked for {looked_for}. Found {contents(root)}."
    children = _children(root)
    fit = [folder for folder in children if _fitting(folder, kinds)]
    if len(fit) > 1:
        names = ", ".join(f"{folder.name}/" for folder in fit[:4])
        raise DatasetNotFoundError(f"{msg} {len(fit)} folders in it fit, each alone ({names}): give one of them.")
    nearby = next((folder for folder in (*fit, root.parent) if _fitting(folder, kinds)), None)
    grandchildren = (folder for child in children for folder in _children(child))
    nearby = nearby or next((folder for folder in grandchildren if _fitting(folder, kinds)), None)
    if nearby is not None:
        msg += f" Did you mean {nearby}?"
    elif found := advice(root):
        msg += f" {found}"
    raise DatasetNotFoundError(msg)


def _fitting(root: Path, kinds: Sequence[type[Layout]]) -> list[Layout]:
    fitting = []
    for kind in kinds:
        with errors_of("layout", kind):
            layout = kind()
            if layout.matches(root):
                fitting.append(layout)
    return fitting


def _derived(kind: type[Layout]) -> Iterator[type[Layout]]:
    for each in kind.__subclasses__():
        yield each
        yield from _derived(each)


def _name_of(kind: type[Layout]) -> str | None:
    return getattr(kind, "name", None)  # a class between a layout and its base may have none


def _children(root: Path) -> list[Path]:
    return [root / name for name in entries(root).folders[:20]]
