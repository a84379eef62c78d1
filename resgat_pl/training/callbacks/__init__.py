"""Lightning callbacks: heat-maps, masks, predictions, curves, speed, artifacts, provenance, and guards against NaN."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resgat_pl.core.lazy import lazy_names

if TYPE_CHECKING:
    from resgat_pl.training.callbacks.adversarial import AdversarialTraining as AdversarialTraining
    from resgat_pl.training.callbacks.artifacts import WandbArtifacts as WandbArtifacts
    from resgat_pl.training.callbacks.drop_zoom import AttentionDropZoom as AttentionDropZoom
    from resgat_pl.training.callbacks.heatmaps import Heatmaps as Heatmaps
    from resgat_pl.training.callbacks.mask_scores import MaskHeadScores as MaskHeadScores
    from resgat_pl.training.callbacks.nonfinite import NonFiniteGuard as NonFiniteGuard
    from resgat_pl.training.callbacks.predictions import PredictionWriter as PredictionWriter
    from resgat_pl.training.callbacks.provenance import RunProvenance as RunProvenance
    from resgat_pl.training.callbacks.throughput import Throughput as Throughput

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "AdversarialTraining": "adversarial",
        "AttentionDropZoom": "drop_zoom",
        "Heatmaps": "heatmaps",
        "MaskHeadScores": "mask_scores",
        "NonFiniteGuard": "nonfinite",
        "PredictionWriter": "predictions",
        "RunProvenance": "provenance",
        "Throughput": "throughput",
        "WandbArtifacts": "artifacts",
    },
)
