"""A fallback to ``val/loss`` for monitors whose metric is undefined on the validation split."""

from __future__ import annotations

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_warn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from resgat_pl.data.manifest.class_counts import only_class
from resgat_pl.training.lightning_internals import callbacks_of, data_module

_UNDEFINED = ("_auroc", "_ap", "_eer", "_balanced_accuracy")
"""Endings of the metrics that need both classes."""


class MonitorFallback(Callback):
    """Monitors ``val/loss`` in the place of AUROC and the like where the validation split has one class.

    This concerns checkpoints, early stopping and ``ReduceLROnPlateau``. AUROC is undefined there: no epoch would ever
    be better than the first one.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Change the metric that a schedule monitors, before its state is restored."""
        lone = _only_class(trainer)
        for config in trainer.lr_scheduler_configs if lone else []:
            monitored, plateau = str(config.monitor), config.scheduler
            if not isinstance(plateau, ReduceLROnPlateau) or not monitored.endswith(_UNDEFINED):
                continue
            config.monitor = "val/loss"
            plateau._init_is_better("min", plateau.threshold, plateau.threshold_mode)
            plateau._reset()
            rank_zero_warn(
                f"{type(plateau).__name__} monitors val/loss: {monitored} is undefined, since the validation split "
                f"holds only {lone} faces."
            )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Change what is monitored, before a checkpoint's state is restored: it is stored under the metric's name.

        In a test as well, so that the state of a checkpoint finds its callback.
        """
        lone = _only_class(trainer)
        if lone is None:
            return
        for callback in callbacks_of(trainer):
            if not isinstance(callback, ModelCheckpoint | EarlyStopping):
                continue
            monitored = callback.monitor
            if not monitored or not monitored.startswith("val/") or not monitored.endswith(_UNDEFINED):
                continue
            _go_by_loss(callback)
            if stage != "fit":
                continue
            rank_zero_warn(
                f"{type(callback).__name__} monitors val/loss: {monitored} is undefined, since the validation split "
                f"holds only {lone} faces. For AUROC choose a split with both classes."
            )


def _only_class(trainer: Trainer) -> str | None:
    """The only class in the validation split; None if it holds both, or is not what is validated."""
    data = data_module(trainer)
    if data is None or trainer.limit_val_batches == 0 or data.overfits:
        return None
    return only_class(data.manifest.counts()["val"])


def _go_by_loss(callback: ModelCheckpoint | EarlyStopping) -> None:
    worst = torch.tensor(torch.inf)
    if isinstance(callback, ModelCheckpoint):
        callback.kth_value = worst
    else:
        callback.best_score = worst
        callback.min_delta = -abs(callback.min_delta)  # stored with the sign of the direction
    callback.monitor, callback.mode = "val/loss", "min"
