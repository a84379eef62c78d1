"""Class paths of earlier versions, as they stand in configurations that runs have saved.

Modules have moved and classes have new names since; a configuration of an old run loads all the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from resgat_pl.core.errors import ConfigError

RENAMED: Final = {
    "resgat_pl.averaging": "resgat_pl.training.callbacks.weight_averaging",
    "resgat_pl.callbacks": "resgat_pl.training.callbacks.predictions",
    "resgat_pl.callbacks.Heatmaps": "resgat_pl.training.callbacks.Heatmaps",
    "resgat_pl.checkpoints.AtomicCheckpointIO": "resgat_pl.training.checkpoints.safe_io.AtomicCheckpointIO",
    "resgat_pl.checkpoints.WholeCSVLogger": "resgat_pl.training.loggers.csv.AtomicCSVLogger",
    "resgat_pl.checkpoints.CheckpointRoom": "resgat_pl.training.checkpoints.safe_io.SafeCheckpoints",
    "resgat_pl.data.cutting.Extraction": "resgat_pl.data.extraction.settings.Extraction",
    "resgat_pl.data.dataset": "resgat_pl.data.loading.dataset",
    "resgat_pl.data.leave_out": "resgat_pl.data.splits",
    "resgat_pl.finite.FiniteGuard": "resgat_pl.training.callbacks.NonFiniteGuard",
    "resgat_pl.heatmaps": "resgat_pl.training.callbacks",
    "resgat_pl.module": "resgat_pl.training",
    "resgat_pl.monitors": "resgat_pl.training.callbacks.monitor_fallback",
    "resgat_pl.provenance.RunProvenance": "resgat_pl.training.callbacks.RunProvenance",
    "resgat_pl.recovery": "resgat_pl.training.checkpoints",
    "resgat_pl.safe_loading.SafeLoading": "resgat_pl.training.checkpoints.safe_io.SafeCheckpoints",
    "resgat_pl.safe_loading.SafeReading": "resgat_pl.training.checkpoints.safe_io.SafeCheckpointIO",
    "resgat_pl.wandb_logger.LastingWandbLogger": "resgat_pl.training.loggers.ResilientWandbLogger",
}
"""Old module or class → where its classes, or the class, are now."""
GONE: Final = {
    "resgat_pl.data.engines": "extraction runs on this machine, on Dask (--engine dask), or in parts (--part K/N)",
}
"""Old module → what replaces its classes."""
_PATH: Final = re.compile(r"resgat_pl(\.\w+)+")
_renewing: set[str] = set()
"""Modes whose loader replaces old class paths already: a process may run several commands."""


def new_name(path: str) -> str:
    """Path of a class of an earlier version as it is now; other paths are returned unchanged.

    Raises:
        ConfigError: It is gone; the message says what replaces it.

    Example:
        >>> new_name("resgat_pl.data.leave_out.LeaveOut")
        'resgat_pl.data.splits.LeaveOut'
        >>> new_name("resgat_pl.data.splits.PaperSplit")
        'resgat_pl.data.splits.PaperSplit'
    """
    module, _, name = path.rpartition(".")
    if path in RENAMED:
        return RENAMED[path]
    if module in GONE:
        raise ConfigError(f"{path} was of an earlier version: {GONE[module]}.")
    return f"{RENAMED[module]}.{name}" if module in RENAMED else path


def renewed(value: Any) -> Any:
    """A configuration, or a part of one, with today's class paths."""
    if isinstance(value, dict):
        return {key: renewed(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [renewed(entry) for entry in value]
    return new_name(value) if isinstance(value, str) and _PATH.fullmatch(value) else value


def read_old_names(mode: str) -> None:
    """Let jsonargparse's loader of this mode replace old class paths in all that it reads, files and options."""
    if mode in _renewing:
        return
    from jsonargparse import get_loader, set_loader
    from jsonargparse._loaders_dumpers import get_loader_exceptions, set_omegaconf_loader

    from resgat_pl.cli.nets import with_class

    set_omegaconf_loader(mode)  # type: ignore[no-untyped-call]  # jsonargparse 4.53 has no types for it
    load: Callable[..., Any] = get_loader(mode)

    def loaded(text: str) -> Any:
        return with_class(renewed(load(text)))

    set_loader(mode, loaded, get_loader_exceptions(mode))
    _renewing.add(mode)
