"""A printable figure that compares explanations: a row a face, a column a method."""

from __future__ import annotations

import io
import math
import os
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from numpy.typing import NDArray

from resgat_pl.core.errors import ConfigError
from resgat_pl.explain.drawing.overlay import Scale, overlay, spread
from resgat_pl.nn.node_geometry import Lattice

OUTLINE = "#00e05a"
"""Colour of the outline of what was manipulated: in neither of the colour maps."""
_SIDE = 256  # pixels of a panel's side, whatever the faces have: 160 to 370 per inch in print
_DPI = 300  # of the PNG file
_TITLE, _TEXT, _SMALL, _LEAST = 9.0, 7.5, 6.5, 5.5  # points
_GAP, _UNIT = 0.04, 0.27  # inches, like all lengths; _UNIT is from the panels to the unit below the bar


@dataclass(frozen=True)
class Column:
    """The maps of one method.

    Attributes:
        title: Text above the column.
        maps: ``(B, h, w)`` float32, a map a face, of nodes or of pixels.
        signed: True draws on a diverging scale that is symmetric about zero, False from the least value to the most.
        unit: Text below the colour bar, if any.
        lattice: Where the nodes are; None for maps of pixels.
    """

    title: str
    maps: NDArray[np.float32]
    signed: bool
    unit: str = ""
    lattice: Lattice | None = None

    def heat(self, face: int) -> NDArray[np.float32]:
        """A face's map at the resolution of a panel."""
        if self.lattice is None:
            return _resized(self.maps[face], _SIDE)
        return spread(self.maps[face], self.lattice, (_SIDE, _SIDE))

    @property
    def scale(self) -> Scale:
        """One scale for all faces, so that colours compare between the rows."""
        if self.signed:
            most = float(np.abs(self.maps).max()) or 1.0
            return Scale(-most, most, "RdBu_r")
        low, high = float(self.maps.min()), float(self.maps.max())
        return Scale(low, high if high > low else low + 1.0, "magma")


def draw_comparison(
    images: NDArray[np.uint8],
    row_titles: Sequence[str],
    columns: Sequence[Column],
    path: Path,
    title: str,
    masks: Sequence[NDArray[np.uint8] | None] | None = None,
) -> tuple[Path, Path]:
    """Write a PNG and a PDF file: for each face a row with the face itself and every map over it.

    Each column has one colour scale over all faces, whose bar stands below it. The bar shows the pure colours; on the
    faces they are blended with the grey picture. The same arguments give the same bytes, and both files are complete
    before either gets its name.

    Args:
        images: ``(B, S, S, 3)`` uint8 RGB.
        row_titles: Text left of each face.
        columns: The methods, from left to right.
        path: Where to write; its suffix is replaced, its folder must exist.
        title: Text on top; may be empty.
        masks: For each face its ``(S, S)`` uint8 manipulation mask, above 127 where manipulated, or None; outlined on
            the face itself.

    Returns:
        The PNG and the PDF file.

    Raises:
        ConfigError: The arguments do not belong together, or a map has values that are not finite.
    """
    masks = [None] * len(images) if masks is None else masks
    _check(images, row_titles, columns, masks)
    png, pdf = path.with_suffix(".png"), path.with_suffix(".pdf")
    # Journals refuse matplotlib's default, fonts of Type 3; a style of the user's own must not change the figure.
    with style.context(["default", {"pdf.fonttype": 42}]):
        figure = _draw(images, row_titles, columns, title, masks)
        raster = _printed(FigureCanvasAgg(figure).print_png, {"Software": None})
        vector = _printed(FigureCanvasPdf(figure).print_pdf, {"CreationDate": None, "Creator": None, "Producer": None})
    _write({png: raster, pdf: vector})
    return png, pdf


def _check(
    images: NDArray[np.uint8],
    row_titles: Sequence[str],
    columns: Sequence[Column],
    masks: Sequence[NDArray[np.uint8] | None],
) -> None:
    if images.ndim != 4 or images.shape[3] != 3 or not len(images) or images.dtype != np.uint8:
        raise ConfigError(
            f"The images are {images.shape} {images.dtype}; give at least one face as (B, S, S, 3) uint8, RGB."
        )
    counts = {"row_titles": len(row_titles), "masks": len(masks)}
    counts |= {f"the maps of column {column.title!r}": len(column.maps) for column in columns}
    for name, count in counts.items():
        if count != len(images):
            raise ConfigError(f"There are {len(images)} faces but {count} in {name}; give one for each face.")
    for column in columns:
        if column.maps.ndim != 3 or not np.isfinite(column.maps).all():
            raise ConfigError(
                f"The maps of column {column.title!r} are {column.maps.shape} with "
                f"{int((~np.isfinite(column.maps)).sum())} values that are not finite; give finite maps (B, h, w)."
            )
        if column.lattice is not None and column.lattice.shape != column.maps.shape[1:]:
            raise ConfigError(
                f"The maps of column {column.title!r} are {column.maps.shape}, its nodes {column.lattice.shape}."
            )
    for mask in masks:
        if mask is not None and mask.shape != images.shape[1:3]:
            raise ConfigError(f"A mask is {mask.shape}, its face {images.shape[1:3]}; give masks of the faces' size.")


