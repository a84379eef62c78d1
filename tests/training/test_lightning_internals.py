"""Lightning's private attributes have the expected values during a training with the installed release."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch.utils.data import DataLoader

from resgat_pl.training import lightning_internals as internals

from .checkpoints.test_recovery import QUIET, Logging, trainer


class Looking(Callback):
    def __init__(self) -> None:
        self.between: list[bool] = []
        self.unlogged: list[internals.StepMetrics | None] = []
        self.handler: Any = None

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self.between.append(internals.is_between_steps(trainer))
        self.unlogged.append(internals.unlogged_metrics(trainer))
        self.handler = internals.handler_before_lightning(trainer, signal.SIGTERM)


@QUIET
def test_a_training_as_it_is_seen_from_a_callback(tmp_path: Path) -> None:
    looking = Looking()
    before = signal.getsignal(signal.SIGTERM)
    running = trainer(tmp_path, looking, accumulate_grad_batches=2, log_every_n_steps=1)
    assert internals.newest_checkpoint(running) is None
    running.fit(Logging(), DataLoader(torch.zeros(6, 32)))
    assert looking.between == [False, True, False, True, False, False]  # accumulates, …, the epoch's end
    values = [row for row in looking.unlogged if row is not None]
    assert [(row.step, row.values) for row in values] == [
        (step, {"train/loss": float(step), "epoch": 0}) for step in range(3)
    ]
    assert looking.handler == before
    assert looking in internals.callbacks_of(running)
    assert internals.data_module(running) is None
    assert [type(callback) for callback in internals.checkpoint_savers(running)] == [ModelCheckpoint]
    assert internals.last_path(running) == tmp_path / "checkpoints" / "last.ckpt"
    assert internals.newest_checkpoint(running) == str(tmp_path / "checkpoints" / "last.ckpt")
    assert internals.requeueing_slurm(running) is None
    assert not internals.is_fast_dev_run(running)
