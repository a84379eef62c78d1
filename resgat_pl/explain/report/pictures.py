"""The maps of a document as PNG files: a sheet of its faces, and single overlays."""

from __future__ import annotations

import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from resgat_pl.core.storage import write_atomic
from resgat_pl.explain.drawing.overlay import Scale, draw_outline, overlay, spread
from resgat_pl.explain.drawing.sheet import Strip, draw_sheet
from resgat_pl.explain.report.document import Document, FaceFrame, FaceTrack, Method
from resgat_pl.explain.report.first_page import first_page, picture_lines
from resgat_pl.nn.node_geometry import Lattice

_SHOWN: Final = 8
"""Frames of a face on a sheet."""
_PANEL, _LEAST = 1.6, 2.8  # inches: side of a panel, and what the texts need


def write_sheet(document: Document, path: Path) -> None:
    """Draw every face: up to eight of its frames side by side, below each the map of every method.

    What limits the verdict is above them, since a picture is passed on alone. Colours follow the document's scales, so
    they mean the same in every frame and face.

    Args:
        document: With at least one face, and the crops in it.
        path: PNG file; its folder must exist.
    """
    strips = [strip for track in document.tracks for strip in _strips(document, track)]
    limits = "\n".join(picture_lines(document))
    strips[0] = replace(strips[0], heading=f"{limits}\n\n{strips[0].heading}")
    panel = max(_PANEL, _LEAST / max(len(strip.panels) for strip in strips))
    name = textwrap.shorten(document.file, 60, placeholder="…")
    title = first_page(replace(document, file=name)).title
    write_atomic(path, draw_sheet(strips, title, panel=panel)[0])


def write_overlays(document: Document, folder: Path) -> list[Path]:
    """Write each map over its face, ``face1_frame000012_Contribution.png``, with its limit below; return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for track in document.tracks:
        for frame in track.frames:
            for method in document.methods:
                drawn = _overlay(document, frame, method, scale_of(method, float(_nodes(frame, method).min())))
                drawn = _captioned(drawn, document)
                path = folder / f"face{track.number}_frame{frame.index:06d}_{method.name}.png"
                write_atomic(path, cv2.imencode(".png", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))[1].tobytes())
                written.append(path)
    return written


def scale_of(method: Method, lowest: float = 0.0) -> Scale:
    """The colours of a method; ``lowest`` is its least value, since an unsigned one may be negative too."""
    if method.signed or lowest < 0:
        return Scale(-method.scale, method.scale, "RdBu_r")
    return Scale(0.0, method.scale, "magma")


def _strips(document: Document, track: FaceTrack) -> list[Strip]:
    """A strip with frames of a face, and one for each method."""
    chosen = np.linspace(0, len(track.frames) - 1, min(_SHOWN, len(track.frames))).round().astype(int)
    frames = [track.frames[index] for index in chosen]
    places = [f"frame {frame.index}" if frame.time is None else f"{frame.time:.2f} s" for frame in frames]
    titles = [f"{place}, {frame.probability:.2f}" for place, frame in zip(places, frames, strict=True)]
    said = track.sentence if track.certificate is None else f"{track.sentence}\n{track.certificate.sentence}"
    strips = [Strip("face", [_face(frame) for frame in frames], titles, f"Face {track.number}. {said}")]
    for method in document.methods:
        scale = scale_of(method, min(float(_nodes(frame, method).min()) for frame in frames))
        panels = [_overlay(document, frame, method, scale) for frame in frames]
        strips.append(Strip(method.name, panels, scale=scale, unit=method.unit))
    return strips


def _overlay(document: Document, frame: FaceFrame, method: Method, scale: Scale) -> NDArray[np.uint8]:
    face = _face(frame)
    lattice = Lattice(1, 1, tuple(document.centres.rows), tuple(document.centres.columns))
    heat = spread(_nodes(frame, method), lattice, face.shape[:2])
    drawn = overlay(face, heat, scale)
    if method.threshold is not None:
        draw_outline(drawn, heat >= method.threshold)
    return drawn


def _captioned(picture: NDArray[np.uint8], document: Document) -> NDArray[np.uint8]:
    """A picture with the limit of its map in a strip below it, since pictures are passed on alone."""
    limit = "not valid for recordings" if document.checkpoint.recordings is False else "no proof"
    text = f"A detector's map: {limit}"
    font, width = cv2.FONT_HERSHEY_SIMPLEX, picture.shape[1]
    scale = min(0.5, (width - 8) / cv2.getTextSize(text, font, 1.0, 1)[0][0])
    strip = np.zeros((max(12, round(36 * scale)), width, 3), np.uint8)
    cv2.putText(strip, text, (4, round(len(strip) * 0.7)), font, scale, (255, 255, 255), 1, cv2.LINE_AA)
    return np.concatenate([picture, strip])


def _nodes(frame: FaceFrame, method: Method) -> NDArray[np.float32]:
    return np.array(frame.maps[method.name].nodes, np.float32)


def _face(frame: FaceFrame) -> NDArray[np.uint8]:
    decoded = cv2.imdecode(np.frombuffer(frame.jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
    return np.asarray(decoded, np.uint8)
