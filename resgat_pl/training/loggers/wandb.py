"""Weights & Biases as a guest: training never waits for it long, and never ends because of it.

W&B works in a process of its own (wandb-core), to which a run's numbers are sent; it writes them to a log below
``wandb/`` and uploads them. The server may be unreachable, or that process may be killed, for want of memory for
example: from then on the log is kept offline, from its first row, to be uploaded later with ``wandb sync``.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn

from resgat_pl.core.disk_full import is_disk_full
from resgat_pl.core.wandb_run import _answers, _cannot_be_written, _forget, _is_of_wandb, _reason, patience

_REVIVALS: Final = 3
"""How often W&B's process is started anew; one that dies more often dies for a reason that will not go away."""


class ResilientWandbLogger(WandbLogger):
    """Lightning's ``WandbLogger``, for a server that may be away and a process that may die.

    ``resgat fit`` puts it in the place of Lightning's. The numbers of a run are kept in memory too (some 100 bytes a
    row), since W&B's process loses what it has not written yet; pictures logged before it died stay in its folder.

    Args:
        *args: As Lightning's.
        **kwargs: As Lightning's, and those of ``wandb.init``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._rows: list[str] = []
        self._hyperparams: list[dict[str, Any] | Namespace] = []
        self._revivals = 0
        self._given_up = False

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The W&B run; started offline where its server does not answer."""
        if self._experiment is None and not self._given_up:
            self._wandb_init.setdefault("settings", patience())
            self._wandb_init.pop("anonymous", None)  # W&B warns that it has no effect any more
            try:
                run = super().experiment
                _forgive_full_disk()
                _warn_of_sweep(run, self._offline)
            except Exception as error:
                if not _is_of_wandb(error):
                    raise
                self._start_offline(f"W&B cannot be used ({_reason(error)})")
        return self._experiment if self._experiment is not None else _Nobody()

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace) -> None:
        """Log hyper-parameters."""
        _ = self.experiment  # first, or its start would log this too
        self._hyperparams.append(params)
        self._send(lambda: super(ResilientWandbLogger, self).log_hyperparams(params))

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log numbers and pictures."""
        numbers = {name: float(value) for name, value in metrics.items() if hasattr(value, "__float__")}
        _ = self.experiment  # first, or its start would log this too
        self._rows.append(json.dumps([numbers, step]))
        self._send(lambda: super(ResilientWandbLogger, self).log_metrics(metrics, step))

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Make sure that the log is whole: nobody looks after it once the program ends."""
        self._send(lambda: super(ResilientWandbLogger, self).finalize(status))
        if self._experiment is not None:
            self._send(getattr(self._experiment, "status", bool))
        run = self._experiment
        if run is not None and not getattr(run, "offline", True) and not _answers(run.settings.base_url):
            self._start_offline("W&B's server does not answer any more")
        folder = getattr(self._experiment, "dir", None)
        if isinstance(folder, str) and Path(folder).is_dir() and (why := _cannot_be_written(folder)):
            rank_zero_warn(f"{folder} {why}: W&B's log ends before the run did. metrics.csv has all numbers.")

    @rank_zero_only
    def after_save_checkpoint(self, checkpoint_callback: ModelCheckpoint) -> None:
        """Log a checkpoint, with ``log_model``; one that W&B's process died of is logged with the next."""
        self._send(lambda: super(ResilientWandbLogger, self).after_save_checkpoint(checkpoint_callback))

    def _send(self, send: Callable[[], Any]) -> None:
        if self._given_up:
            return
        try:
            send()
        except Exception as error:
            if not _is_of_wandb(error):
                raise
            if isinstance(error, OSError) and is_disk_full(error):  # a new log would meet the same disk
                self._give_up(f"W&B's log cannot be written ({_reason(error)}): it ends here, metrics.csv goes on.")
            else:
                self._start_offline(f"W&B stopped working ({_reason(error)})")

    def _give_up(self, message: str) -> None:
        """Do without W&B from now on."""
        _forgive_full_disk()
        _forget()
        self._given_up, self._experiment = True, None
        rank_zero_warn(message)

    def _start_offline(self, cause: str) -> None:
        """Begin the run anew offline, with everything that was logged; or do without W&B."""
        import wandb

        _forget()
        try:
            if self._revivals >= _REVIVALS:
                raise RuntimeError(f"it died {self._revivals + 1} times")
            self._revivals += 1
            options = {**self._wandb_init, "id": self.version, "mode": "offline"}
            self._experiment = run = wandb.init(**options)
            _forgive_full_disk()
            run.define_metric("trainer/global_step")  # as Lightning does
            run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
            for params in self._hyperparams:
                super().log_hyperparams(params)
            for numbers, step in map(json.loads, self._rows):
                if numbers:
                    super().log_metrics(numbers, step)
        except Exception as error:
            self._given_up, self._experiment = True, None
            _forgive_full_disk()
            wandb.run = None
            rank_zero_warn(f"{cause}, nor can it be started again ({_reason(error)}): training goes on without W&B.")
            return
        rank_zero_warn(
            f"{cause}: training goes on, and the log is kept offline with everything since the start. To upload it "
            f"later: wandb sync {Path(run.dir).parent}"
        )


def _warn_of_sweep(run: Any, offline: bool) -> None:
    """Say that the sweep that W&B's agent started a run for will not see its numbers, if that is so.

    Args:
        run: The W&B run.
        offline: Whether the logger is set to stay offline.
    """
    sweep = os.environ.get("WANDB_SWEEP_ID")
    if not sweep or not (run.offline or run.disabled):
        return
    why = "its logger's offline is true" if offline else "W&B is switched off here (WANDB_MODE, or wandb offline)"
    rank_zero_warn(
        f"W&B's agent started this run for the sweep {sweep}, but {why}: the sweep will not see its numbers. "
        "Leave that out, or set WANDB_MODE=online."
    )


class _Forgiving:
    """A stream of a log that nobody reads, on a disk that may be full."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.close()


def _forgive_full_disk() -> None:
    """Keep W&B's own log from crying on a full disk: it logs what goes to stderr, which is where it cries."""
    for handler in logging.getLogger("wandb").handlers:
        # one that is closed, or not yet open, has no stream
        if isinstance(handler, logging.FileHandler) and not isinstance(handler.stream, _Forgiving | None):
            handler.setStream(_Forgiving(handler.stream))  # type: ignore[arg-type]  # as much of a stream as it uses


class _Nobody:
    """Stands for a run that there is not: takes everything, does nothing."""

    id = None

    def __getattr__(self, name: str) -> Any:
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self
