"""The maps of a document as PNG files: a sheet of its faces, and single overlays."""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from resgat_pl.core.storage import write_atomic
from resgat_pl.explain.drawing.overlay import Scale, overlay, spread
from resgat_pl.explain.report.document import Document, FaceFrame, FaceTrack, Method
from resgat_pl.explain.report.verdict import headline
from resgat_pl.nn.node_geometry import Lattice

_SHOWN: Final = 8
"""Frames of a face on a sheet."""
# Lengths on a sheet in px
_PANEL: Final = 176
_GAP: Final = 6
_LEFT: Final = 34
_RIGHT: Final = 100
_LINE: Final = 17
_DPI: Final = 110


def write_sheet(document: Document, path: Path) -> None:
    """Draw every face: up to eight of its frames side by side, below each the map of every method.

    What limits the verdict is above them, since a picture is passed on alone. Colours follow the document's scales, so
    they mean the same in every frame and face.

    Args:
        document: With at least one face, and the crops in it.
        path: PNG file; its folder must exist.
    """
    columns = min(_SHOWN, max(len(track.frames) for track in document.tracks))
    width = _LEFT + max(columns, 4) * (_PANEL + _GAP) + _RIGHT
    sentences = [textwrap.wrap(f"Face {track.number}. {track.sentence}", width // 7) for track in document.tracks]
    rows = 1 + len(document.methods)
    heights = [_LINE * (len(lines) + 2) + rows * (_PANEL + _GAP) for lines in sentences]
    limits = [*document.notes, document.checkpoint.trained_on]
    noted = [line for text in limits for line in textwrap.wrap(text, width // 7)]
    sheet = _Sheet(width, (2 + len(noted)) * _LINE + sum(heights))
    name = textwrap.shorten(document.file, 60, placeholder="…")
    sheet.write(width / 2, 1.2 * _LINE, f"{name}: {headline(document)}", size=11, ha="center")
    for number, line in enumerate(noted, 2):
        sheet.write(_GAP, (0.3 + number) * _LINE, line)
    top = (2 + len(noted)) * _LINE
    for track, lines, height in zip(document.tracks, sentences, heights, strict=True):
        for number, line in enumerate(lines, 1):
            sheet.write(_GAP, top + number * _LINE, line)
        _draw(sheet, document, track, columns, top + (len(lines) + 2) * _LINE)
        top += height
    sheet.save(path)


def write_overlays(document: Document, folder: Path) -> list[Path]:
    """Write each map over its face, ``face1_frame000012_Contribution.png``, and return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for track in document.tracks:
        for frame in track.frames:
            for method in document.methods:
                drawn = _overlay(document, frame, method, scale_of(method, float(_nodes(frame, method).min())))
                path = folder / f"face{track.number}_frame{frame.index:06d}_{method.name}.png"
                write_atomic(path, cv2.imencode(".png", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))[1].tobytes())
                written.append(path)
    return written


def scale_of(method: Method, lowest: float = 0.0) -> Scale:
    """The colours of a method; ``lowest`` is its least value, since an unsigned one may be negative too."""
    if method.signed or lowest < 0:
        return Scale(-method.scale, method.scale, "RdBu_r")
    return Scale(0.0, method.scale, "magma")


class _Sheet:
    """A picture to put pictures and words on, in px from the top left.

    Without axes: forty of them take matplotlib seconds, longer than everything else.
    """

    def __init__(self, width: int, height: int) -> None:
        self.height = height
        self.figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI)
        FigureCanvasAgg(self.figure)

    def put(self, left: int, top: int, picture: NDArray[np.uint8]) -> None:
        self.figure.figimage(picture, left, self.height - top - len(picture))

    def write(self, left: float, bottom: float, words: str, size: float = 8, ha: str = "left", turn: float = 0) -> None:
        width = self.figure.get_figwidth() * _DPI
        self.figure.text(
            left / width, 1 - bottom / self.height, words, fontsize=size, ha=ha, va="center" if turn else "baseline",
            rotation=turn, parse_math=False,
        )  # fmt: skip

    def save(self, path: Path) -> None:
        with warnings.catch_warnings():
            # A file may be named in a script that matplotlib's font does not have; boxes stand for it then.
            warnings.filterwarnings("ignore", message=r"Glyph .* missing from", category=UserWarning)
            file = io.BytesIO()
            self.figure.savefig(file, format=path.suffix[1:])
        write_atomic(path, file.getvalue())


def _draw(sheet: _Sheet, document: Document, track: FaceTrack, columns: int, top: int) -> None:
    """Draw a face, the upper edge of its first row being at ``top``."""
    chosen = np.linspace(0, len(track.frames) - 1, min(columns, len(track.frames))).round().astype(int)
    frames = [track.frames[index] for index in chosen]
    lefts = [_LEFT + column * (_PANEL + _GAP) for column in range(len(frames))]
    for left, frame in zip(lefts, frames, strict=True):
        place = f"frame {frame.index}" if frame.time is None else f"{frame.time:.2f} s"
        sheet.write(left + _PANEL / 2, top - _GAP, f"{place}, {frame.probability:.2f}", ha="center")
        sheet.put(left, top, _sized(_face(frame)))
    for row, method in enumerate(document.methods, 1):
        upper = top + row * (_PANEL + _GAP)
        scale = scale_of(method, min(float(_nodes(frame, method).min()) for frame in frames))
        for left, frame in zip(lefts, frames, strict=True):
            sheet.put(left, upper, _sized(_overlay(document, frame, method, scale)))
        sheet.write(_LEFT / 2, upper + _PANEL / 2, method.name, size=7, ha="center", turn=90)
        _bar(sheet, lefts[-1] + _PANEL + 2 * _GAP, upper, scale, method.unit)


def _bar(sheet: _Sheet, left: int, top: int, scale: Scale, unit: str) -> None:
    values = np.linspace(scale.high, scale.low, _PANEL)[:, None].repeat(12, axis=1)
    sheet.put(left, top, np.asarray(scale.mappable.to_rgba(values, bytes=True)[..., :3], np.uint8))
    middle = (scale.low + scale.high) / 2
    ends: Sequence[tuple[int, float]] = ((9, scale.high), (_PANEL // 2 + 4, middle), (_PANEL, scale.low))
    for bottom, value in ends:
        sheet.write(left + 16, top + bottom, f"{value:+.2g}" if scale.low < 0 and value else f"{value:.2g}", size=7)
    sheet.write(left + 16, top + _PANEL * 3 // 4, unit, size=7)


def _sized(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    shrinks = picture.shape[0] > _PANEL
    return cv2.resize(picture, (_PANEL, _PANEL), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC).astype(
        np.uint8, copy=False
    )


def _overlay(document: Document, frame: FaceFrame, method: Method, scale: Scale) -> NDArray[np.uint8]:
    face = _face(frame)
    lattice = Lattice(1, 1, tuple(document.centres.rows), tuple(document.centres.columns))
    return overlay(face, spread(_nodes(frame, method), lattice, face.shape[:2]), scale)


def _nodes(frame: FaceFrame, method: Method) -> NDArray[np.float32]:
    return np.array(frame.maps[method.name].nodes, np.float32)


def _face(frame: FaceFrame) -> NDArray[np.uint8]:
    decoded = cv2.imdecode(np.frombuffer(frame.jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
    return np.asarray(decoded, np.uint8)
