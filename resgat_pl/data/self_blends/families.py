"""Families of self-blends: ways to put another content into a masked part of a face, each leaving other traces.

``blend`` is the self-blended image of Shiohara & Yamasaki (CVPR 2022). The others leave no blending seam, or other
contents, so that a detector that was trained without one of them can be tested on it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from resgat_pl.data.self_blends.edits import Image, edited, noisy, resampled, to_bytes
from resgat_pl.data.self_blends.masks import Mask, displaced, wave

Family = Callable[[np.random.Generator, Image, Mask], tuple[Image, Image]]
"""(rng, genuine crop, mask) → (target, fake): the target is genuine, and the fake equals it where the mask is 0."""


def mixed(target: Image, source: Image, mask: Mask) -> Image:
    """The source over the target where the mask is."""
    weight = np.rint(mask * 256).astype(np.int16)[..., None]
    return ((target * np.int32(1) * (256 - weight) + source * np.int32(1) * weight + 128) >> 8).astype(np.uint8)


def _blend(rng: np.random.Generator, image: Image, mask: Mask) -> tuple[Image, Image]:
    """An edited copy over the face, or the face over an edited copy."""
    other = edited(rng, image)
    target, source = (image, other) if rng.random() < 0.5 else (other, image)
    return target, mixed(target, source, mask)


def _clone(rng: np.random.Generator, image: Image, mask: Mask) -> tuple[Image, Image]:
    """Poisson blending (Pérez et al., SIGGRAPH 2003): the gradients of an edited copy, without a step at the rim."""
    source = edited(rng, image)
    inside = (mask > 0.5 * mask.max()).astype(np.uint8)
    inside[[0, 1, -2, -1]] = inside[:, [0, 1, -2, -1]] = 0  # OpenCV fails where a mask meets the edge
    x, y, width, height = cv2.boundingRect(inside)
    if min(width, height) < 4:
        return image, mixed(image, source, mask)
    flags = cv2.NORMAL_CLONE if rng.random() < 0.75 else cv2.MIXED_CLONE
    cloned = cv2.seamlessClone(source, image, inside * 255, (x + width // 2, y + height // 2), flags)
    return image, mixed(image, np.asarray(cloned, np.uint8), np.asarray(cv2.dilate(mask, np.ones((3, 3))), np.float32))


def _inpaint(rng: np.random.Generator, image: Image, mask: Mask) -> tuple[Image, Image]:
    """Content diffused in from the rim, as removal tools do, with some grain on it."""
    inside = (mask > 0.3 * mask.max()).astype(np.uint8)
    height, width = inside.shape
    # Diffusion is smooth, and ten times as fast at a third of the side.
    small = (max(8, width // 3), max(8, height // 3))
    coarse = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    hole = cv2.resize(inside, small, interpolation=cv2.INTER_AREA)
    filled = cv2.inpaint(coarse, (hole > 0).astype(np.uint8), 3, cv2.INPAINT_TELEA)
    source = np.asarray(cv2.resize(filled, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
    if rng.random() < 0.7:
        source = noisy(rng, source, 1.0, 5.0)
    return image, mixed(image, source, mask)


def _liquify(rng: np.random.Generator, image: Image, mask: Mask) -> tuple[Image, Image]:
    """The face's own pixels moved: swollen, shrunk, pushed aside or rippled."""
    side = len(mask)
    rows, columns = np.nonzero(mask > 0.5 * mask.max())
    spread = float(np.sqrt(len(rows) / np.pi)) if len(rows) else 1.0
    reach = spread * rng.uniform(0.1, 0.35)
    if rng.random() < 0.5:
        y = (np.arange(side, dtype=np.float32) - np.float32(rows.mean() if len(rows) else 0))[:, None]
        x = (np.arange(side, dtype=np.float32) - np.float32(columns.mean() if len(rows) else 0))[None, :]
        sign = np.float32(rng.choice([-1, 1]) * reach / spread)
        shift_x, shift_y = mask * (sign * x), mask * (sign * y)
        push = (rng.normal(0, 0.3, 2) * reach).astype(np.float32)
        shift_x, shift_y = shift_x + mask * push[0], shift_y + mask * push[1]
    else:
        cells = int(rng.integers(3, 7))
        shift_x, shift_y = (mask * wave(rng, side, cells) * np.float32(0.5 * reach) for _ in range(2))
    return image, np.asarray(displaced(image, shift_x, shift_y), np.uint8)


def _smooth(rng: np.random.Generator, image: Image, mask: Mask) -> tuple[Image, Image]:
    """Skin smoothed as retouching does: edges kept, texture gone."""
    if rng.random() < 0.6:
        source = cv2.bilateralFilter(image, 7, rng.uniform(20, 60), rng.uniform(2, 4))
        source = cv2.bilateralFilter(source, 7, rng.uniform(20, 60), rng.uniform(2, 4))
    else:
        source = cv2.medianBlur(image, int(rng.choice([5, 7])))
    return image, mixed(image, np.asarray(source, np.uint8), mask)


