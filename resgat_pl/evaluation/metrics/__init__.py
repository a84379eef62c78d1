"""Detection metrics per frame and per video, calibration, and bootstrap intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resgat_pl.core.lazy import lazy_names

if TYPE_CHECKING:
    from resgat_pl.evaluation.metrics.curves import level_curves as level_curves
    from resgat_pl.evaluation.metrics.intervals import Interval as Interval, bootstrap as bootstrap
    from resgat_pl.evaluation.metrics.scores import evaluate as evaluate
    from resgat_pl.evaluation.metrics.torch_metrics import DetectionMetrics as DetectionMetrics

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "DetectionMetrics": "torch_metrics",
        "Interval": "intervals",
        "bootstrap": "intervals",
        "evaluate": "scores",
        "level_curves": "curves",
    },
)
