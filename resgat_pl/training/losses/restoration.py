"""Restoration: contributions trained to say what happens to the logit when nodes get their genuine pixels back."""

from __future__ import annotations

import math
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from resgat_pl.core.errors import ConfigError
from resgat_pl.nn.mask_guidance import FORGED, SCALE, guidance_loss
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.training.losses.base import AuxiliaryLoss, LossInput

_FEW: Final = 0.1
"""Share of the nodes up to which they are restored one by one, as explanations are tested."""


class Restoration(AuxiliaryLoss):
    """Contributions of a fake in which some nodes have their genuine partner's pixels.

    Of each pair (fake x, genuine r) a mixture is made: r in the cells of some nodes S, x elsewhere. If contributions
    are what their pixels do, those of the mixture are c_j(r) in S and c_j(x) elsewhere; then the logit falls by
    Σ_S (c_j(x) − c_j(r)) when S is restored. Four terms: the difference from the former, node by node; that from the
    latter, which is the effect of restoring S (both Huber); guidance by what the mask still covers; and detection,
    where something forged is left or nothing.

    Nodes are restored in three ways, in turn: the few with the largest contribution, single ones at random, and
    patches of any size. One more forward and backward pass for each pair: half as much again as the step without.

    The effect needs a term of its own: errors of a hundred nodes, each too small to count, add up to more than the
    contribution of the node that is restored, as soon as they have one sign.

    Args:
        weight: More than 0.
        effect: Weight of the term of the effect among the four; 0 leaves it out.
        effect_from: Share of the training, in [0, 1), from which on that term counts. It moves whole logits, so that
            genuine faces fall silent later, or not at all, if it counts from the start.

    Example:
        >>> Restoration(weight=1, effect=0.5, effect_from=0.75).needs_pairs
        True
    """

    name = "restoration"
    needs_masks = True
    needs_pairs = True

    def __init__(self, weight: float = 1, effect: float = 1, effect_from: float = 0) -> None:
        super().__init__(weight)
        if not 0 <= effect < math.inf:
            raise ConfigError(f"effect is {effect:g}. It is the weight of a term: 0 or more.")
        if not 0 <= effect_from < 1:
            raise ConfigError(f"effect_from is {effect_from:g}. It is a share of the training: 0 or more, below 1.")
        self.effect = effect
        self.effect_from = effect_from

    def check_net(self, net: ResGAT) -> None:
        """See base class."""
        if net.grid.level is not None:
            raise ConfigError(
                "model.losses has Restoration, which exchanges the pixels of single nodes, and net.encoder_stage is "
                "[3, 4], where nodes of two grids lie on the same pixels: set 3 or 4, or leave the loss out."
            )

    def __call__(self, step: LossInput) -> Tensor:
        """See base class."""
        pairs = step.pairs
        if not len(pairs):
            return step.found.node.sum() * 0
        fake, genuine = pairs.T
        images, shape = step.batch["image"], step.lattice.shape
        chosen = choose_nodes(step.found.node[fake].detach(), shape)
        cells = step.lattice.cells(*images.shape[-2:]).to(images.device)
        place = chosen[:, cells]
        mixture = torch.where(place[:, None], images[genuine], images[fake])
        found = step.decompose(mixture)
        # Node by node
        expected = torch.where(chosen, step.found.node[genuine], step.found.node[fake]).detach()
        scale = SCALE * expected.shape[1]
        consistency = F.smooth_l1_loss(found.node * scale, expected * scale)
        # All together; louder genuine nodes would make the difference smaller, too
        said = (step.found.node[fake] - step.found.node[genuine].detach()).masked_fill(~chosen, 0).sum(dim=1)
        fall = step.found.output.logit[fake] - found.output.logit
        unit = scale / chosen.sum(dim=1).sqrt()  # independent errors of |S| nodes add up to √|S| of one
        effect = F.smooth_l1_loss(fall * unit, said * unit)
        # What is still forged
        mask = step.batch["mask"][fake].masked_fill(place, 0)
        cover = step.lattice.cover(mask).flatten(1)
        known = step.batch["mask_known"][fake]
        guidance = guidance_loss(found.node, cover, known)
        left = (cover > FORGED).any(dim=1)
        decided = known & (left | (mask.flatten(1).amax(dim=1) == 0))
        losses = F.binary_cross_entropy_with_logits(found.output.logit, left.to(found.node.dtype), reduction="none")
        detection = (losses * decided).sum() / decided.sum().clamp(min=1)
        weight = self.effect if step.progress >= self.effect_from else 0.0
        return consistency + weight * effect + guidance + detection


def choose_nodes(contribution: Tensor, shape: tuple[int, int]) -> Tensor:
    """Nodes to restore, ``(B, N)`` bool, of contributions ``(B, N)``: the largest, single ones, or patches, in turn."""
    count, nodes = contribution.shape
    device = contribution.device
    few = max(1, round(_FEW * nodes))
    random = torch.rand(count, nodes, device=device)
    # A smooth random field makes patches; its rank makes any share of the nodes equally likely.
    coarse = torch.rand(count, 1, 3, 3, device=device)
    field = F.interpolate(coarse, size=shape, mode="bicubic", align_corners=True).flatten(1) + 0.02 * random
    order = torch.stack([contribution.float(), random, field], dim=1)
    way = torch.arange(count, device=device) % 3
    rank = order[torch.arange(count, device=device), way].argsort(dim=1, descending=True).argsort(dim=1)
    most = torch.where(way == 2, nodes - 1, few)
    number = 1 + (torch.rand(count, device=device) * most).long()
    return rank < number[:, None]
