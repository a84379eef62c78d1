"""Metrics of a trained detector, and the provenance of each number."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resgat_pl.core.lazy import lazy_names

if TYPE_CHECKING:
    from resgat_pl.evaluation.cross_dataset import cross as cross
    from resgat_pl.evaluation.detector import Detector as Detector
    from resgat_pl.evaluation.predict import score as score

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Detector": "detector",
        "cross": "cross_dataset",
        "score": "predict",
    },
)
