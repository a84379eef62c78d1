"""Parts of the face, from five landmarks, on the grid of the network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.face_regions import FACE_REGIONS, REGIONS
from resgat_pl.nn.node_geometry import Lattice

LANDMARKS: Final = ("left eye", "right eye", "nose", "left mouth corner", "right mouth corner")
"""Order of the five points, as the detectors of ``data.faces`` give them; left and right are the image's."""

AVERAGE_LANDMARKS: Final = torch.tensor([[0.373, 0.416], [0.627, 0.416], [0.5, 0.568], [0.374, 0.679], [0.626, 0.679]])
"""``(5, 2)`` float32, where the landmarks of an average crop lie, x and y in [0, 1]: the mean over 1,308 extracted
crops of 436 portraits at margin 1.3 (MTCNN) and their mirror images. Single faces deviate from it by 0.02 (x of the
eyes: 0.04, of the nose: 0.07) in the standard deviation."""

_FACE: Final = torch.tensor([[-0.42, -0.07], [0.42, -0.07], [0.0, 0.432], [-0.418, 0.802], [0.418, 0.802]])
"""``AVERAGE_LANDMARKS`` in face units: the eyes are 0.84 apart, the face is about 2 wide, y points to the chin."""
_POINTS: Final = 64
"""Sample points along each axis of a crop, at least: shares on 7×7 nodes are then exact to about 0.01."""
_BATCH: Final = 64
"""Faces done at once, which bounds the memory."""
_LEAST, _MOST = -1.0, 2.0  # a landmark further outside the crop is none
_FLAT: Final = 1e-5
"""Least area of a square face unit, as a share of the crop's: that of a face 0.6 % as wide as the crop."""


def region_weights(landmarks: Tensor, lattice: Lattice) -> Tensor:
    """Share of each node's cell in each region of ``REGIONS``, by area.

    A frame is fitted to the landmarks, so that regions turn, scale and stretch with the face; eyes, nose and mouth lie
    around their own landmarks, hence also on a face that looks aside, and the other regions divide the rest of the
    face's oval. The cell is sampled at points, each of which belongs to exactly one region.

    Args:
        landmarks: ``(B, 5, 2)`` float, x and y in [0, 1] of the square crop, in the order of ``LANDMARKS``; points
            somewhat outside the crop are fine.
        lattice: Where the nodes are; ``Lattice.even`` for pixels.

    Returns:
        ``(B, 9, h, w)`` float32 in [0, 1] on the landmarks' device, summing to 1 over the regions of every node.

    Raises:
        ConfigError: The shape is another, a landmark is missing (not finite) or far outside the crop, as pixels are,
            or the points of a face lie in one spot or in another order.
    """
    _check(landmarks)
    if not len(landmarks):
        return landmarks.new_zeros(0, len(REGIONS), *lattice.shape, dtype=torch.float32)
    return torch.cat([_weights(faces, lattice) for faces in torch.split(landmarks.detach().float(), _BATCH)])


def or_average(landmarks: Tensor) -> tuple[Tensor, Tensor]:
    """Give faces whose landmarks ``region_weights`` refuses, missing ones above all, those of an average face.

    Args:
        landmarks: ``(B, 5, 2)`` float, NaN where missing.

    Returns:
        ``(B, 5, 2)`` float, all usable; and ``(B,)`` bool, true where they are the average face's.
    """
    flat = landmarks.flatten(1)
    inside = ((flat >= _LEAST) & (flat <= _MOST)).all(dim=1)  # false for NaN
    average = AVERAGE_LANDMARKS.to(landmarks).expand_as(landmarks)
    known = torch.where(inside[:, None, None], landmarks, average)
    replaced = ~inside | _spans_nothing(_frame(known.float())[0])
    return torch.where(replaced[:, None, None], average, landmarks), replaced


