"""Crops as batches: torch data sets, samplers, worker processes, and loaders that a run can resume."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resgat_pl.core.lazy import lazy_names

if TYPE_CHECKING:
    from resgat_pl.data.loading.dataset import FaceCrops as FaceCrops
    from resgat_pl.data.loading.samplers import EvalSampler as EvalSampler, TrainSampler as TrainSampler

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "EvalSampler": "samplers",
        "FaceCrops": "dataset",
        "TrainSampler": "samplers",
    },
)
