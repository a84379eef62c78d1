"""Scores of a detector's own masks, drawn over the pixels, against manipulation masks; and the threshold that draws."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from resgat_pl.evaluation.localisation import aupro, node_auroc
from resgat_pl.nn.node_geometry import Lattice

_STEPS: Final = 100
"""Thresholds are multiples of 1 / 100, from 0.01 to 0.99."""
HALF: Final = 0.5
"""A pixel of which more was manipulated is; also the threshold of other work, for comparison."""


@dataclass(frozen=True)
class MaskScores:
    """Scores of the masks of B faces, of which it is known what was manipulated; on the CPU.

    Attributes:
        row: ``(B,)`` int64, the faces' rows in the manifest.
        forged: ``(B,)`` bool, true if a pixel was manipulated.
        peak: ``(B,)`` float32, the largest value of the mask over the pixels.
        iou: ``(B, 99)`` float32, intersection over union at each threshold; NaN of genuine faces, as the next two.
        auroc: ``(B,)`` float64, area under the ROC curve of the pixels.
        aupro: ``(B,)`` float64, see ``localisation.aupro``; NaN if it was not asked for.
    """

    row: Tensor
    forged: Tensor
    peak: Tensor
    iou: Tensor
    auroc: Tensor
    aupro: Tensor

    @classmethod
    def of(cls, row: Tensor, maps: Tensor, masks: Tensor, lattice: Lattice, regions: bool = True) -> MaskScores:
        """Score ``maps (B, h, w)`` float in [0, 1] against ``masks (B, H, W)`` float in [0, 1].

        Args:
            row: ``(B,)`` int64.
            maps: The detector's masks, one value a node.
            masks: What was manipulated; a pixel above 0.5 is.
            lattice: Where the nodes are.
            regions: Whether to compute AUROC and AUPRO, which take milliseconds a face.

        Example:
            >>> mask = torch.zeros(1, 4, 4)
            >>> mask[0, :2] = 1
            >>> nodes = torch.tensor([[[0.9, 0.9], [0.1, 0.1]]])
            >>> found = MaskScores.of(torch.zeros(1), nodes, mask, Lattice.even(2, 2))
            >>> round(found.best_threshold(), 2), found.summary(0.5)["mask_iou"]
            (0.51, 1.0)
        """
        heat = lattice.heatmap(maps.float(), (masks.shape[1], masks.shape[2]))
        wanted = masks > HALF
        forged = wanted.flatten(1).any(dim=1)
        passed = (heat * _STEPS + 1e-4).long().clamp(0, _STEPS - 1).flatten(1)  # thresholds that each pixel reaches
        named, both = (_reached(passed, part) for part in (None, wanted.flatten(1)))
        iou = both / (named + wanted.flatten(1).sum(dim=1, keepdim=True) - both).clamp(min=1)
        undefined = torch.full((len(maps),), torch.nan, dtype=torch.float64)
        return cls(
            row.cpu().long(),
            forged.cpu(),
            heat.flatten(1).amax(dim=1).cpu(),
            iou.float().masked_fill(~forged[:, None], torch.nan).cpu(),
            node_auroc(heat, wanted.float()).cpu() if regions else undefined,
            aupro(maps, masks, lattice).cpu() if regions else undefined,
        )

    @classmethod
    def join(cls, parts: list[MaskScores]) -> MaskScores | None:
        """All faces of several scores, each row once; None of none."""
        if not parts:
            return None
        rows = torch.cat([part.row for part in parts])
        order = rows.argsort(stable=True)
        first = torch.ones_like(order, dtype=torch.bool)
        first[1:] = rows[order].diff() > 0
        chosen = order[first]
        return cls(*(torch.cat([getattr(part, name) for part in parts])[chosen] for name in cls.__dataclass_fields__))

    def best_threshold(self) -> float | None:
        """The threshold with the best mean IoU of fakes plus the share of genuine faces spared, as of other maps.

        See ``explain.benchmark.areas.best_threshold``; of equally good ones the middle. None without a fake whose mask
        is known. To be chosen on validation faces.
        """
        if not bool(self.forged.any()):
            return None
        heights = torch.arange(1, _STEPS, dtype=torch.float64) / _STEPS
        total = self.iou[self.forged].double().mean(dim=0)
        if bool((~self.forged).any()):
            total = total + (self.peak[~self.forged][:, None] < heights).double().mean(dim=0)
        best = (total >= total.max() - 1e-9).nonzero().squeeze(1)
        return float(heights[best[len(best) // 2]])

    def summary(self, threshold: float | None) -> dict[str, float]:
        """Means over the faces, at a threshold, or at 0.5 where there is none; what is not defined is left out.

        Returns:
            ``mask_iou`` and ``mask_f1`` at the threshold and ``mask_iou_half`` at 0.5, ``mask_auroc`` and
            ``mask_aupro``, of fakes; and ``mask_spared``, the share of genuine faces on which no pixel is named.
        """
        limit = HALF if threshold is None else threshold
        place, half = (min(max(round(each * _STEPS), 1), _STEPS - 1) - 1 for each in (limit, HALF))
        iou = self.iou[self.forged].double()
        values = {
            "mask_iou": iou[:, place],
            "mask_f1": 2 * iou[:, place] / (1 + iou[:, place]),  # of one image's pixels
            "mask_iou_half": iou[:, half],
            "mask_auroc": self.auroc[self.forged],
            "mask_aupro": self.aupro[self.forged],
            "mask_spared": (self.peak[~self.forged] < limit).double(),
        }
        means = {name: float(each.nanmean()) for name, each in values.items() if len(each)}
        return {name: value for name, value in means.items() if not math.isnan(value)}


def _reached(passed: Tensor, part: Tensor | None) -> Tensor:
    """Pixels ``(B, 99)`` at or above each threshold, of all or of a part of them ``(B, P)``."""
    images = torch.arange(len(passed), device=passed.device)[:, None]
    places = images * _STEPS + passed
    counts = torch.bincount((places if part is None else places[part]).flatten(), minlength=len(passed) * _STEPS)
    return counts.reshape(len(passed), _STEPS).flip(1).cumsum(dim=1).flip(1)[:, 1:]
