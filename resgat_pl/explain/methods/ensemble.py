"""The contributions of an ensemble: those of its members, weighted and on one grid."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from resgat_pl.explain.base import Attribution, Explainer
from resgat_pl.explain.registry import explainer
from resgat_pl.nn.detector_net import DetectorNet
from resgat_pl.nn.ensemble import Ensemble


@explainer("graph", "Of an ensemble: what each place adds to the logit, over all members; they add up to it exactly.")
class EnsembleContribution(Explainer):
    """The contributions of all members, each times w / T, on a common grid, see ``nn.ensemble``. Exact.

    Example:
        >>> from resgat_pl.nn.resgat import ResGAT
        >>> spec = ResGAT(encoder="resnet18", heads=1, hidden=4, image_size=64).spec
        >>> net = Ensemble([spec, spec], [0.5, 0.5], image_size=64)
        >>> found = EnsembleContribution(net).attribute(torch.rand(1, 3, 64, 64))
        >>> float((found.node_map.sum() + found.bias - found.logit).abs()) < 1e-4
        True
    """

    exact: ClassVar[bool] = True
    needs: ClassVar[type[DetectorNet]] = Ensemble
    net: Ensemble

    @classmethod
    def refusal(cls, net: DetectorNet) -> str | None:
        """See ``Explainer``."""
        members = zip(net.names, net.nets, strict=True) if isinstance(net, Ensemble) else ()
        black = [name for name, member in members if not member.has_contributions]
        return f"adds up contributions, and the member {black[0]} has none." if black else None

    @torch.no_grad()
    def explain(self, images: Tensor) -> Attribution:
        """See ``Explainer``."""
        found = self.net.parts(images)
        return Attribution(found.node.sum(dim=0).flatten(1), found.logit, found.bias.sum(dim=0))
