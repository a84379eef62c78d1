"""Drawing maps over faces, on one scale for a whole set."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from resgat_pl.nn.node_geometry import Lattice


@dataclass(frozen=True)
class Scale:
    """One colour scale for all faces of a set: scaled each on its own, a normal face would look anomalous.

    Attributes:
        low: Value at the lower end.
        high: Value at the upper end.
        colormap: Name of a matplotlib colour map; diverging for signed maps.
    """

    low: float
    high: float
    colormap: str

    @classmethod
    def of(cls, maps: NDArray[np.float32]) -> Scale:
        """Scale for a set of maps ``(B, h, w)``: symmetric and diverging if any value is negative."""
        if maps.min() < 0:
            most = float(np.abs(maps).max()) or 1.0
            return cls(-most, most, "RdBu_r")
        low, high = float(maps.min()), float(maps.max())
        return cls(low, high if high > low else low + 1.0, "magma")

    @property
    def mappable(self) -> ScalarMappable:
        """For matplotlib's colour bar."""
        return ScalarMappable(Normalize(self.low, self.high), colormaps[self.colormap])


def spread(node_map: NDArray[np.float32], lattice: Lattice, size: tuple[int, int]) -> NDArray[np.float32]:
    """A node map ``(h, w)`` as a heat-map ``(H, W)``, see ``Lattice.heatmap``."""
    heat: NDArray[np.float32] = lattice.heatmap(torch.from_numpy(node_map)[None], size)[0].numpy()
    return heat


def overlay(
    image: NDArray[np.uint8], heat: NDArray[np.float32], scale: Scale, alpha: float = 0.55
) -> NDArray[np.uint8]:
    """Blend a coloured map over a face.

    Args:
        image: ``(H, W, 3)`` uint8 RGB.
        heat: ``(H, W)`` float, one value a pixel; see ``spread``.
        scale: Colours.
        alpha: Weight of the map in [0, 1].

    Returns:
        ``(H, W, 3)`` uint8 RGB.
    """
    colours = scale.mappable.to_rgba(heat)[..., :3] * 255
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None].repeat(3, axis=2)  # colour shall mean the map only
    return np.clip((1 - alpha) * grey + alpha * colours, 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class SheetFace:
    """One face of a sheet.

    Attributes:
        image: ``(H, W, 3)`` uint8 RGB.
        title: Text above it.
        mask: ``(H, W)`` uint8 manipulation mask, or None.
        maps: Node map ``(h, w)`` by name; the same names for all faces.
        lattice: Where the nodes are.
    """

    image: NDArray[np.uint8]
    title: str
    mask: NDArray[np.uint8] | None
    maps: dict[str, NDArray[np.float32]]
    lattice: Lattice

    def overlay(self, name: str, scale: Scale) -> NDArray[np.uint8]:
        """A map over the face, ``(H, W, 3)`` uint8 RGB."""
        return overlay(self.image, spread(self.maps[name], self.lattice, self.image.shape[:2]), scale)


def scales_of(faces: Sequence[SheetFace]) -> dict[str, Scale]:
    """One scale a map name, common to all faces."""
    return {name: Scale.of(np.stack([face.maps[name] for face in faces])) for name in faces[0].maps}


def save_sheet(faces: Sequence[SheetFace], path: Path, title: str, columns: int = 8) -> None:
    """Write a PNG sheet: faces side by side; below each its mask and every map, with a colour bar a map.

    Args:
        faces: What to draw, at least one.
        path: PNG file; its folder must exist.
        title: Text on top.
        columns: Faces in a band.
    """
    scales = scales_of(faces)
    columns = min(columns, len(faces))
    rows = [
        (band, name)
        for band in (faces[start : start + columns] for start in range(0, len(faces), columns))
        for name in ("face", "mask", *scales)
        if name != "mask" or any(face.mask is not None for face in band)
    ]
    figure = Figure(figsize=(1.35 * columns + 1.6, 1.5 * len(rows) + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=11, parse_math=False)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for line, (band, name) in zip(axes, rows, strict=True):
        for axis in line:
            axis.axis("off")
        for axis, face in zip(line, band, strict=False):
            axis.imshow(_panel(face, name, scales), interpolation="nearest")
            if name == "face":
                axis.set_title(face.title, fontsize=8, parse_math=False)
        line[0].text(-0.08, 0.5, name, rotation=90, va="center", ha="right", fontsize=8, transform=line[0].transAxes)
        if name in scales:
            bar = figure.colorbar(scales[name].mappable, ax=line, pad=0.01, aspect=12)
            bar.ax.tick_params(labelsize=7)
    unfinished = path.with_name(f".{path.name}.part")
    try:
        with unfinished.open("wb") as file:
            figure.savefig(file, dpi=110, format=path.suffix[1:])
            file.flush()
            os.fsync(file.fileno())  # else a power cut may leave an empty file of the final name
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _panel(face: SheetFace, name: str, scales: dict[str, Scale]) -> NDArray[np.uint8]:
    if name == "face":
        return face.image
    if name == "mask":
        return _with_outline(face) if face.mask is not None else np.full_like(face.image, 255)
    return face.overlay(name, scales[name])


def _with_outline(face: SheetFace) -> NDArray[np.uint8]:
    drawn = np.ascontiguousarray(face.image)
    if face.mask is None:
        return drawn
    contours = cv2.findContours((face.mask > 127).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
    return cv2.drawContours(drawn.copy(), contours, -1, (0, 255, 0), max(1, drawn.shape[0] // 100)).astype(np.uint8)
