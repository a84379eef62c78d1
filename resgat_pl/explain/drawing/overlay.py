"""Drawing maps over faces, on one scale for a whole set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
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
    def of(cls, maps: NDArray[np.float32], signed: bool | None = None) -> Scale:
        """Scale for a set of maps ``(B, h, w)``: symmetric and diverging if signed, by default if any is negative."""
        if maps.min() < 0 if signed is None else signed:
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


def draw_outline(picture: NDArray[np.uint8], inside: NDArray[np.bool_]) -> None:
    """Draw the outline of an area ``(H, W)`` into a picture ``(H, W, 3)`` uint8 RGB, in place."""
    contours = cv2.findContours(inside.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
    for colour, thickness in (((0, 0, 0), 4), ((0, 224, 90), 2)):  # seen on bright and on dark skin
        cv2.drawContours(picture, contours, -1, colour, thickness, cv2.LINE_AA)


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
