"""Silence: contributions of genuine faces trained towards 0, the largest ones above all."""

from __future__ import annotations

from torch import Tensor

from resgat_pl.nn.mask_guidance import SCALE
from resgat_pl.training.losses.base import AuxiliaryLoss, LossInput


class Silence(AuxiliaryLoss):
    """Mean of the largest |c_j| of each genuine face, in units in which a forged node is at about 1.

    A map that always names something is worthless, and a single node that stands out on a genuine face is what an
    examiner sees: so the mean goes over few nodes.

    Args:
        weight: More than 0.
        share: Share of the nodes that are counted, the largest first.

    Example:
        >>> Silence(weight=0.5, share=0.1).name
        'silence'
    """

    name = "silence"

    def __init__(self, weight: float = 1.0, share: float = 0.1) -> None:
        super().__init__(weight)
        self.share = share

    def __call__(self, step: LossInput) -> Tensor:
        """See base class."""
        genuine = step.found.node[step.batch["label"] == 0]
        if not len(genuine):
            return step.found.node.sum() * 0
        nodes = genuine.shape[1]
        largest = genuine.abs().topk(max(1, round(self.share * nodes)), dim=1).values
        return largest.mean() * (SCALE * nodes)
