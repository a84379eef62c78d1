"""Every use of Lightning's private attributes, one function each, and what is asked of a Trainer more than once.

Private attributes may change with any release. Each function names the release that it was read from: a new one is
read again here, and nowhere else. Only loggers that inherit from Lightning's use private ones of their base class.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint, WeightAveraging

from resgat_pl.data.datamodule import FaceDataModule

T = TypeVar("T")


class StepMetrics(NamedTuple):
    """The metrics of one optimiser step, and the number of the step."""

    values: dict[str, float]
    step: int


def callbacks_of(trainer: Trainer) -> list[Callback]:
    """All callbacks; public, but set where type checkers do not see it (Lightning 2.6.6, ``_CallbackConnector``)."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return callbacks


def data_module(trainer: Trainer) -> FaceDataModule | None:
    """The data module of a Trainer; None if it has none, or another class (2.6.6, ``_DataConnector``)."""
    data = getattr(trainer, "datamodule", None)
    return data if isinstance(data, FaceDataModule) else None


def checkpoint_savers(trainer: Trainer) -> list[ModelCheckpoint]:
    """The callbacks that write checkpoints: ``trainer.checkpoint_callbacks`` may hold others of the user's."""
    return [callback for callback in trainer.checkpoint_callbacks if isinstance(callback, ModelCheckpoint)]


def log_folder(trainer: Trainer) -> Path:
    """The folder that a run writes to; collective, every rank must call it."""
    return Path(trainer.log_dir or trainer.default_root_dir)


def last_path(trainer: Trainer) -> Path:
    """The path of this run's ``last.ckpt``; collective, every rank must call it."""
    for callback in checkpoint_savers(trainer):
        if callback.filename == "last" and callback.dirpath is not None:
            return Path(callback.dirpath) / "last.ckpt"
    return log_folder(trainer) / "checkpoints" / "last.ckpt"


def newest_checkpoint(trainer: Trainer) -> str | None:
    """The checkpoint that this run wrote last, else the one that it started from, else None."""
    written = {
        Path(path)
        for callback in checkpoint_savers(trainer)
        for path in (
            callback.last_model_path,
            callback.best_model_path,
            f"{callback.dirpath}/last.ckpt" if callback.dirpath else "",
        )
        if path and Path(path).is_file()
    }
    newest = max(written, key=lambda path: path.stat().st_mtime, default=None)
    if newest is not None:
        return str(newest)
    return str(trainer.ckpt_path) if trainer.ckpt_path else None


def is_fast_dev_run(trainer: Trainer) -> bool:
    """True if nothing is stored; public, but untyped (2.6.6, ``_init_debugging_flags``)."""
    return bool(trainer.fast_dev_run)  # type: ignore[attr-defined]


def is_between_steps(trainer: Trainer) -> bool:
    """True if a checkpoint written now resumes exactly: not within a step, before a validation or an epoch's end.

    Lightning 2.6.6, ``_TrainingEpochLoop.advance``: ``_num_ready_batches_reached``, ``_should_accumulate``,
    ``_should_check_val_fx``; ``_FitLoop._data_fetcher``.
    """
    loop = trainer.fit_loop.epoch_loop
    if loop._num_ready_batches_reached() or loop._should_accumulate():
        return False
    return not loop._should_check_val_fx(trainer.fit_loop._data_fetcher)  # type: ignore[arg-type]  # set in training


def unlogged_metrics(trainer: Trainer) -> StepMetrics | None:
    """The metrics of the step just done, which Lightning passes to loggers only after ``on_train_batch_end``.

    Lightning 2.6.6, ``_LoggerConnector.update_train_step_metrics``; None where it will pass on none.
    """
    connector = trainer._logger_connector
    if not connector.should_update_logs or trainer.fit_loop._should_accumulate():
        return None
    values = {name: float(value) for name, value in connector.metrics["log"].items()}
    if not values:
        return None
    return StepMetrics({**values, "epoch": trainer.current_epoch}, trainer.fit_loop.epoch_loop._batches_that_stepped)


def log_metrics(trainer: Trainer, values: Mapping[str, float], step: int) -> None:
    """Pass metrics to all loggers, as Lightning does (2.6.6, ``_LoggerConnector.log_metrics``)."""
    trainer._logger_connector.log_metrics(dict(values), step=step)  # type: ignore[arg-type]  # numbers do as well


def all_ranks(trainer: Trainer, mine: T) -> list[T]:
    """The value of every rank, in order; collective."""
    values = [mine] * trainer.world_size
    if trainer.world_size > 1:
        torch.distributed.all_gather_object(values, mine)
    return values


def highest(trainer: Trainer, *mine: int) -> list[int]:
    """The highest of each number over all ranks; collective."""
    if trainer.world_size == 1:
        return list(mine)
    numbers = torch.tensor(mine, device=trainer.strategy.root_device)
    torch.distributed.all_reduce(numbers, torch.distributed.ReduceOp.MAX)
    found: list[int] = numbers.tolist()
    return found


def restore_loader_states(trainer: Trainer) -> None:
    """Give loaders their states before anything asks how long they are (2.6.6, ``_FitLoop``, from ``setup_data``)."""
    trainer.fit_loop._load_combined_loader_states()


def handler_before_lightning(trainer: Trainer, number: int) -> Any:
    """The signal handler that Lightning replaced, None if it replaced none (2.6.6, ``_SignalConnector``)."""
    return trainer._signal_connector._original_handlers.get(signal.Signals(number))


def requeueing_slurm(trainer: Trainer) -> SLURMEnvironment | None:
    """The SLURM job, if it is to be queued again after a signal (2.6.6, ``_AcceleratorConnector``)."""
    environment = trainer._accelerator_connector.cluster_environment
    return environment if isinstance(environment, SLURMEnvironment) and environment.auto_requeue else None


def averages(callback: WeightAveraging) -> bool:
    """True once there is an average (2.6.6, ``WeightAveraging.setup``)."""
    return callback._average_model is not None


def swap_weights(callback: WeightAveraging, module: LightningModule) -> None:
    """Exchange a module's weights with their average (2.6.6, ``WeightAveraging.on_validation_epoch_start``)."""
    callback._swap_models(module)
