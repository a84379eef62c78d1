"""Areas that a map names: what passes a threshold, drawn at the mask's resolution, and the seam of the mask.

Every function returns one number per image, NaN where it is not defined, as those of ``localisation``.
"""

from __future__ import annotations

import math
from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resgat_pl.core.errors import ConfigError
from resgat_pl.explain.benchmark.faithfulness import few, order_of
from resgat_pl.explain.benchmark.localisation import COVERED, node_auroc
from resgat_pl.nn.node_geometry import Lattice

EXTENTS: Final = ("part", "whole")
"""Part and whole-face forgeries, see ``extent``."""
_HALF: Final = 0.5
"""A pixel of which more was manipulated is."""
_CANDIDATES: Final = 201
"""Thresholds tried, at equal shares of the nodes."""


def pixel_auroc(maps: Tensor, masks: Tensor, lattice: Lattice) -> Tensor:
    """Area under the ROC curve of the pixels of each image, the map being drawn over them (``Lattice.heatmap``).

    Args:
        maps: ``(B, h, w)`` float, higher where a node is evidence for *fake*.
        masks: ``(B, H, W)`` float in [0, 1]; a pixel above 0.5 is manipulated.
        lattice: Where the nodes are.

    Returns:
        ``(B,)`` float64 in [0, 1]; NaN where no pixel or every pixel is manipulated.

    Raises:
        ConfigError: The numbers of images differ, or a value is not finite.

    Example:
        >>> mask = torch.zeros(1, 4, 4)
        >>> mask[0, :2] = 1
        >>> pixel_auroc(torch.tensor([[[1.0, 1.0], [0.0, 0.0]]]), mask, Lattice.even(2, 2)).item()
        1.0
    """
    _check(maps, masks)
    heat = lattice.heatmap(maps, (masks.shape[1], masks.shape[2]))
    return node_auroc(heat, (masks > _HALF).float())


def area_iou(maps: Tensor, masks: Tensor, lattice: Lattice, threshold: float) -> Tensor:
    """Intersection over union of the mask and the area where the drawn map is at least ``threshold``.

    Args:
        maps: ``(B, h, w)`` float.
        masks: ``(B, H, W)`` float in [0, 1]; a pixel above 0.5 is manipulated.
        lattice: Where the nodes are.
        threshold: See ``best_threshold``; NaN where there is none.

    Returns:
        ``(B,)`` float64 in [0, 1]: 0 where nothing is named; NaN where no pixel is manipulated, and everywhere without
        a threshold.

    Raises:
        ConfigError: The numbers of images differ, or a value is not finite.

    Example:
        >>> mask = torch.zeros(1, 4, 4)
        >>> mask[0, :2] = 1
        >>> area_iou(torch.ones(1, 2, 2), mask, Lattice.even(2, 2), 0.5).item()
        0.5
    """
    _check(maps, masks)
    if math.isnan(threshold):
        return torch.full((len(maps),), torch.nan, dtype=torch.float64)
    named = lattice.heatmap(maps.double(), (masks.shape[1], masks.shape[2])) >= threshold
    forged = masks > _HALF
    both, either = (part.sum(dim=(1, 2)).double() for part in (named & forged, named | forged))
    return (both / either.clamp(min=1)).masked_fill(~forged.any(dim=2).any(dim=1), torch.nan)


def best_threshold(maps: Tensor, masks: Tensor, lattice: Lattice, genuine: Tensor | None = None) -> float:
    """The threshold on a node map with the best mean ``area_iou`` of fakes, plus the share of genuine faces spared.

    To be chosen on *validation* faces: chosen on those that are scored, it would flatter. Fakes alone would choose a
    threshold that names a part of every genuine face: large areas are cheap where there is always something to find.
    The thresholds tried lie between nodes of the fakes, 200 of them at equal shares of all nodes, and one lies below
    all; of equally good ones the highest is taken, which names the least.

    Args:
        maps: ``(B, h, w)`` float, of images that were not used for training, all in one unit.
        masks: ``(B, H, W)`` float in [0, 1]; images without a manipulated pixel take no part.
        lattice: Where the nodes are.
        genuine: ``(G, h, w)`` float, maps of genuine faces in the same unit; None counts fakes alone. A face is spared
            where no node passes.

    Returns:
        One number for all images; NaN where no image takes part.

    Raises:
        ConfigError: The numbers of images differ, or a value is not finite.

    Example:
        >>> mask = torch.zeros(1, 4, 4)
        >>> mask[0, :2] = 1
        >>> best_threshold(torch.tensor([[[3.0, 3.0], [1.0, 1.0]]]), mask, Lattice.even(2, 2))
        2.0
    """
    _check(maps, masks)
    forged = (masks > _HALF).flatten(1)
    used = forged.any(dim=1)
    if not used.any():
        return math.nan
    heights = _between_nodes(maps[used].double().flatten().cpu().numpy())
    heat = lattice.heatmap(maps[used].double(), (masks.shape[1], masks.shape[2])).flatten(1).cpu().numpy()
    total = np.zeros(len(heights))
    for drawn, mask in zip(heat, forged[used].cpu().numpy(), strict=True):
        passed = np.searchsorted(heights, drawn, side="right")  # thresholds that each pixel passes
        named, both = (_above(np.bincount(part, minlength=len(heights) + 1)) for part in (passed, passed[mask]))
        total += both / (named + mask.sum() - both)
    if genuine is not None and len(genuine):
        highest = np.sort(genuine.double().flatten(1).amax(dim=1).cpu().numpy())
        total = total / int(used.sum()) + np.searchsorted(highest, heights, side="left") / len(highest)
    return float(heights[np.flatnonzero(total == total.max())[-1]])


