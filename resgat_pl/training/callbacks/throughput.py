"""The curves of a training's learning rate and speed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger

RATE: Final = "train/learning_rate"
SPEED: Final = "train/crops_per_second"
WAIT: Final = "train/data_wait"


class Throughput(Callback):
    """Logs the learning rate, crops a second, and the share of the time that was spent waiting for data.

    Every ``trainer.log_every_n_steps`` optimiser steps, at the step of ``train/loss``: ``train/learning_rate`` (with
    several groups of parameters also ``train/learning_rate/1`` and so on), ``train/crops_per_second`` over all
    processes, and ``train/data_wait`` in [0, 1]. Two readings of the clock a batch are all that it costs; nothing is
    read from a GPU. Validations and checkpoints do not count.

    Waiting is the time from the end of a step to the beginning of the next: loading, and the transfer to the device. A
    share near 0 says that the device is busy; a large one asks for more ``data.num_workers``.

    They go to every logger but the CSV logger: ``metrics.csv`` holds what is the same whenever the run is repeated.

    Example:
        >>> Throughput().state_key
        'Throughput'
    """

    def __init__(self) -> None:
        super().__init__()
        self._since: float | None = None  # end of the last step
        self._began = 0.0
        self._rates: dict[str, float] = {}
        self._logged = -1
        self._restart()

    def _restart(self) -> None:
        self._waited = self._worked = 0.0
        self._crops = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count."""
        self._logged = trainer.global_step
        self._restart()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Wait for the first batch."""
        self._since = time.perf_counter()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the validation out: the wait that it ends in is not counted."""
        self._since = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """End a wait."""
        self._began = time.perf_counter()
        self._rates = learning_rates(trainer)  # before the schedule goes on
        if self._since is not None:
            self._waited += self._began - self._since

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """End a step; log when it is time."""
        self._since = time.perf_counter()
        self._worked += self._since - self._began
        self._crops += len(batch["label"]) if isinstance(batch, Mapping) else len(batch)
        steps = trainer.global_step
        every = trainer.log_every_n_steps  # type: ignore[attr-defined]  # public, but set where mypy does not see it
        if trainer.loggers and every and steps != self._logged and steps % every == 0:
            self._logged = steps
            self._log(trainer, steps - 1)  # as Lightning counts for the metrics of the same step
            self._restart()

    def _log(self, trainer: Trainer, step: int) -> None:
        seconds = self._waited + self._worked
        values: dict[str, float] = {"epoch": trainer.current_epoch, **self._rates}
        if seconds > 0:
            values |= {SPEED: trainer.world_size * self._crops / seconds, WAIT: self._waited / seconds}
        for logger in trainer.loggers:
            if not isinstance(logger, CSVLogger):
                logger.log_metrics(values, step=step)


def learning_rates(trainer: Trainer) -> dict[str, float]:
    """The rate of each group of parameters, in order; the first without a number."""
    groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
    return {f"{RATE}/{at}" if at else RATE: float(group["lr"]) for at, group in enumerate(groups)}
