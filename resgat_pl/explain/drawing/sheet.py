"""The one layout of pictures of explanations: strips of panels, each with its colour bar."""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import cv2
import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from resgat_pl.core.storage import write_atomic
from resgat_pl.explain.drawing.overlay import Scale, SheetFace, draw_outline, scales_of

Format = Literal["png", "pdf"]
SIDE: Final = 256
"""Pixels of a panel's side in the file, whatever its picture has."""
_TITLE, _TEXT = 9.0, 7.5  # points
_STYLE: Final[dict[str, Any]] = {"fontsize": _TEXT, "parse_math": False}  # a dollar sign in a name is no formula
_LETTERS: Final = 72 / (0.52 * _TEXT)  # of text in an inch
_BESIDE: Final = 1.8  # inches for the names on the left and the colour bars on the right
# Nothing in a file may depend on the day or on the release of matplotlib that wrote it.
_ANONYMOUS: Final[dict[Format, dict[str, None]]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


@dataclass(frozen=True)
class Strip:
    """Pictures in a row, or in a column of an upright sheet.

    Attributes:
        name: Text on the left, or above.
        panels: ``(S, S, 3)`` uint8 RGB each.
        titles: Text above each panel, or on its left.
        heading: Text above a row, over its whole width.
        scale: Colours of the maps in the panels, for a bar on the right, or below.
        unit: Text beside the bar.
    """

    name: str
    panels: Sequence[NDArray[np.uint8]]
    titles: Sequence[str] = ()
    heading: str = ""
    scale: Scale | None = None
    unit: str = ""


def draw_sheet(
    strips: Sequence[Strip],
    title: str,
    formats: Sequence[Format] = ("png",),
    panel: float = 1.4,
    dpi: int = 110,
    upright: bool = False,
) -> list[bytes]:
    """Draw strips of panels, each with its colour bar; the same arguments give the same bytes.

    Args:
        strips: At least one.
        title: Text on top.
        formats: What to write.
        panel: Side of a panel in inches.
        dpi: Pixels per inch of a PNG file.
        upright: Strips are columns beside each other, not rows below each other.

    Returns:
        The content of a file for each format.
    """
    longest = max(len(strip.panels) for strip in strips)
    across, down = (len(strips), longest) if upright else (longest, len(strips))
    width = across * panel + _BESIDE
    # Journals refuse matplotlib's default, fonts of Type 3; a style of the user's own must not change the figure.
    with style.context(["default", {"pdf.fonttype": 42}]), warnings.catch_warnings():
        # A file may be named in a script that matplotlib's font does not have; boxes stand for it then.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from", category=UserWarning)
        figure = Figure(layout="compressed")
        figure.suptitle(_filled(title, width * _TEXT / _TITLE), fontsize=_TITLE, parse_math=False)
        axes = figure.subplots(1 if upright else down, across if upright else 1, squeeze=False).ravel()
        lines = [_draw(figure, axis, strip, longest, panel, upright) for axis, strip in zip(axes, strips, strict=True)]
        texts = max(lines) + 6 if upright else sum(lines) + 2  # below an upright sheet are its colour bars
        figure.set_size_inches(width, down * (panel + 0.1) + texts * _TEXT * 1.3 / 72)
        files = [io.BytesIO() for _ in formats]
        for file, kind in zip(files, formats, strict=True):
            figure.savefig(file, format=kind, dpi=dpi, bbox_inches="tight", metadata=_ANONYMOUS[kind])
    return [file.getvalue() for file in files]


def _draw(figure: Figure, axes: Axes, strip: Strip, longest: int, panel: float, upright: bool) -> int:
    """Draw a strip; return the lines of text that make its row higher."""
    # The panels, as one picture: axes for each take matplotlib seconds.
    blank, gap = np.full((SIDE, SIDE, 3), 255, np.uint8), SIDE // 40
    border = ((0, gap), (0, 0), (0, 0)) if upright else ((0, 0), (0, gap), (0, 0))
    panels = [*map(_sized, strip.panels), *[blank] * (longest - len(strip.panels))]
    bordered = [np.pad(picture, border, constant_values=255) for picture in panels]
    mosaic = np.vstack(bordered) if upright else np.hstack(bordered)
    axes.imshow(mosaic, interpolation="none", extent=(0, mosaic.shape[1] / SIDE, mosaic.shape[0] / SIDE, 0))
    axes.set(xticks=[], yticks=[], frame_on=False)

    # What is written around them.
    titles = [_filled(text, panel) for text in strip.titles]
    middles = [place * (SIDE + gap) / SIDE + 0.5 for place in range(len(titles))]
    for middle, text in zip(middles, titles, strict=True):
        place, offset = ((0, middle), (-3, 0)) if upright else ((middle, 0), (0, 3))
        turned = {"rotation": 90, "ha": "right", "va": "center"} if upright else {"ha": "center", "va": "bottom"}
        axes.annotate(text, place, offset, textcoords="offset points", multialignment="center", **turned, **_STYLE)
    above = 0 if upright else max((text.count("\n") + 1 for text in titles), default=0)
    name = _filled(strip.name, panel)
    heading = name if upright else _filled(strip.heading, longest * panel)
    axes.set_title(heading, _STYLE, loc="center" if upright else "left", pad=5 + above * _TEXT * 1.3)
    axes.set_ylabel("" if upright else name, _STYLE)

    # The colour bar.
    if strip.scale is not None:
        bar = figure.colorbar(
            strip.scale.mappable, ax=axes, location="bottom" if upright else "right", pad=0.01, aspect=12
        )
        bar.set_label(_filled(strip.unit, panel), **_STYLE)
        bar.ax.tick_params(labelsize=_TEXT - 1)
        for axis in (bar.ax.xaxis, bar.ax.yaxis):
            axis.get_offset_text().set_fontsize(_TEXT - 1)
    return above + (heading.count("\n") + 1 if heading else 0)


def save_sheet(faces: Sequence[SheetFace], path: Path, title: str, columns: int = 8) -> None:
    """Write a PNG file with faces side by side, every map below them.

    Args:
        faces: At least one.
        path: PNG file; its folder must exist.
        title: Text on top.
        columns: Faces in a band.
    """
    scales = scales_of(faces)
    strips = []
    for start in range(0, len(faces), columns):
        band = faces[start : start + columns]
        name = "face, outline: manipulated" if any(face.mask is not None for face in band) else "face"
        strips.append(Strip(name, [outlined(face.image, face.mask) for face in band], [face.title for face in band]))
        strips += [
            Strip(name, [face.overlay(name, it) for face in band], scale=it, unit="logit" if it.low < 0 else "")
            for name, it in scales.items()
        ]
    write_atomic(path, draw_sheet(strips, title)[0])


def outlined(image: NDArray[np.uint8], mask: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """A face ``(S, S, 3)`` uint8 RGB as a panel, with the outline of its manipulation mask ``(S, S)`` if it has one."""
    panel = _sized(image)
    if mask is not None:
        draw_outline(panel, cv2.resize(mask, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR) > 127)
    return panel


def _filled(text: str, inches: float) -> str:
    """A text with lines of at most a width."""
    lines = text.splitlines()
    return "\n".join(textwrap.fill(line, max(1, int(inches * _LETTERS))) for line in lines)


def _sized(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture with the pixels of a panel."""
    smaller = picture.shape[0] > SIDE
    sized = cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)
    return sized.astype(np.uint8, copy=False)
