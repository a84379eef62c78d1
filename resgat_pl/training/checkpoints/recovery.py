"""Training that resumes exactly: after a crash, a signal of a batch system, or Ctrl-C.

Lightning's checkpoints lack four things, which are added here: the states of the random generators of every rank, the
metrics that callbacks decide by, the best checkpoint's file, and the rows of ``metrics.csv`` so far. ``last.ckpt`` is
written between two optimiser steps only, and not right before a validation, which a resumed run would skip.
"""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Any, Final

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor

from resgat_pl.core.errors import ConfigError, Interrupted, Requeued, Stopped, WeightsError
from resgat_pl.nn.checkpoint_keys import RECOVERY
from resgat_pl.training import lightning_internals as internals
from resgat_pl.training.checkpoints import slurm
from resgat_pl.training.checkpoints.best_checkpoints import adopt_best_checkpoints, restore_saver
from resgat_pl.training.checkpoints.metrics_rows import begin_rows, rows_written
from resgat_pl.training.checkpoints.periodic_save import SaveSchedule
from resgat_pl.training.checkpoints.rng_state import random_states, set_random_states
from resgat_pl.training.checkpoints.signals import StopSignals

_GPU_BATCHES: Final = 20
"""Batches between two agreements of several GPUs: at each step the CPU would wait for them."""