@dataclass(frozen=True)
class _Layout:
    """Where everything is, in inches from the lower left corner: the panels decide, so that rows stay aligned."""

    rows: int
    panels: int
    panel: float
    left: float
    bottom: float
    width: float
    height: float

    def axes(self, figure: Figure, x: float, y: float, width: float, height: float) -> Axes:
        """Axes without frame at a place in inches."""
        axes = figure.add_axes((x / self.width, y / self.height, width / self.width, height / self.height))
        axes.axis("off")
        return axes

    def at(self, row: int, column: int) -> tuple[float, float]:
        """Lower left corner of a panel."""
        step = self.panel + _GAP
        return self.left + column * step, self.bottom + (self.rows - 1 - row) * step


def _draw(
    images: NDArray[np.uint8],
    row_titles: Sequence[str],
    columns: Sequence[Column],
    title: str,
    masks: Sequence[NDArray[np.uint8] | None],
) -> Figure:
    rows, panels = len(images), len(columns) + 1
    # The width of a page of two columns and, as far as the text stays legible, its height.
    panel = min(1.6, max(0.7, min(7.0 / panels, 9.0 / rows)))
    beside, beside_size = _fitted(row_titles, panel, _TEXT)
    above, above_size = _fitted(["Face", *(column.title for column in columns)], panel, _TEXT)
    left = _lines(beside, beside_size) + 2 * _GAP
    below, below_size = _fitted([_unit(column) for column in columns], panel, _SMALL)
    bottom = _UNIT + (_lines(below, below_size) if any(below) else 0.0) + _GAP
    width = left + panels * (panel + _GAP)
    (heading,), heading_size = _fitted([title], width - 2 * _GAP, _TITLE)
    height = bottom + rows * (panel + _GAP) + _lines(above, above_size) + 2 * _GAP
    height += _lines([heading], heading_size) + _GAP if title else 0.0
    layout = _Layout(rows, panels, panel, left, bottom, width, height)
    figure = Figure(figsize=(width, height), dpi=_DPI)
    if title:
        _text(figure, layout, width / 2, height - _GAP, heading, heading_size, va="top")
    top = layout.at(0, 0)[1] + panel + 1.5 * _GAP
    for place, text in enumerate(above):
        _text(figure, layout, layout.at(0, place)[0] + panel / 2, top, text, above_size, va="baseline")
    faces = [_resized(image, _SIDE).astype(np.uint8) for image in images]
    for row, (face, text, mask) in enumerate(zip(faces, beside, masks, strict=True)):
        x, y = layout.at(row, 0)
        _text(figure, layout, x - _GAP, y + panel / 2, text, beside_size, ha="right", va="center", rotation=90)
        axes = layout.axes(figure, x, y, panel, panel)
        axes.imshow(face, interpolation="none", extent=(0, 1, 0, 1))
        if mask is not None:
            _outline(axes, mask)
        for place, column in enumerate(columns, start=1):
            picture = overlay(face, column.heat(row), column.scale)
            axes = layout.axes(figure, *layout.at(row, place), panel, panel)
            axes.imshow(picture, interpolation="none", extent=(0, 1, 0, 1))
    for place, (column, unit) in enumerate(zip(columns, below, strict=True), start=1):
        x = layout.at(0, place)[0]
        _bar(figure, layout, x, column)
        _text(figure, layout, x + panel / 2, bottom - _UNIT, unit, below_size, va="top")
    if any(mask is not None for mask in masks):
        _text(figure, layout, left + panel / 2, bottom - 2 * _GAP, "outline:\nmanipulated", _SMALL, va="top")
    return figure


