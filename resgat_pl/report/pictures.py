"""The maps of a document as PNG files: a sheet of its faces, and single overlays."""

from __future__ import annotations

import textwrap
import warnings
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray

from resgat_pl.explain.overlay import Scale, overlay
from resgat_pl.report.document import Document, FaceFrame, FaceTrack, Method

_SHOWN: Final = 8
"""Frames of a face on a sheet."""


def write_sheet(document: Document, path: Path) -> None:
    """Draw every face: up to eight of its frames side by side, below each the map of every method.

    Colours follow the document's scales, so they mean the same in every frame and face.

    Args:
        document: With at least one face, and the crops in it.
        path: PNG file; its folder must exist.
    """
    rows = 1 + len(document.methods)
    columns = min(_SHOWN, max(len(track.frames) for track in document.tracks))
    width = 1.5 * max(columns, 4) + 1.6
    figure = Figure(figsize=(width, 0.6 + len(document.tracks) * (1.5 * rows + 0.9)), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(_headline(document), fontsize=11, parse_math=False)
    bands: Any = figure.subfigures(len(document.tracks), 1, squeeze=False)
    for band, track in zip(bands[:, 0], document.tracks, strict=True):
        _draw(band, document, track, columns, int(width * 14))
    with warnings.catch_warnings():
        # A file may be named in a script that matplotlib's font does not have; boxes stand for it then.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from", category=UserWarning)
        figure.savefig(path, dpi=110)


def write_overlays(document: Document, folder: Path) -> list[Path]:
    """Write each map over its face, ``face1_frame000012_Contribution.png``, and return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for track in document.tracks:
        for frame in track.frames:
            for method in document.methods:
                drawn = _panel(frame, method)
                path = folder / f"face{track.number}_frame{frame.index:06d}_{method.name}.png"
                path.write_bytes(cv2.imencode(".png", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))[1].tobytes())
                written.append(path)
    return written


def scale_of(method: Method, lowest: float = 0.0) -> Scale:
    """The colours of a method; ``lowest`` is its least value, since an unsigned one may be negative too."""
    if method.signed or lowest < 0:
        return Scale(-method.scale, method.scale, "RdBu_r")
    return Scale(0.0, method.scale, "magma")


def _draw(band: SubFigure, document: Document, track: FaceTrack, columns: int, characters: int) -> None:
    chosen = np.linspace(0, len(track.frames) - 1, min(columns, len(track.frames))).round().astype(int)
    frames = [track.frames[index] for index in chosen]
    band.suptitle(
        textwrap.fill(f"Face {track.number}. {track.sentence}", characters), fontsize=8, x=0.01, ha="left",
        parse_math=False,
    )  # fmt: skip
    axes: Any = band.subplots(1 + len(document.methods), columns, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, frame in zip(axes[0], frames, strict=False):
        axis.imshow(_face(frame))
        place = f"frame {frame.index}" if frame.time is None else f"{frame.time:.2f} s"
        axis.set_title(f"{place}, {frame.probability:.2f}", fontsize=8)
    for line, method in zip(axes[1:], document.methods, strict=True):
        for axis, frame in zip(line, frames, strict=False):
            axis.imshow(_panel(frame, method))
        line[0].text(
            -0.06, 0.5, method.name, rotation=90, va="center", ha="right", fontsize=7, transform=line[0].transAxes
        )
        lowest = min(float(_nodes(frame, method).min()) for frame in frames)
        bar = band.colorbar(scale_of(method, lowest).mappable, ax=list(line), pad=0.01, aspect=12)
        bar.set_label(method.unit, fontsize=7)
        bar.ax.tick_params(labelsize=7)


def _panel(frame: FaceFrame, method: Method) -> NDArray[np.uint8]:
    nodes = _nodes(frame, method)
    return overlay(_face(frame), nodes, scale_of(method, float(nodes.min())))


def _nodes(frame: FaceFrame, method: Method) -> NDArray[np.float32]:
    return np.array(frame.maps[method.name].nodes, np.float32)


def _face(frame: FaceFrame) -> NDArray[np.uint8]:
    decoded = cv2.imdecode(np.frombuffer(frame.jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
    return np.asarray(decoded, np.uint8)


def _headline(document: Document) -> str:
    name = textwrap.shorten(document.file, 60, placeholder="…")
    if document.probability is None:
        return f"{name}: no face"
    between = "" if document.interval is None else " [{:.2f}, {:.2f}]".format(*document.interval)
    known = "" if document.calibration.temperature is not None else ", uncalibrated"
    return f"{name}: {document.verdict}, probability of fake {document.probability:.2f}{between}{known}"
