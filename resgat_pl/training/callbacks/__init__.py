"""Lightning callbacks: heat-maps, predictions, provenance, and guards against NaN and undefined metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resgat_pl.core.lazy import lazy_names

if TYPE_CHECKING:
    from resgat_pl.training.callbacks.heatmaps import Heatmaps as Heatmaps
    from resgat_pl.training.callbacks.nonfinite import NonFiniteGuard as NonFiniteGuard
    from resgat_pl.training.callbacks.predictions import PredictionWriter as PredictionWriter
    from resgat_pl.training.callbacks.provenance import RunProvenance as RunProvenance

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Heatmaps": "heatmaps",
        "NonFiniteGuard": "nonfinite",
        "PredictionWriter": "predictions",
        "RunProvenance": "provenance",
    },
)
