"""Learning-rate schedules: checks of their monitor, and that they last for the whole training."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable
from typing import Any, Final, Literal, Self

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities import rank_zero_info
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, ReduceLROnPlateau

from resgat_pl.core.errors import ConfigError

_REHEARSED: Final = 1000
"""Steps of a schedule that are tried before the training: a moment's work."""


def schedule(scheduler: Any, interval: Literal["epoch", "step"], trainer: Trainer) -> dict[str, Any]:
    """The configuration of a scheduler for Lightning.

    Args:
        scheduler: The scheduler.
        interval: When it advances.
        trainer: Trains with it.

    Raises:
        ConfigError: It would fail, or do nothing, after the first epoch or step, or at its own end.
    """
    entry = {"scheduler": scheduler, "interval": interval}
    if isinstance(scheduler, ReduceLROnPlateau):
        return {**entry, **_plateau(scheduler, interval, trainer)}
    if isinstance(scheduler, OneCycleLR):
        expected = expected_steps(interval, trainer)
        if expected > scheduler.total_steps:
            unit = "epochs" if interval == "epoch" else "steps"
            advice = (
                f"Set --model.lr_scheduler.total_steps {expected:.0f}"
                if math.isfinite(expected)
                else "Set trainer.max_epochs, and total_steps to the steps that these take"
            )
            other = " It is meant to advance every step: --model.lr_interval step." if interval == "epoch" else ""
            raise ConfigError(
                f"model.lr_scheduler is OneCycleLR with {scheduler.total_steps} steps in all, and training takes "
                f"{expected:.0f} {unit}: it would fail after {scheduler.total_steps}. {advice}.{other}"
            )
    return entry


def _plateau(scheduler: ReduceLROnPlateau, interval: str, trainer: Trainer) -> dict[str, Any]:
    monitor = getattr(scheduler, "monitor", None)
    if monitor is None:  # torch's own
        if scheduler.mode == "max":
            raise ConfigError(
                "model.lr_scheduler is torch's ReduceLROnPlateau with mode max, which names no metric, and val/loss "
                "falls. Name one: --model.lr_scheduler lightning.pytorch.cli.ReduceLROnPlateau "
                "--model.lr_scheduler.monitor val/video_auroc --model.lr_scheduler.mode max"
            )
        monitor = "val/loss"
        rank_zero_info(
            "torch's ReduceLROnPlateau names no metric: the learning rate follows val/loss. For another, take "
            "lightning.pytorch.cli.ReduceLROnPlateau with its monitor."
        )
    validated = str(monitor).startswith("val/")
    if validated and trainer.limit_val_batches == 0:
        raise ConfigError(
            f"model.lr_scheduler monitors {monitor}, but trainer.limit_val_batches is 0: nothing is validated. Let it "
            "monitor train/loss, or validate."
        )
    if validated and interval == "step":
        raise ConfigError(
            f"model.lr_scheduler monitors {monitor} and model.lr_interval is step, but validation is not made every "
            "step: set --model.lr_interval epoch."
        )
    every = trainer.check_val_every_n_epoch
    return {
        "monitor": monitor,
        "frequency": (every or 1) if validated else 1,  # in the epochs that are validated
        # validated every so many steps, the first epochs may be over before
        "strict": not (validated and every is None),
    }


def expected_steps(interval: str, trainer: Trainer) -> float:
    """Number of times that a schedule advances in a training; infinite where that has no fixed end."""
    if interval == "epoch":
        epochs = trainer.max_epochs
        return math.inf if epochs is None or epochs < 0 else float(epochs)
    return float(trainer.estimated_stepping_batches)


def rehearse(
    optimizer: OptimizerCallable, scheduler: LRSchedulerCallable, expected: float, state: dict[str, Any] | None = None
) -> None:
    """Advance a schedule on dummy weights, so that what fails in it fails before the training.

    Args:
        optimizer: Makes the optimiser.
        scheduler: Makes the scheduler.
        expected: How often it will advance.
        state: State of the schedule in the checkpoint that training resumes from; it includes its length.

    Raises:
        ConfigError: It fails.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            trial = optimizer([torch.nn.Parameter(torch.zeros(2, 2))])
            schedule = scheduler(trial)
        except Exception:  # optimisers for certain weights only refuse others
            return
        if state is not None:
            schedule.load_state_dict(state)
            expected -= schedule.last_epoch
        for step in range(int(min(expected, _REHEARSED))):
            try:
                with contextlib.suppress(AttributeError):
                    trial.step()
                _advance(schedule)
            except Exception as error:
                reason = " ".join(str(error).split())[:300] or type(error).__name__
                again = "" if state is None else " after the checkpoint, whose schedule goes on and ends earlier"
                remedy = "" if state is None else ". Train no longer than that, or without --ckpt_path."
                raise ConfigError(
                    f"model.lr_scheduler ({type(schedule).__name__}) fails when it advances for the "
                    f"{step + 1}. time{again}: {reason.removesuffix('.')}{remedy}"
                ) from error


def _advance(scheduler: LRScheduler | ReduceLROnPlateau) -> None:
    if isinstance(scheduler, ReduceLROnPlateau):
        scheduler.step(1.0)
    else:
        scheduler.step()


class Maker:
    """Makes an optimiser or a schedule. Copies of the module share it: the command line's holds the whole run."""

    def __init__(self, make: Callable[..., Any]) -> None:
        self.make = make

    def __call__(self, *given: Any) -> Any:
        """Make it."""
        return self.make(*given)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


def scale_rate(
    optimizer: torch.optim.Optimizer, trainer: Trainer, lr_batch: int | None, scaling: Literal["sqrt", "linear"]
) -> None:
    """Scale the learning rate, and log it with the effective batch, on the terminal and to every logger.

    Args:
        optimizer: As it was made, with the rate that was given.
        trainer: Its data module knows the batch size.
        lr_batch: Crops for which the rate was given; None leaves it.
        scaling: With the root of the ratio of batches, or with the ratio.

    Raises:
        ConfigError: ``lr_batch`` is given, and nobody knows the batch size.
    """
    crops = getattr(getattr(trainer, "datamodule", None), "batch_size", None)
    if crops is None:
        if lr_batch is not None:
            raise ConfigError(
                f"model.lr_batch is {lr_batch}, but there is no data module that knows its batch_size: train "
                "with one, or set model.lr_batch to null and give the learning rate itself."
            )
        return
    nodes, accumulated = trainer.num_nodes, trainer.accumulate_grad_batches
    batch = trainer.world_size * crops * accumulated
    given = optimizer.param_groups[0]["lr"]
    ratio = 1.0 if lr_batch is None else batch / lr_batch
    for group in optimizer.param_groups:
        group["lr"] *= math.sqrt(ratio) if scaling == "sqrt" else ratio
    used = optimizer.param_groups[0]["lr"]
    scaled = "" if lr_batch is None else f" ({given:g} for {lr_batch} crops, {scaling})"
    rank_zero_info(
        f"effective batch {batch} = {nodes} × {trainer.world_size // nodes} processes × {crops} crops × "
        f"{accumulated} accumulated; learning rate {used:.3g}{scaled}"
    )
    for logger in trainer.loggers:
        logger.log_hyperparams({"effective_batch": batch, "learning_rate": float(used)})
