"""Mask-guided contributions: training the explanation where it is known what was forged."""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

FORGED: Final = 0.2
"""A node is forged if the mask covers more of it than this."""
CLEAN: Final = 0.02
"""A node is clean if the mask covers no more of it than this; nodes between the two limits have no loss."""
SCALE: Final = 4 / 49
"""Slope per node: contributions are shares of one logit, so with more nodes each is smaller in proportion."""
_MARGIN: Final = 2.0
_FORGED_WEIGHT: Final = 3.0
"""Of a forged node against a clean one, of which there are far more."""


def seam_of(mask: Tensor) -> Tensor:
    """The seam of soft masks ``(B, H, W)`` float in [0, 1], the same shape: 1 where half is blended in, 0 inside.

    4 m (1 − m) of the mask m divided by its maximum (Li et al., "Face X-ray", CVPR 2020), so that a mask that is
    transparent all over has a seam at its rim alone.

    Example:
        >>> seam_of(torch.tensor([[[0.0, 0.25, 0.5]]]))
        tensor([[[0., 1., 0.]]])
    """
    full = mask.amax(dim=(-2, -1), keepdim=True).clamp(min=1e-6)
    share = mask / full
    return 4 * share * (1 - share)


def guidance_loss(contribution: Tensor, cover: Tensor, known: Tensor) -> Tensor:
    """Loss of contributions against where the forgery is.

    Every node is a separate classifier: with s = 4 N / 49, binary cross-entropy of s·c_j − 2 for a forged node and of
    s·|c_j| − 2 for a clean one. So the contribution of a forged node rises, and that of a clean one goes to 0 and not
    towards ever stronger evidence of *real*: then b' is what remains of the logit, which stays bounded. All nodes of a
    genuine face are clean.

    Args:
        contribution: ``(B, N)`` float, ``Contributions.node``, in logits.
        cover: ``(B, N)`` float in [0, 1], the share of each node's cell that was manipulated, see ``Lattice.cover``.
        known: ``(B,)`` bool, false where it is not known what was manipulated; such faces take no part.

    Returns:
        ``()`` float, at least 0; 0 if nothing is known.
    """
    scaled = contribution * (SCALE * contribution.shape[1])
    forged = cover > FORGED
    logit = torch.where(forged, scaled, scaled.abs()) - _MARGIN
    weight = torch.where(forged, _FORGED_WEIGHT, (cover <= CLEAN).to(logit.dtype)) * known[:, None]
    losses = F.binary_cross_entropy_with_logits(logit, forged.to(logit.dtype), weight=weight, reduction="sum")
    # Over nodes, not over weights: a batch of many forged nodes must not count less.
    return losses / (weight > 0).sum().clamp(min=1)