def inside_face(landmarks: Tensor, lattice: Lattice) -> Tensor:
    """Nodes that lie in the face at least by half: ``(B, h, w)`` bool. See ``region_weights``, also for errors."""
    return region_weights(landmarks, lattice)[:, REGIONS.index("background")] < 0.5


def region_cover(masks: Tensor, landmarks: Tensor) -> Tensor:
    """Share of each region of the face that a manipulation mask covers, by area.

    Args:
        masks: ``(B, H, W)`` float in [0, 1], or bool.
        landmarks: ``(B, 5, 2)`` float, see ``region_weights``.

    Returns:
        ``(B, 8)`` float32 in [0, 1], in the order of ``FACE_REGIONS``; NaN for a region that is not in the crop.

    Raises:
        ConfigError: As ``region_weights``.

    Example:
        >>> mask = torch.zeros(1, 64, 64)
        >>> mask[:, 40:48, 20:44] = 1  # around the mouth of an average face
        >>> cover = region_cover(mask, AVERAGE_LANDMARKS[None])[0]
        >>> [name for name, share in zip(FACE_REGIONS, cover.tolist()) if share > 0.2]
        ['mouth']
    """
    lattice = Lattice.even(_POINTS, _POINTS)
    weights = region_weights(landmarks, lattice)[:, : len(FACE_REGIONS)]
    covered = torch.einsum("brhw,bhw->br", weights, lattice.cover(masks).to(weights))
    return covered / weights.sum(dim=(2, 3))  # 0 / 0 of a region outside