class Recovery(Callback):
    """Keeps ``last.ckpt`` recent, completes checkpoints, and stops training in order on a signal.

    On SIGTERM, SIGUSR1 and Ctrl-C the step is finished (the validation, if one is running or about to), ``last.ckpt``
    written and the process ended: with status 75 (try again), after Ctrl-C 130. A second signal ends it at once. On
    several ranks it is enough that one gets the signal: they agree after each step, on GPUs after some. Within a SLURM
    job the requeue signal queues the job again, which then goes on from ``last.ckpt``; the status is 0.

    Args:
        every_minutes: Maximum age of ``last.ckpt`` within an epoch; null for epochs' ends only.
        every_steps: The same in optimiser steps; null for none.

    Raises:
        ConfigError: A limit is not positive.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(callbacks=[Recovery(every_minutes=5)], logger=False, accelerator="cpu")
        >>> [callback.schedule.every_minutes for callback in trainer.callbacks if isinstance(callback, Recovery)]
        [5]
    """

    def __init__(self, every_minutes: float | None = 15.0, every_steps: int | None = None) -> None:
        super().__init__()
        self.schedule = SaveSchedule(every_minutes, every_steps)
        self.signals = StopSignals()
        self._loaded: dict[str, Any] | None = None
        self._loaded_step: int | None = None
        self._saver_states: dict[str, Any] = {}
        self._is_after_step = False
        self._batches = 0
        self._path = Path()

    # Resuming: from on_load_checkpoint to on_train_start

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take out what is restored when training starts, and every path that Lightning would follow.

        Raises:
            WeightsError: The state is not one that this class wrote.
        """
        states = checkpoint.get("callbacks")
        states = states if isinstance(states, dict) else {}
        keys = [callback.state_key for callback in internals.checkpoint_savers(trainer)]
        self._saver_states = {key: states.pop(key, None) for key in keys}
        if trainer.state.fn == "fit":
            self._loaded = validated(checkpoint.get(RECOVERY), trainer.ckpt_path)
            step = checkpoint.get("global_step")
            self._loaded_step = step if isinstance(step, int) else None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare what the ranks resume from, which each has found by itself; adopt the best checkpoints.

        Raises:
            ConfigError: They resume from different states; raised on all ranks.
        """
        if trainer.world_size > 1:
            self._compare_ranks(trainer)
        if trainer.ckpt_path is not None:
            self._adopt_best(trainer)  # here, for a training that is over already does not start

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Replace Lightning's signal handlers, which save within a step or not at all."""
        self.signals.install()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the rest of the checkpoint's state, and begin or continue ``metrics.csv``.

        Raises:
            WeightsError: The state cannot be restored.
        """
        self.signals.install()
        self.schedule.saved(trainer.global_step)
        self._path = internals.last_path(trainer)
        state, self._loaded = self._loaded, None
        if trainer.is_global_zero:
            begin_rows(trainer, state)
        if state is None:
            return
        try:
            self._restore(trainer, state)
        except (AttributeError, IndexError, KeyError, OverflowError, RuntimeError, TypeError, ValueError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise WeightsError(
                f"{trainer.ckpt_path} holds a state of a training that cannot be restored ({reason}): take another one."
            ) from error

    # Saving: what a checkpoint holds, and when one is written

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add what Lightning leaves out; collective."""
        row = internals.unlogged_metrics(trainer) if self._is_after_step else None
        checkpoint[RECOVERY] = {
            "random": internals.all_ranks(trainer, random_states()),
            "metrics": {name: value.detach().cpu() for name, value in trainer.callback_metrics.items()},
            "row": None if row is None else tuple(row),
            "rows": rows_written(trainer) if trainer.is_global_zero else 0,
        }

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Note that a step has begun."""
        self._is_after_step = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if it is time, and stop if a signal came.

        Raises:
            Stopped: A signal came.
        """
        self._is_after_step = True
        self._batches += 1
        if internals.is_fast_dev_run(trainer) or not internals.is_between_steps(trainer):
            return
        if self._batches < self._batches_between(trainer):
            return
        self._batches = 0
        number, is_due = self._agree(trainer, self.schedule.is_due(trainer.global_step))
        if number:
            self._stop(trainer, number)
        if is_due:
            self.schedule.saved(trainer.global_step)
            trainer.save_checkpoint(self._path)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that the step's metrics are logged."""
        self._is_after_step = False
        if trainer.state.fn != "fit":
            self.on_test_start(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that ``last.ckpt`` is about to be written."""
        self._is_after_step = False
        self.schedule.saved(trainer.global_step)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop if a signal came since the last step that could be saved: that epoch's ``last.ckpt`` is complete.

        Raises:
            Stopped: A signal came.
        """
        number, _ = self._agree(trainer, is_due=False)
        if number:
            self._stop(trainer, number, is_saved=True)

    # Signals outside of training, and the end

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report that nothing was left to train, which Lightning does not."""
        if self._loaded is not None:  # training did not start, see on_train_start
            rank_zero_info(
                f"{trainer.ckpt_path} is of a training that is complete (epoch {trainer.current_epoch}, step "
                f"{trainer.global_step}), so nothing was trained. Raise --trainer.max_epochs to train on."
            )

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore Python's SIGTERM handler: Lightning's is a collective, while ranks may be in another one."""
        before = internals.handler_before_lightning(trainer, signal.SIGTERM)
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)

    on_predict_start = on_test_start

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Restore the signal handlers; not after an error, when a second signal may still come of the first."""
        self.signals.remove()

    def _compare_ranks(self, trainer: Trainer) -> None:
        mine = (None if trainer.ckpt_path is None else str(trainer.ckpt_path), self._loaded_step)
        found = internals.all_ranks(trainer, mine)
        if different := next((rank for rank, other in enumerate(found) if other != found[0]), 0):
            both = " and ".join(f"rank {rank} from {found[rank][0]} (step {found[rank][1]})" for rank in (0, different))
            raise ConfigError(
                f"The ranks do not go on from the same state: {both}. Keep runs on a disk that all machines see, wait "
                "until it shows them the same, or name the checkpoint with --ckpt_path."
            )

    def _adopt_best(self, trainer: Trainer) -> None:
        """Let checkpoints go on from the best so far; rank 0 decides, since others may see another disk."""
        for callback in internals.checkpoint_savers(trainer):
            if callback.dirpath is None:
                continue
            found, folder = None, str(callback.dirpath)
            if trainer.is_global_zero and "://" not in folder:
                state = self._saver_states.get(callback.state_key)
                found = adopt_best_checkpoints(state, Path(folder), Path(str(trainer.ckpt_path)))
            found = trainer.strategy.broadcast(found)
            if found is not None:
                restore_saver(callback, found)

    def _restore(self, trainer: Trainer, state: dict[str, Any]) -> None:
        # Random numbers: those of this rank, unless the number of ranks has changed
        if len(state["random"]) == trainer.world_size:
            set_random_states(state["random"][trainer.global_rank])
        else:
            rank_zero_warn(
                f"The checkpoint is of {len(state['random'])} processes, this run has {trainer.world_size}: random "
                "numbers (dropout) start from a new seed, and the result is not that of an undisturbed run."
            )
            torch.manual_seed(trainer.global_step * trainer.world_size + trainer.global_rank)
        # Metrics: what callbacks decide by, and the row that Lightning would have logged after the checkpoint
        trainer.callback_metrics.update(state["metrics"])
        if state["row"] is not None:
            values, step = state["row"]
            internals.log_metrics(trainer, values, step)

    def _batches_between(self, trainer: Trainer) -> int:
        """Batches between two agreements of the ranks; the next step that can be saved counts."""
        several = trainer.world_size > 1 and trainer.strategy.root_device.type != "cpu"
        return _GPU_BATCHES if several else 1

    def _agree(self, trainer: Trainer, is_due: bool) -> tuple[int, bool]:
        """The signal that any rank got (0 for none), and whether a save is due on any rank; collective."""
        number, agreed = internals.highest(trainer, self.signals.received, int(is_due))
        return number, bool(agreed)

    def _stop(self, trainer: Trainer, number: int, is_saved: bool = False) -> None:
        """Save unless the epoch's end has been saved, and leave on all ranks.

        Raises:
            Stopped: Always; ``Requeued`` if SLURM starts the job again, ``Interrupted`` after Ctrl-C.
        """
        job = internals.requeueing_slurm(trainer)
        if not is_saved:
            trainer.save_checkpoint(self._path)
        # Before the first step of all there may be no state
        name = signal.Signals(number).name
        state = str(self._path) if self._path.is_file() else trainer.ckpt_path
        where = f"the state of step {trainer.global_step} is in {state}"
        if state is None:
            where = "before the first step: there is no state to store"
        is_requeue = job is not None and number == job.requeue_signal
        if is_requeue and trainer.strategy.broadcast(trainer.is_global_zero and slurm.requeue()):
            raise Requeued(f"{name}: {where}; SLURM queues the job again.")
        stop = (Interrupted if number == signal.SIGINT else Stopped)(f"stopped by {name}; {where}.")
        stop.checkpoint = None if state is None else str(state)
        raise stop


def validated(state: Any, checkpoint: object) -> dict[str, Any] | None:
    """The state of ``Recovery`` in a checkpoint, None if it has none.

    Raises:
        WeightsError: It has another form than ``Recovery`` writes.
    """
    if state is None:
        return None
    if not (
        isinstance(state, dict)
        and isinstance(state.get("random"), list)
        and _is_dictionary_of(state.get("metrics"), Tensor)
        and (state.get("row") is None or _is_row(state["row"]))
    ):
        raise WeightsError(f"{checkpoint} holds a state of a training that resgat did not write: take another one.")
    return {"row": None, **state}


def _is_row(row: Any) -> bool:
    return (
        isinstance(row, tuple | list)
        and len(row) == 2
        and isinstance(row[1], int)
        and _is_dictionary_of(row[0], float | int)
    )


def _is_dictionary_of(value: Any, kind: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(name, str) and isinstance(one, kind) for name, one in value.items()
    )
