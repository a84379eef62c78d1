"""Parts of the face, from five landmarks, on the grid of the network."""

from __future__ import annotations

from typing import Final

from torch import Tensor

REGIONS: Final = (
    "left eye",
    "right eye",
    "nose",
    "mouth",
    "left cheek",
    "right cheek",
    "forehead",
    "chin",
    "background",
)
"""Left and right are the image's, as the viewer sees them."""
LANDMARKS: Final = ("left eye", "right eye", "nose", "left mouth corner", "right mouth corner")
"""Order of the five points, as the detectors of ``data.faces`` give them; left and right are the image's."""


def region_weights(landmarks: Tensor, grid: tuple[int, int]) -> Tensor:
    """``(B, 9, h, w)`` share of each node in each region."""
    raise NotImplementedError(landmarks, grid)
