"""Strength of the encoder's response as a map."""

from typing import ClassVar

import torch
from torch import Tensor

from resgat_pl.explain.base import Attribution, Explainer, Unit
from resgat_pl.explain.registry import explainer


@explainer("graph", "How strongly the encoder responds at each node.")
class FeatureNorm(Explainer):
    """Euclidean norm of the features of each node, before any attention."""

    unit: ClassVar[Unit] = "attention"
    signed: ClassVar[bool] = False

    @torch.no_grad()
    def explain(self, images: Tensor) -> Attribution:
        """See ``Explainer``."""
        features = self.net.encode(images)  # (B, N, F)
        logit = self.net.classify(self.net.graph(features)).logit
        return Attribution(features.norm(dim=2), logit, bias=logit)
