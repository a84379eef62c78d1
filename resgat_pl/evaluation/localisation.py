"""Localisation: scores of node maps against manipulation masks, image by image.

Every function returns one number per image, so that the caller can average over any videos, resampled or not. NaN
stands for an image in which nothing was manipulated, or everything.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resgat_pl.core.errors import ConfigError
from resgat_pl.nn.node_geometry import Lattice

COVERED: Final = 0.2
"""A node is positive, that is manipulated, if the mask covers more than this share of its cell. All others are
negative, those that the mask touches by less too: leaving them out would be kinder to every method alike."""
FPR_LIMIT: Final = 0.3
"""Up to where ``aupro`` integrates."""


def node_auroc(maps: Tensor, covers: Tensor, valid: Tensor | None = None) -> Tensor:
    """Area under the ROC curve of the nodes of each image: how often a manipulated node ranks above a clean one.

    It depends on the order of the nodes alone, so maps of any unit compare; ties count half, and a map without any
    information scores 0.5.

    Args:
        maps: ``(B, h, w)`` float, higher where a node is evidence for *fake*.
        covers: ``(B, h, w)`` float in [0, 1], see ``Lattice.cover``; a node above ``COVERED`` is positive.
        valid: ``(B, h, w)`` bool, the nodes that take part, e.g. those inside the face; None for all. Position alone
            scores about 0.9 over all nodes, because corners are never manipulated.

    Returns:
        ``(B,)`` float64 in [0, 1]; NaN where there is no positive or no negative node.

    Raises:
        ConfigError: The shapes differ, or a value is not finite.
    """
    _check(maps, covers, valid)
    values = maps.flatten(1)
    used = torch.ones_like(values, dtype=torch.bool) if valid is None else valid.flatten(1)
    positive = (covers.flatten(1) > COVERED) & used
    negative = (covers.flatten(1) <= COVERED) & used
    # What is not negative is sorted behind everything, where no finite value counts it.
    ordered = values.masked_fill(~negative, torch.inf).sort(dim=1).values.contiguous()
    values = values.contiguous()
    beaten = torch.searchsorted(ordered, values) + torch.searchsorted(ordered, values, right=True)
    pairs = positive.sum(dim=1) * negative.sum(dim=1)
    return ((beaten * positive).sum(dim=1).double() / 2 / pairs).masked_fill(pairs == 0, torch.nan)


def pointing_game(maps: Tensor, covers: Tensor) -> Tensor:
    """Score 1 if the highest node of an image is manipulated, else 0: the pointing game.

    Zhang et al., "Top-down neural attention", IJCV 2018.

    Args:
        maps: ``(B, h, w)`` float.
        covers: ``(B, h, w)`` float in [0, 1]; a node above ``COVERED`` is positive.

    Returns:
        ``(B,)`` float64 in [0, 1]: 1 or 0 or, of several equally high nodes, the share that is manipulated. NaN where
        there is no positive or no negative node.

    Raises:
        ConfigError: The shapes differ, or a value is not finite.
    """
    _check(maps, covers, None)
    values, positive = maps.flatten(1), covers.flatten(1) > COVERED
    top = values == values.amax(dim=1, keepdim=True)
    share = (top & positive).sum(dim=1).double() / top.sum(dim=1)
    return share.masked_fill(_undefined(positive), torch.nan)


def mass_accuracy(maps: Tensor, covers: Tensor) -> Tensor:
    """Share of the positive evidence that lies inside the mask: relevance mass accuracy (Arras et al. 2022).

    Σ_j max(m_j, 0) · cover_j / Σ_j max(m_j, 0), which is the accuracy of the map painted over the pixels. It depends
    on the zero of the map, and so rewards methods that are 0 where nothing was manipulated.

    Args:
        maps: ``(B, h, w)`` float.
        covers: ``(B, h, w)`` float in [0, 1].

    Returns:
        ``(B,)`` float64 in [0, 1]; 0 for a map without any positive value, since no evidence is inside the mask; NaN
        where there is no positive or no negative node.

    Raises:
        ConfigError: The shapes differ, or a value is not finite.
    """
    _check(maps, covers, None)
    mass, share = maps.flatten(1).double().clamp(min=0), covers.flatten(1).double()
    total = mass.sum(dim=1)
    inside = (mass * share).sum(dim=1) / total.where(total > 0, 1)
    return inside.masked_fill(_undefined(share > COVERED), torch.nan)


def aupro(maps: Tensor, masks: Tensor, lattice: Lattice, limit: float = FPR_LIMIT) -> Tensor:
    """Area under the per-region overlap curve (Bergmann et al., "The MVTec anomaly detection dataset", IJCV 2021).

    The map is brought to the mask's resolution (``Lattice.heatmap``) and cut at every height. The
    overlap is the share of a region found, averaged over the regions of the image, so that a small region counts like
    a large one; it is plotted against the share of clean pixels that are found too, and averaged up to ``limit``.

    Args:
        maps: ``(B, h, w)`` float.
        masks: ``(B, H, W)`` float in [0, 1]; a pixel above 0.5 is manipulated. Regions touch along sides or corners.
        lattice: Where the nodes are.
        limit: Highest false positive rate, in (0, 1].

    Returns:
        ``(B,)`` float64 in [0, 1]; a map without any information scores ``limit`` / 2. NaN where no pixel or every
        pixel is manipulated.

    Raises:
        ConfigError: The numbers of images differ, a value is not finite, or ``limit`` is out of range.
    """
    if len(maps) != len(masks):
        raise ConfigError(f"There are {len(maps)} maps but {len(masks)} masks; give one for each.")
    _check(maps, maps, None)
    if not 0 < limit <= 1:
        raise ConfigError(f"limit is {limit}; a false positive rate to integrate to is above 0 and at most 1.")
    drawn = lattice.heatmap(maps.double(), (masks.shape[1], masks.shape[2]))
    found = [
        _overlap_area(heat, mask, limit)
        for heat, mask in zip(drawn.cpu().numpy(), (masks > 0.5).cpu().numpy(), strict=True)
    ]
    return torch.tensor(found, dtype=torch.float64, device=maps.device)


def _overlap_area(heat: NDArray[np.float64], mask: NDArray[np.bool_], limit: float) -> float:
    if mask.all() or not mask.any():
        return float("nan")
    region = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)[1].ravel()
    sizes = np.bincount(region)  # region 0 is what is clean
    weight = 1 / (sizes[region] * (len(sizes) - 1.0))  # each region counts alike, whatever its size
    order = np.argsort(-heat.ravel(), kind="stable")
    ends = np.flatnonzero(np.diff(heat.ravel()[order], append=-np.inf) < 0)  # pixels of one height come together
    clean = region[order] == 0
    rate = np.append(0.0, np.cumsum(clean)[ends] / sizes[0])
    overlap = np.append(0.0, np.cumsum(np.where(clean, 0.0, weight[order]))[ends])
    last = int(np.argmax(rate >= limit))  # rate ends at 1, so there is one; the one before is below the limit
    share = (limit - rate[last - 1]) / (rate[last] - rate[last - 1])
    end = overlap[last - 1] + share * (overlap[last] - overlap[last - 1])
    width = np.diff(np.append(rate[:last], limit))
    height = np.append(overlap[:last], end)
    return float((width * (height[1:] + height[:-1])).sum() / 2 / limit)


def _undefined(positive: Tensor) -> Tensor:
    return positive.all(dim=1) | ~positive.any(dim=1)


def _check(maps: Tensor, covers: Tensor, valid: Tensor | None) -> None:
    shapes = {tuple(table.shape) for table in (maps, covers, valid) if table is not None}
    if maps.ndim != 3 or len(shapes) > 1:
        raise ConfigError(f"The shapes {sorted(shapes)} must be one and the same (B, h, w).")
    for name, table in (("map", maps), ("cover", covers)):
        if not bool(table.isfinite().all()):
            raise ConfigError(f"{int((~table.isfinite()).sum())} values of a {name} are not finite.")
