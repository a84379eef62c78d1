"""The one layout of pictures of explanations: rows of panels, faces from left to right and maps from top to bottom."""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import cv2
import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from resgat_pl.core.storage import write_atomic
from resgat_pl.explain.drawing.overlay import Scale, SheetFace, scales_of

Format = Literal["png", "pdf"]
SIDE: Final = 256
"""Pixels of a panel's side in the file, whatever its picture has."""
_TITLE, _TEXT = 9.0, 7.5  # points
_LETTERS: Final = 72 / (0.55 * _TEXT)  # of text in an inch
_BESIDE: Final = 1.8  # inches for the names on the left and the colour bars on the right
# Nothing in a file may depend on the day or on the release of matplotlib that wrote it.
_ANONYMOUS: Final[dict[Format, dict[str, None]]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


@dataclass(frozen=True)
class PanelRow:
    """Pictures side by side.

    Attributes:
        name: Text on the left.
        panels: ``(S, S, 3)`` uint8 RGB each.
        titles: Text above each panel.
        heading: Text above the row, over its whole width.
        scale: Colours of the maps in the panels, for a bar on the right.
        unit: Text beside the bar.
    """

    name: str
    panels: Sequence[NDArray[np.uint8]]
    titles: Sequence[str] = ()
    heading: str = ""
    scale: Scale | None = None
    unit: str = ""


def draw_sheet(
    rows: Sequence[PanelRow], title: str, formats: Sequence[Format] = ("png",), panel: float = 1.4, dpi: int = 110
) -> list[bytes]:
    """Draw rows of panels, each with its colour bar; the same arguments give the same bytes.

    Args:
        rows: At least one.
        title: Text on top.
        formats: What to write.
        panel: Side of a panel in inches.
        dpi: Pixels per inch of a PNG file.

    Returns:
        The content of a file for each format.
    """
    columns = max(len(row.panels) for row in rows)
    width = columns * panel + _BESIDE
    # Journals refuse matplotlib's default, fonts of Type 3; a style of the user's own must not change the figure.
    with style.context(["default", {"pdf.fonttype": 42}]), warnings.catch_warnings():
        # A file may be named in a script that matplotlib's font does not have; boxes stand for it then.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from", category=UserWarning)
        figure = Figure(layout="compressed")
        figure.suptitle(_filled(title, width * _TEXT / _TITLE), fontsize=_TITLE, parse_math=False)
        axes = figure.subplots(len(rows), squeeze=False)[:, 0]
        lines = sum(_draw_row(figure, axis, row, columns, panel) for axis, row in zip(axes, rows, strict=True))
        figure.set_size_inches(width, len(rows) * (panel + 0.1) + (lines + 2) * _TEXT * 1.3 / 72)
        files = [io.BytesIO() for _ in formats]
        for file, kind in zip(files, formats, strict=True):
            figure.savefig(file, format=kind, dpi=dpi, bbox_inches="tight", metadata=_ANONYMOUS[kind])
    return [file.getvalue() for file in files]


def save_sheet(faces: Sequence[SheetFace], path: Path, title: str, columns: int = 8) -> None:
    """Write a PNG file with faces side by side, every map below them.

    Args:
        faces: At least one.
        path: PNG file; its folder must exist.
        title: Text on top.
        columns: Faces in a band.
    """
    scales = scales_of(faces)
    rows = []
    for start in range(0, len(faces), columns):
        band = faces[start : start + columns]
        rows.append(PanelRow("face", [outlined(face.image, face.mask) for face in band], [face.title for face in band]))
        rows += [PanelRow(name, [face.overlay(name, it) for face in band], scale=it) for name, it in scales.items()]
    write_atomic(path, draw_sheet(rows, title)[0])


def outlined(image: NDArray[np.uint8], mask: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """A face ``(S, S, 3)`` uint8 RGB as a panel, with the outline of its manipulation mask ``(S, S)`` if it has one."""
    panel = _sized(image)
    if mask is not None:
        inside = (cv2.resize(mask, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR) > 127).astype(np.uint8)
        contours = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
        for colour, thickness in (((0, 0, 0), 4), ((0, 224, 90), 2)):  # seen on bright and on dark skin
            cv2.drawContours(panel, contours, -1, colour, thickness)
    return panel


def _draw_row(figure: Figure, axes: Axes, row: PanelRow, columns: int, panel: float) -> int:
    """Draw a row; return the lines of text above it."""
    gap = np.full((SIDE, SIDE // 40, 3), 255, np.uint8)
    blank = np.full((SIDE, SIDE, 3), 255, np.uint8)
    panels = [*map(_sized, row.panels), *[blank] * (columns - len(row.panels))]
    mosaic = np.hstack([part for picture in panels for part in (picture, gap)])[:, : -gap.shape[1]]
    step = (SIDE + gap.shape[1]) / SIDE  # in panels
    axes.imshow(mosaic, interpolation="none", extent=(0, mosaic.shape[1] / SIDE, 0, 1))
    axes.set(xticks=[], yticks=[], frame_on=False)
    axes.set_ylabel(_filled(row.name, panel), fontsize=_TEXT, parse_math=False)
    titles = [_filled(title, panel) for title in row.titles]
    for place, text in enumerate(titles):
        axes.text(place * step + 0.5, 1.02, text, fontsize=_TEXT, ha="center", va="bottom", parse_math=False)
    above = max((text.count("\n") + 1 for text in titles), default=0)
    heading = _filled(row.heading, columns * panel)
    axes.set_title(heading, loc="left", fontsize=_TEXT, pad=6 + above * _TEXT * 1.3, parse_math=False)
    if row.scale is not None:
        bar = figure.colorbar(row.scale.mappable, ax=axes, pad=0.01, aspect=12)
        bar.set_label(_filled(row.unit, panel), fontsize=_TEXT, parse_math=False)
        bar.ax.tick_params(labelsize=_TEXT - 1)
        bar.ax.yaxis.get_offset_text().set_fontsize(_TEXT - 1)
    return above + (heading.count("\n") + 1 if heading else 0)


def _filled(text: str, inches: float) -> str:
    """A text with lines of at most a width."""
    lines = text.splitlines()
    return "\n".join(textwrap.fill(line, max(1, int(inches * _LETTERS))) for line in lines)


def _sized(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture with the pixels of a panel."""
    smaller = picture.shape[0] > SIDE
    sized = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)
    return sized.astype(np.uint8, copy=False)
