"""Training that goes on where it was: after a crash, a signal of a batch system, or Ctrl-C.

What Lightning leaves out of its checkpoints is added here: the states of the random generators of every rank, the
metrics that callbacks decide by, the best checkpoint's file, and the rows of ``metrics.csv`` so far. The state is
written between two optimiser steps only, and not right before a validation, which a resumed run would leave out.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import rank_zero_warn

from resgat_pl.core.errors import ConfigError, Interrupted, Requeued, Stopped, WeightsError
from resgat_pl.nn.checkpoint_keys import RECOVERY
from resgat_pl.training.checkpoints.carry_over import (
    adopt_best_checkpoints,
    checked,
    copy_whole,
    go_on_with_rows,
    remember,
    rows_written,
)
from resgat_pl.training.loggers.csv import WholeWriter
from resgat_pl.training.rank_failures import leaving

_SAME_SECONDS: Final = 2.0
_GPU_BATCHES: Final = 20
"""Several GPUs agree so often: to ask each step would make the CPU wait for them each step."""


def random_states() -> dict[str, Any]:
    """The states of all random generators of this process, as tensors and plain values."""
    version, words, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002 - libraries use it
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        "python": [version, list(words), gauss],
        "numpy": [kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, cached],
    }


def set_random_states(states: dict[str, Any]) -> None:
    """Undo what was drawn since ``random_states``."""
    torch.set_rng_state(states["torch"])
    if states["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002 - libraries use it


class Recovery(Callback):
    """Keeps ``last.ckpt`` recent, completes checkpoints, and ends training in order when a signal says so.

    On SIGTERM, SIGUSR1 and Ctrl-C the step is finished (the validation, if one is running or about to), ``last.ckpt``
    written and the process ended: with status 75 (try again), after Ctrl-C 130. A second signal ends it at once. On
    several ranks it is enough that one gets the signal: they agree after each step, on GPUs after some. Within a SLURM
    job the checkpoint is one that Lightning finds by itself when the job starts again, and the requeue signal queues
    the job again; the status is then 0.

    Args:
        every_minutes: How old ``last.ckpt`` may get within an epoch; null for epochs' ends only.
        every_steps: The same in optimiser steps; null for none.
    """

    def __init__(self, every_minutes: float | None = 15.0, every_steps: int | None = None) -> None:
        super().__init__()
        if (every_minutes is not None and not every_minutes > 0) or (every_steps is not None and every_steps < 1):
            raise ConfigError(
                f"recovery.every_minutes is {every_minutes} and every_steps {every_steps}: need more than 0, or null."
            )
        self.every_minutes = every_minutes
        self.every_steps = every_steps
        self._signal = 0
        self._heard_at = 0.0
        self._loaded: dict[str, Any] | None = None
        self._loaded_step: int | None = None
        self._remembered: dict[str, Any] = {}
        self._within = False
        self._batches = 0
        self._before: dict[int, Any] = {}
        self._saved = time.monotonic()
        self._saved_step = 0
        self._path = Path()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look whether all ranks go on from the same state: each has looked for it by itself; take the best along.

        Raises:
            ConfigError: They do not; on all ranks.
        """
        if trainer.world_size > 1:
            self._compare(trainer)
        if trainer.ckpt_path is not None:
            self._remember(trainer)  # here, for a training that is over already does not start

    def _compare(self, trainer: Trainer) -> None:
        mine = (None if trainer.ckpt_path is None else str(trainer.ckpt_path), self._loaded_step)
        found = [mine] * trainer.world_size
        torch.distributed.all_gather_object(found, mine)
        if different := next((rank for rank, other in enumerate(found) if other != found[0]), 0):
            told = " and ".join(f"rank {rank} from {found[rank][0]} (step {found[rank][1]})" for rank in (0, different))
            raise ConfigError(
                f"The ranks do not go on from the same state: {told}. Keep runs on a disk that all machines see, wait "
                "until it shows them the same, or name the checkpoint with --ckpt_path."
            )

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signals over from Lightning, whose handlers save in the middle of a step or not at all."""
        self._listen()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go on where the checkpoint was written."""
        self._listen()
        self._note_saved(trainer)
        self._path = _last_path(trainer)
        state, self._loaded = self._loaded, None
        if trainer.is_global_zero:
            self._begin_rows(trainer, state)
        if state is None:
            return
        try:
            self._go_on(trainer, state)
        except (AttributeError, IndexError, KeyError, OverflowError, RuntimeError, TypeError, ValueError) as error:
            told = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise WeightsError(
                f"{trainer.ckpt_path} holds a state of a training that cannot be restored ({told}): take another one."
            ) from error

    def _go_on(self, trainer: Trainer, state: dict[str, Any]) -> None:
        if len(state["random"]) == trainer.world_size:
            set_random_states(state["random"][trainer.global_rank])
        else:
            rank_zero_warn(
                f"The checkpoint is of {len(state['random'])} processes, this run has {trainer.world_size}: random "
                "numbers (dropout) start anew, and the result is not that of an undisturbed run."
            )
            torch.manual_seed(trainer.global_step * trainer.world_size + trainer.global_rank)
        trainer.callback_metrics.update(state["metrics"])
        if state["row"] is not None:
            values, step = state["row"]
            trainer._logger_connector.log_metrics(values, step=step)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Note that a step has begun."""
        self._within = False

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that the step's metrics are logged."""
        self._within = False
        if trainer.state.fn != "fit":
            self.on_test_start(trainer, pl_module)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take SIGTERM from Lightning, whose handler waits for all ranks, which may be waiting for something else."""
        before = trainer._signal_connector._original_handlers.get(signal.SIGTERM)
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)  # type: ignore[arg-type]  # as Lightning got it from Python

    on_predict_start = on_test_start

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that ``last.ckpt`` is about to be written."""
        self._within = False
        self._note_saved(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save when it is time, and stop if a signal came."""
        self._within = True
        self._batches += 1
        loop = trainer.fit_loop.epoch_loop
        fetcher = trainer.fit_loop._data_fetcher
        last = loop._num_ready_batches_reached()
        if trainer.fast_dev_run or last or loop._should_accumulate() or loop._should_check_val_fx(fetcher):  # type: ignore[arg-type,attr-defined]
            return
        if self._batches < self._between(trainer):
            return
        self._batches = 0
        asked, due = self._agree(trainer, self._due(trainer))
        if asked:
            self._stop(trainer, asked)
        if due:
            self._note_saved(trainer)
            trainer.save_checkpoint(self._path)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop if a signal came since the last step that could be saved: that epoch's ``last.ckpt`` is complete."""
        asked, _ = self._agree(trainer, due=False)
        if asked:
            self._stop(trainer, asked, saved=True)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep what is restored when training starts, and leave Lightning nothing of it that names files.

        Raises:
            WeightsError: The state is not one that this class wrote.
        """
        states = checkpoint.get("callbacks")
        self._remembered = {}
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint) and isinstance(states, dict):
                self._remembered[callback.state_key] = states.pop(callback.state_key, None)
        if trainer.state.fn == "fit":
            self._loaded = checked(checkpoint.get(RECOVERY), trainer.ckpt_path)
            step = checkpoint.get("global_step")
            self._loaded_step = step if isinstance(step, int) else None

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Let this rank end in its own time."""
        leaving()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Listen no more; not after an error, when a second signal may still come of the first."""
        for number, handler in self._before.items():
            if handler is not None:  # None is one that Python does not know
                signal.signal(number, handler)
        self._before.clear()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add what Lightning leaves out."""
        states = [random_states()]
        if trainer.world_size > 1:
            states *= trainer.world_size
            torch.distributed.all_gather_object(states, random_states())
        connector = trainer._logger_connector
        row = None
        if self._within and connector.should_update_logs and not trainer.fit_loop._should_accumulate():
            # of the step just done; Lightning logs it only after this
            values = {name: float(value) for name, value in connector.metrics["log"].items()}
            step = trainer.fit_loop.epoch_loop._batches_that_stepped
            row = ({**values, "epoch": trainer.current_epoch}, step) if values else None
        checkpoint[RECOVERY] = {
            "random": states,
            "metrics": {name: value.detach().cpu() for name, value in trainer.callback_metrics.items()},
            "row": row,
            **(rows_written(trainer) if trainer.is_global_zero else {}),
        }

    def _listen(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
                before = signal.signal(number, self._heard)
                self._before.setdefault(number, before)

    def _heard(self, number: int, frame: object) -> None:
        now = time.monotonic()
        if number == self._signal and now - self._heard_at < _SAME_SECONDS:
            return  # told twice: as one of a group, and by a parent that passes it on
        if self._signal:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self._signal, self._heard_at = number, now

    def _due(self, trainer: Trainer) -> bool:
        old = time.monotonic() - self._saved
        by_time = self.every_minutes is not None and old >= 60 * self.every_minutes
        return by_time or (self.every_steps is not None and trainer.global_step - self._saved_step >= self.every_steps)

    def _note_saved(self, trainer: Trainer) -> None:
        self._saved, self._saved_step = time.monotonic(), trainer.global_step

    def _between(self, trainer: Trainer) -> int:
        """After how many batches the ranks agree, at the next step that can be saved."""
        several = trainer.world_size > 1 and trainer.strategy.root_device.type != "cpu"
        return _GPU_BATCHES if several else 1

    def _begin_rows(self, trainer: Trainer, state: dict[str, Any] | None) -> None:
        for logger in trainer.loggers:
            if isinstance(logger, CSVLogger):
                if state is not None:
                    go_on_with_rows(Path(str(trainer.ckpt_path)), state, logger)
                elif isinstance(logger.experiment, WholeWriter):
                    logger.experiment.begin_anew()

    def _remember(self, trainer: Trainer) -> None:
        """Let checkpoints go on from the best so far; rank 0 decides, since others may see another disk."""
        for callback in trainer.checkpoint_callbacks:
            if not isinstance(callback, ModelCheckpoint) or callback.dirpath is None:
                continue
            found, folder = None, str(callback.dirpath)
            if trainer.is_global_zero and "://" not in folder:
                state = self._remembered.get(callback.state_key)
                found = adopt_best_checkpoints(state, Path(folder), Path(str(trainer.ckpt_path)))
            found = trainer.strategy.broadcast(found)
            if found is not None:
                remember(callback, found)

    def _agree(self, trainer: Trainer, due: bool) -> tuple[int, bool]:
        """The signal that any rank got (0 for none), and whether any rank's clock says that it is time to save."""
        if trainer.world_size == 1:
            return self._signal, due
        told = torch.tensor([self._signal, int(due)], device=trainer.strategy.root_device)
        torch.distributed.all_reduce(told, torch.distributed.ReduceOp.MAX)
        number, agreed = told.tolist()
        return number, bool(agreed)

    def _stop(self, trainer: Trainer, number: int, saved: bool = False) -> None:
        """Save unless the epoch's end has been saved, and leave on all ranks."""
        environment = trainer._accelerator_connector.cluster_environment
        slurm = environment if isinstance(environment, SLURMEnvironment) and environment.auto_requeue else None
        requeued = slurm is not None and number == slurm.requeue_signal
        if not saved:
            trainer.save_checkpoint(self._path)
        if slurm is not None:
            connector = trainer._checkpoint_connector
            target = connector.hpc_save_path(str(trainer.default_root_dir))
            if trainer.is_global_zero and self._path.is_file():
                copy_whole(self._path, Path(target))
                made = self._path.stat()
                os.utime(target, ns=(made.st_atime_ns, made.st_mtime_ns))  # no newer than last.ckpt
            trainer.strategy.barrier("recovery")
        name = signal.Signals(number).name
        state = str(self._path) if self._path.is_file() else trainer.ckpt_path
        where = f"the state of step {trainer.global_step} is in {state}"
        if state is None:
            where = "before the first step: there is no state to keep"
        if requeued and trainer.strategy.broadcast(trainer.is_global_zero and _requeue()):
            raise Requeued(f"{name}: {where}; SLURM queues the job again.")
        stop = (Interrupted if number == signal.SIGINT else Stopped)(f"stopped by {name}; {where}.")
        stop.checkpoint = None if state is None else str(state)
        raise stop


def _last_path(trainer: Trainer) -> Path:
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.filename == "last" and callback.dirpath is not None:
            return Path(callback.dirpath) / "last.ckpt"
    return Path(trainer.log_dir or trainer.default_root_dir) / "checkpoints" / "last.ckpt"


def _requeue() -> bool:
    """Ask SLURM to start this job, or this task of an array, again; tell whether it will."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    job = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ["SLURM_JOB_ID"]
    try:
        subprocess.run(["scontrol", "requeue", job], check=True)  # noqa: S603, S607 - the user's own scontrol
    except (OSError, subprocess.CalledProcessError) as error:
        rank_zero_warn(f"scontrol requeue {job} failed ({error}): queue the job again yourself.")
        return False
    return True
