"""A W&B logger that is switched off at the first error of W&B: training goes on, ``metrics.csv`` has the numbers.

W&B works in a separate process (wandb-core), which writes a run's numbers to a log below ``wandb/`` and uploads them.
The server may be unreachable, or that process may be killed, for example by the system when memory runs out.

W&B's table of runs shows a run's *summary*, by default the last value of each metric. Here it is the best one: the
highest or lowest value of each metric, and under ``best/`` all metrics of the epoch whose weights are in ``best.ckpt``.
"""

from __future__ import annotations

import contextlib
from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import Any, Final, get_args

from lightning.fabric.loggers.logger import _DummyExperiment as NoExperiment, rank_zero_experiment
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn

from resgat_pl.core.types import Level
from resgat_pl.core.wandb_run import abandon, patience, reason_of, without_debug_log
from resgat_pl.evaluation.metrics.binary import LOWER_IS_BETTER, METRICS

BEST: Final = "best/"
"""Beginning of the names, in the summary, of the best epoch's metrics."""
_VALIDATED: Final = "val/"


class ResilientWandbLogger(WandbLogger):
    """Lightning's ``WandbLogger``, with the same options, whose errors do not end a training.

    The first error of W&B is reported in one warning; from then on nothing is logged there. The run's summary holds the
    best value of each metric instead of the last (``val/video_auroc.max``, ``val/loss.min``), and whenever a best
    checkpoint is written, the metrics of its epoch (``best/val/video_auroc``, ``best/epoch``).

    Args:
        *args: As Lightning's.
        **kwargs: As Lightning's, and those of ``wandb.init``.

    Attributes:
        is_off: True once an error of W&B has switched this logger off.

    Example:
        >>> import tempfile
        >>> logger = ResilientWandbLogger(project="demo", save_dir=tempfile.mkdtemp(), offline=True)
        >>> logger.is_off
        False
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # without it jsonargparse misses the options of wandb.init
        super().__init__(*args, **kwargs)
        self.is_off = False
        self._latest: dict[str, float] = {}

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The W&B run; one that ignores everything once the logger is off."""
        if self._experiment is None and not self.is_off:
            self._wandb_init.setdefault("settings", patience())
            self._wandb_init.pop("anonymous", None)  # W&B warns that it has no effect any more
            try:
                self._experiment = super().experiment
                without_debug_log()
                define_summary(self._experiment)
            except Exception as error:
                self._switch_off(error)
        return NoExperiment() if self.is_off else self._experiment

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace) -> None:
        """Log hyper-parameters."""
        self._try(lambda: super(ResilientWandbLogger, self).log_hyperparams(params))

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log numbers and pictures."""
        validated = {name: value for name, value in metrics.items() if name.startswith(_VALIDATED)}
        if f"{_VALIDATED}loss" in validated:
            self._latest = {**validated, "epoch": metrics.get("epoch", -1)}
        self._try(lambda: super(ResilientWandbLogger, self).log_metrics(metrics, step))

    @rank_zero_only
    def after_save_checkpoint(self, checkpoint_callback: ModelCheckpoint) -> None:
        """Put the metrics of a best epoch into the summary; with ``log_model`` log the checkpoint."""
        monitor, score = checkpoint_callback.monitor, checkpoint_callback.current_score
        if self._latest and monitor and score is not None and score == checkpoint_callback.best_model_score:
            best = {f"{BEST}{name}": float(value) for name, value in self._latest.items()}
            self.with_run(lambda run: run.summary.update(best))
        self._try(lambda: super(ResilientWandbLogger, self).after_save_checkpoint(checkpoint_callback))

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Log the last checkpoints, and ask W&B's process whether it is still there."""
        self._try(lambda: super(ResilientWandbLogger, self).finalize(status))
        if self._experiment is not None:
            self._try(getattr(self._experiment, "status", bool))

    @rank_zero_only
    def with_run(self, action: Callable[[Any], object]) -> None:
        """Do something with the W&B run, unless the logger is off; an error switches it off.

        Args:
            action: Takes the run, a ``wandb.Run``.
        """
        self._try(lambda: action(self.experiment))

    def _try(self, log: Callable[[], Any]) -> None:
        """Log something, unless the logger is off; switch it off on any error."""
        _ = self.experiment  # its start may switch the logger off
        if not self.is_off:
            try:
                log()
            except Exception as error:
                self._switch_off(error)

    def _switch_off(self, error: Exception) -> None:
        self.is_off, self._experiment = True, None
        with contextlib.suppress(Exception):
            abandon()
        rank_zero_warn(
            f"W&B stopped working ({reason_of(error)}): training goes on without it, metrics.csv has all numbers. "
            "Where the server cannot be reached, WANDB_MODE=offline stores a log for a later wandb sync."
        )


def define_summary(run: Any) -> None:
    """Let a run's summary show the best value of each validated metric, by name and in its own direction."""
    lower = {"loss": "min", **{name: "min" if name in LOWER_IS_BETTER else "max" for name in METRICS}}
    for name, best in lower.items():
        places = [name] if name == "loss" else [f"{level}_{name}" for level in get_args(Level)]
        for place in places:
            run.define_metric(f"{_VALIDATED}{place}", step_metric="trainer/global_step", step_sync=True, summary=best)