def _relight(rng: np.random.Generator, image: Image, mask: Mask) -> tuple[Image, Image]:
    """Another light: a gradient of brightness and tint over the part."""
    side = len(mask)
    angle = rng.uniform(0, 2 * np.pi)
    steps = np.linspace(-1, 1, side, dtype=np.float32)
    ramp = np.float32(np.cos(angle)) * steps[None, :] + np.float32(np.sin(angle)) * steps[:, None]
    strength, offset = rng.choice([-1, 1]) * rng.uniform(0.15, 0.45), rng.uniform(-0.5, 0.8)
    gain = np.exp(np.float32(strength) * (ramp + np.float32(offset)))
    tint = rng.uniform(0.94, 1.06, 3).astype(np.float32)
    return image, mixed(image, to_bytes(image * gain[..., None] * tint), mask)


def _render(rng: np.random.Generator, image: Image, mask: Mask) -> tuple[Image, Image]:
    """A part of low resolution, as generators make it: enlarged by an uneven kernel, with another grain."""
    side = len(mask)
    small = int(rng.integers(max(16, side // 5), max(18, side // 2)))
    code = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
    if rng.random() < 0.5:  # few levels, as a quantised latent space has
        step = int(rng.choice([4, 8, 12]))
        code = (code // step * step + step // 2).astype(np.uint8)
        code = np.asarray(cv2.GaussianBlur(code, (3, 3), 0.6), np.uint8)
    twice = cv2.resize(code, (2 * small, 2 * small), interpolation=cv2.INTER_NEAREST).astype(np.float32)
    kernel = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], np.float32) * rng.uniform(0.6, 1.4, (3, 3)).astype(np.float32)
    drawn = cv2.filter2D(twice, -1, kernel / kernel.sum())  # uneven weights leave a lattice, as transposed convolutions
    source = to_bytes(np.asarray(cv2.resize(drawn, (side, side), interpolation=cv2.INTER_CUBIC)))
    if rng.random() < 0.5:
        amount = rng.uniform(0.5, 1.5)
        source = np.asarray(cv2.addWeighted(source, 1 + amount, cv2.GaussianBlur(source, (0, 0), 1.2), -amount, 0))
    if rng.random() < 0.5:
        source = noisy(rng, source, 1.0, 5.0)
    return image, mixed(image, source, mask)


def _patch(rng: np.random.Generator, image: Image, mask: Mask) -> tuple[Image, Image]:
    """Other content of the same face: mirrored, or moved, as where a part is replaced by another's."""
    side = len(mask)
    other = image[:, ::-1] if rng.random() < 0.4 else image
    matrix = cv2.getRotationMatrix2D((side / 2, side / 2), rng.uniform(-12, 12), rng.uniform(0.85, 1.2))
    matrix[:, 2] += np.asarray(rng.choice([-1, 1], 2) * rng.uniform(0.03, 0.12, 2) * side, np.float64)
    placed = cv2.warpAffine(np.ascontiguousarray(other), matrix, (side, side), borderMode=cv2.BORDER_REFLECT_101)
    source = np.asarray(placed, np.uint8)
    # Colours follow those of the place, as a careful forger's do.
    inside = mask > 0.3
    if inside.any():
        gap = image[inside].mean(axis=0) - source[inside].mean(axis=0)
        source = to_bytes(source + gap.astype(np.float32) * np.float32(rng.uniform(0.6, 1.0)))
    if rng.random() < 0.5:
        source = resampled(rng, source, 0.4, 0.9)
    return image, mixed(image, source, mask)


FAMILIES: Final[dict[str, Family]] = {
    "blend": _blend,
    "clone": _clone,
    "inpaint": _inpaint,
    "liquify": _liquify,
    "smooth": _smooth,
    "relight": _relight,
    "render": _render,
    "patch": _patch,
}
"""Families by name."""
SHAPES_OF: Final[dict[str, frozenset[str]]] = {
    "inpaint": frozenset({"eyes", "part", "blob"}),
    "patch": frozenset({"lower", "eyes", "part", "blob"}),
}
"""Shapes of masks that a family is for; others take all. Nobody diffuses a whole face away."""


def change_in(target: Image, fake: Image, mask: Mask) -> float:
    """Mean absolute difference inside the mask, of 255; 0 for an empty mask."""
    inside = mask > 0.5 * mask.max() if mask.max() > 0 else np.zeros(mask.shape, bool)
    difference: NDArray[np.uint8] = np.asarray(cv2.absdiff(target, fake))
    return float(difference[inside].mean()) if inside.any() else 0.0
