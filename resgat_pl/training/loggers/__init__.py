"""Loggers whose failures neither end a training nor lose its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from resgat_pl.core.lazy import lazy_names

if TYPE_CHECKING:
    from resgat_pl.training.loggers.csv import AtomicCSVLogger as AtomicCSVLogger
    from resgat_pl.training.loggers.wandb import ResilientWandbLogger as ResilientWandbLogger

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "AtomicCSVLogger": "csv",
        "ResilientWandbLogger": "wandb",
    },
)