def on_seam(masks: Tensor, lattice: Lattice) -> Tensor:
    """Nodes whose cell touches the seam, ``(B, H, W)`` float masks in [0, 1] → ``(B, h, w)`` bool.

    The seam is the pixels on either side of the mask's rim: those of whose neighbours (of eight) one is manipulated,
    that is above 0.5, and one is not. Where the mask ends with the picture is no seam.

    Example:
        >>> mask = torch.zeros(1, 8, 8)
        >>> mask[0, :, :3] = 1
        >>> on_seam(mask, Lattice.even(2, 4))[0, 0].tolist()
        [False, True, False, False]
    """
    square = np.ones((3, 3), np.uint8)
    rims = [
        cv2.morphologyEx(mask, cv2.MORPH_DILATE, square) - cv2.morphologyEx(mask, cv2.MORPH_ERODE, square)
        for mask in (masks > _HALF).to(torch.uint8).cpu().numpy()
    ]
    seam = torch.from_numpy(np.stack(rims)) if rims else torch.zeros(masks.shape, dtype=torch.uint8)
    return lattice.cover(seam.to(masks.device).float()) > 0


def seam_hits(maps: Tensor, masks: Tensor, lattice: Lattice) -> tuple[Tensor, Tensor]:
    """Share of the top nodes (``faithfulness.few``) that touch the seam, and the share of all nodes that do.

    The latter is what nodes drawn by chance score.

    Args:
        maps: ``(B, h, w)`` float; equally high nodes come in ``faithfulness.order_of`` order.
        masks: ``(B, H, W)`` float in [0, 1].
        lattice: Where the nodes are.

    Returns:
        Two ``(B,)`` float64 in [0, 1]; NaN where the mask has no seam.

    Raises:
        ConfigError: The numbers of images differ, or a value is not finite.

    Example:
        >>> mask = torch.zeros(1, 8, 8)
        >>> mask[0, :, :3] = 1
        >>> hits, chance = seam_hits(torch.tensor([[[0.0, 1, 0, 0], [0, 0, 0, 0]]]), mask, Lattice.even(2, 4))
        >>> hits.item(), chance.item()
        (1.0, 0.25)
    """
    _check(maps, masks)
    touched = on_seam(masks, lattice).flatten(1)
    top = order_of(maps)[:, : few(touched.shape[1])]
    none = ~touched.any(dim=1)
    hits, chance = (part.double().mean(dim=1) for part in (touched.gather(1, top), touched))
    return hits.masked_fill(none, torch.nan), chance.masked_fill(none, torch.nan)


def extent(covers: Tensor, inside: Tensor) -> NDArray[np.object_]:
    """Part and whole-face forgeries apart, from the mask and the place of the face alone.

    Args:
        covers: ``(B, h, w)`` float in [0, 1], see ``Lattice.cover``.
        inside: ``(B, h, w)`` bool, nodes inside the face.

    Returns:
        ``(B,)`` str: ``whole`` where more than half of the nodes inside the face are manipulated (by more than
        ``localisation.COVERED`` of their cell), ``part`` where fewer are; empty where the mask covers nothing.

    Example:
        >>> extent(torch.tensor([[[0.9, 0.9], [0.9, 0.0]], [[0.9, 0, ], [0, 0]]]), torch.ones(2, 2, 2).bool()).tolist()
        ['whole', 'part']
    """
    covered = (covers > COVERED) & inside
    share = covered.sum(dim=(1, 2)) / inside.sum(dim=(1, 2)).clamp(min=1)
    names = np.where((share > _HALF).cpu().numpy(), "whole", "part").astype(object)
    names[(covers == 0).all(dim=2).all(dim=1).cpu().numpy()] = ""
    return names


def _between_nodes(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Heights between neighbouring quantiles of the nodes, rising, and one below all of them."""
    found = np.unique(np.quantile(values, np.linspace(0, 1, _CANDIDATES), method="lower"))
    below = found[0] - 1e-3 * (np.ptp(found) or abs(found[0]) or 1.0)
    return np.concatenate([[below], (found[1:] + found[:-1]) / 2])


def _above(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pixels that pass each threshold, from the pixels that pass each number of thresholds."""
    return np.asarray(counts[::-1].cumsum()[::-1][1:])


def _check(maps: Tensor, masks: Tensor) -> None:
    if maps.ndim != 3 or masks.ndim != 3 or len(maps) != len(masks):
        raise ConfigError(f"Maps {tuple(maps.shape)} and masks {tuple(masks.shape)} must be (B, h, w) and (B, H, W).")
    for name, table in (("map", maps), ("mask", masks)):
        if not bool(table.isfinite().all()):
            raise ConfigError(f"{int((~table.isfinite()).sum())} values of a {name} are not finite.")