def _resized(picture: NDArray[np.generic], side: int) -> NDArray[np.float32]:
    """Resize smoothly to ``side × side``, within the values that were there."""
    smaller = min(picture.shape[:2]) >= side
    values = picture.astype(np.float32)
    resized = cv2.resize(values, (side, side), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)
    return np.clip(resized, values.min(), values.max()).astype(np.float32)  # a cubic overshoots


def _outline(axes: Axes, mask: NDArray[np.uint8]) -> None:
    bordered = np.pad(_resized(mask, _SIDE), 1)  # closes the outline of what reaches the border
    if bordered.max() <= 127:
        return  # for want of a contour, older releases of matplotlib warn and draw another
    centres = (np.arange(-1, _SIDE + 1) + 0.5) / _SIDE
    for colour, width in (("black", 1.6), (OUTLINE, 0.9)):
        axes.contour(centres, 1 - centres, bordered, levels=[127.5], colors=[colour], linewidths=[width])
    axes.set(xlim=(0, 1), ylim=(0, 1))


def _bar(figure: Figure, layout: _Layout, x: float, column: Column) -> None:
    scale, panel = column.scale, layout.panel
    axes = layout.axes(figure, x, layout.bottom - 0.13, panel, 0.08)
    colours = scale.mappable.to_rgba(np.linspace(scale.low, scale.high, _SIDE))
    axes.imshow(colours[None], aspect="auto", interpolation="none", extent=(0, 1, 0, 1))
    power = _power(scale)
    ends = [(x, scale.low, "left"), (x + panel, scale.high, "right")]
    for place, value, align in [*ends, *([(x + panel / 2, 0.0, "center")] if column.signed else [])]:
        _text(figure, layout, place, layout.bottom - 0.22, _number(value / 10**power), _SMALL, ha=align, va="baseline")


def _unit(column: Column) -> str:
    power = _power(column.scale)
    return " ".join(filter(None, [f"×10{_superscript(power)}" if power else "", column.unit]))


def _power(scale: Scale) -> int:
    """Power of ten to take out of a scale's numbers, so that they stay short."""
    most = max(abs(scale.low), abs(scale.high))
    exponent = math.floor(math.log10(most)) if most > 0 else 0
    return exponent if exponent < -1 or exponent > 3 else 0


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", "−")


def _superscript(power: int) -> str:
    return str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _text(
    figure: Figure,
    layout: _Layout,
    x: float,
    y: float,
    text: str,
    size: float,
    ha: str = "center",
    va: str = "center",
    rotation: float = 0,
) -> None:
    figure.text(
        x / layout.width,
        y / layout.height,
        text,
        fontsize=size,
        ha=ha,
        va=va,
        rotation=rotation,
        linespacing=1.1,
        multialignment="center",
        parse_math=False,  # a dollar sign in a video's name is no formula
    )


def _fitted(texts: Sequence[str], inches: float, points: float) -> tuple[list[str], float]:
    """Break the texts into lines of a width; rather than to break a word, make all of them somewhat smaller."""
    longest = max((_length(word, points) for text in texts for word in text.split()), default=0.0)
    points = max(_LEAST, points * min(1.0, inches / longest)) if longest else points
    return ["\n".join(_filled(line, inches, points) for line in text.splitlines()) for text in texts], points


def _filled(line: str, inches: float, points: float) -> str:
    widths = range(len(line), 0, -1)
    lines = (textwrap.fill(line, width) for width in widths)
    fits = (text for text in lines if all(_length(part, points) <= inches for part in text.splitlines()))
    return next(fits, line)


def _length(text: str, points: float) -> float:
    """Length in inches of one line of text."""
    return float(text_to_path.get_text_width_height_descent(text, FontProperties(size=points), ismath=False)[0]) / 72


def _lines(texts: Sequence[str], points: float) -> float:
    """Height of the one with most lines, in inches."""
    return max(text.count("\n") + 1 for text in texts) * points / 72 * 1.25


def _printed(write: Callable[..., None], without: Mapping[str, None]) -> bytes:
    """What a canvas writes, without the date and the version that it would add."""
    file = io.BytesIO()
    write(file, metadata=without)
    return file.getvalue()


def _write(contents: Mapping[Path, bytes]) -> None:
    unfinished = {path.with_name(f".{path.name}.part"): path for path in contents}
    try:
        for part, path in unfinished.items():
            part.write_bytes(contents[path])
            with part.open("rb") as file:
                os.fsync(file.fileno())  # else a power cut may leave an empty file of the final name
        for part, path in unfinished.items():
            part.replace(path)
    finally:
        for part in unfinished:
            part.unlink(missing_ok=True)