def _weights(landmarks: Tensor, lattice: Lattice) -> Tensor:
    height, width = lattice.shape
    down, across = (max(1, -(-_POINTS // size)) for size in lattice.shape)
    y, x = (_within(edges, count).to(landmarks) for edges, count in zip(lattice.edges, (down, across), strict=True))
    points = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).reshape(-1, 2)
    linear, shift = _frame(landmarks)
    nothing = _spans_nothing(linear)
    if nothing.any():
        index = int(nothing.nonzero()[0])
        raise ConfigError(
            f"The landmarks of a face, {_printed(landmarks[index])}, span no face: they lie in one spot, or not in the "
            f"order {', '.join(LANDMARKS)} (left and right as seen). See or_average."
        )
    inverse = torch.linalg.inv(linear)
    found = _regions((points - shift) @ inverse, (landmarks - shift) @ inverse)
    cells = found.reshape(-1, height, down, width, across)
    return torch.stack([(cells == region).float().mean(dim=(2, 4)) for region in range(len(REGIONS))], dim=1)


def _within(edges: Sequence[float], count: int) -> Tensor:
    """So many points, evenly over each cell between ``edges``: ``(cells · count,)`` float64."""
    edge = torch.tensor(edges, dtype=torch.float64)
    share = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    return (edge[:-1, None] + edge.diff()[:, None] * share).flatten()


def _frame(landmarks: Tensor) -> tuple[Tensor, Tensor]:
    """Maps ``u @ linear + shift`` from face units to the crop: ``(B, 2, 2)`` and ``(B, 1, 2)``.

    Halfway between the best affine map and the best similarity: of a face that looks aside, the landmarks come
    together more than its outline does, and those of a profile lie on a line, where the affine map has no inverse.
    """
    face = _FACE.to(landmarks)
    centre, mean = face.mean(dim=0), landmarks.mean(dim=1, keepdim=True)
    source, target = face - centre, landmarks - mean
    affine = torch.linalg.inv(source.T @ source) @ source.T @ target
    size = source.square().sum()
    a = (source * target).sum(dim=(1, 2)) / size
    b = (source[:, 0] * target[..., 1] - source[:, 1] * target[..., 0]).sum(dim=1) / size
    similarity = torch.stack([torch.stack([a, b], dim=-1), torch.stack([-b, a], dim=-1)], dim=1)
    linear = (affine + similarity) / 2
    return linear, mean - (centre @ linear)[:, None]


def _spans_nothing(linear: Tensor) -> Tensor:
    """True for frames that are degenerate or mirrored: ``(B,)`` bool."""
    enough: Tensor = torch.linalg.det(linear) >= _FLAT
    return ~enough


def _regions(u: Tensor, mark: Tensor) -> Tensor:
    """Region ``(B, P)`` int64 of each point ``u (B, P, 2)``, landmarks ``mark (B, 5, 2)`` being in face units too."""
    x, y = u[..., 0], u[..., 1]
    left_eye, right_eye, nose, left_corner, right_corner = (mark[:, i, None] for i in range(5))
    eyes, mouth = (left_eye + right_eye) / 2, (left_corner + right_corner) / 2
    bridge = nose - eyes
    midline = eyes[..., 0] + (y - eyes[..., 1]) * (mouth - eyes)[..., 0] / _at_least((mouth - eyes)[..., 1])
    length = _at_least(bridge[..., 1])
    half = _at_least((right_corner - left_corner)[..., 0] / 2) + 0.08
    along = (y - eyes[..., 1]) / length
    levels = torch.stack(
        [
            _ellipse(x - left_eye[..., 0], y - left_eye[..., 1] + 0.06, 0.34, 0.27),
            _ellipse(x - right_eye[..., 0], y - right_eye[..., 1] + 0.06, 0.34, 0.27),
            _ellipse(x - eyes[..., 0] - along * bridge[..., 0], along - 0.62, 0.28, 0.75),
            _ellipse(x - mouth[..., 0], y - mouth[..., 1] - 0.02, half, 0.25),
        ]
    )
    nearest = levels.argmin(dim=0)
    below = y - mouth[..., 1]
    side = torch.where(x < midline, REGIONS.index("left cheek"), REGIONS.index("right cheek"))
    rest = torch.where(y < eyes[..., 1], REGIONS.index("forehead"), side)
    rest = torch.where((below > 0) & ((x - midline).abs() < 0.4 + 0.3 * below), REGIONS.index("chin"), rest)
    # Of a head that turns, the nose goes first; the oval stays behind and shows more of the near side.
    turn = nose[..., 0] - (eyes + mouth)[..., 0] / 2
    oval = _ellipse(x + 0.7 * turn, y - 0.25, 0.95 + 0.2 * turn.abs(), 1.15)
    rest = torch.where(oval > 1, REGIONS.index("background"), rest)
    return torch.where(levels.amin(dim=0) <= 1, nearest, rest)


def _ellipse(x: Tensor, y: Tensor, width: Tensor | float, height: float) -> Tensor:
    """Squared distance from the centre in half axes: 1 on the ellipse."""
    return (x / width).square() + (y / height).square()


def _at_least(length: Tensor) -> Tensor:
    """Keep lengths between landmarks, which may be anything, in the order of the face's own."""
    return length.clamp_min(0.2)


def _check(landmarks: Tensor) -> None:
    if landmarks.ndim != 3 or landmarks.shape[1:] != (5, 2) or not landmarks.is_floating_point():
        raise ConfigError(f"The landmarks are {tuple(landmarks.shape)} {landmarks.dtype}; give floats (B, 5, 2).")
    flat = landmarks.flatten(1)
    missing = ~flat.isfinite().all(dim=1)
    if missing.any():
        raise ConfigError(
            f"The landmarks of {int(missing.sum())} of {len(landmarks)} faces are missing, first of face "
            f"{int(missing.nonzero()[0])}. Extract with a detector that finds them, or see or_average."
        )
    outside = ((flat < _LEAST) | (flat > _MOST)).any(dim=1)
    if outside.any():
        index = int(outside.nonzero()[0])
        raise ConfigError(
            f"The landmarks of face {index}, {_printed(landmarks[index])}, lie far outside the crop; give x and y in "
            "[0, 1] of the crop, not in pixels."
        )


def _printed(face: Tensor) -> str:
    return ", ".join(f"({x:.4g}, {y:.4g})" for x, y in face.tolist())
