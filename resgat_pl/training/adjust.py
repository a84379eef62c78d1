"""Adjustments of a run's configuration before its parts are built; each says what it changes where that may surprise.

What is wrong is refused in ``checks``.
"""

from __future__ import annotations

import os
import re
from typing import Final

from jsonargparse import Namespace
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from resgat_pl.core import privacy
from resgat_pl.core.errors import ConfigError
from resgat_pl.core.storage import locate
from resgat_pl.core.types import FAKE
from resgat_pl.data.manifest.table import MANIFEST_NAME, Manifest
from resgat_pl.training._config import (
    callbacks_in,
    csv_loggers_in,
    loggers_in,
    version_of,
    wandb_loggers_in,
)

_LOGGERS: Final = {
    "lightning.pytorch.loggers.CSVLogger": "resgat_pl.training.loggers.csv.AtomicCSVLogger",
    "lightning.pytorch.loggers.csv_logs.CSVLogger": "resgat_pl.training.loggers.csv.AtomicCSVLogger",
    "lightning.pytorch.loggers.WandbLogger": "resgat_pl.training.loggers.wandb.ResilientWandbLogger",
    "lightning.pytorch.loggers.wandb.WandbLogger": "resgat_pl.training.loggers.wandb.ResilientWandbLogger",
}
"""Loggers with the same options as Lightning's, whose failures do not end a run or lose its numbers."""
_WANDB_ID: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


def use_safe_loggers(config: Namespace) -> None:
    """Replace Lightning's CSV and W&B loggers with subclasses of the same options, and log the replacement.

    The first is a CSV logger, whose folder is the run's and does not change from start to start; one is added to
    loggers that have none.
    """
    replaced = []
    for logger in loggers_in(config):
        name = str(logger.get("class_path"))
        if name in _LOGGERS:
            logger.class_path = _LOGGERS[name]
            replaced.append(f"{name.rpartition('.')[2]} as {logger.class_path}")
    if replaced:
        rank_zero_info(f"Loggers that outlive a full disk and W&B's errors are used: {', '.join(replaced)}.")
    tables = csv_loggers_in(config)
    for logger in tables:
        logger.init_args.version = version_of(logger.init_args)
    if tables:
        config.trainer.logger = [*tables, *(logger for logger in loggers_in(config) if logger not in tables)]


def let_sweep_name_runs(config: Namespace) -> None:
    """In a W&B sweep drop the configured name, which all trials would share: W&B gives each a name."""
    if os.environ.get("WANDB_SWEEP_ID"):
        for logger in wandb_loggers_in(config):
            logger.init_args.name = None


def without_validation(command: str, config: Namespace) -> None:
    """Without validation let checkpoints and early stopping not wait for one: they would fail after the first epoch."""
    if command != "fit" or config.trainer.limit_val_batches != 0:
        return
    if str(config.checkpoint.monitor).startswith("val/"):
        rank_zero_warn("trainer.limit_val_batches is 0: best.ckpt will be that of the last epoch.")
        config.checkpoint.monitor = None
    if str(config.early_stopping.monitor).startswith("val/"):
        config.early_stopping.check_on_train_epoch_end = False


def keep_what_is_validated(command: str, config: Namespace) -> None:
    """Write ``best.ckpt`` right after a validation where the epoch goes on after it."""
    trainer, checkpoint = config.trainer, config.checkpoint
    within = trainer.val_check_interval not in {None, 1.0} or trainer.check_val_every_n_epoch is None
    # Of several best ones some would be of epochs that are not validated, under the metric of an earlier one.
    within |= trainer.check_val_every_n_epoch != 1 and checkpoint.save_top_k not in {0, 1}
    if command == "fit" and within and str(checkpoint.monitor).startswith("val/"):
        checkpoint.save_on_train_epoch_end = False


def write_best_in_place(config: Namespace) -> None:
    """Write one best checkpoint over the file that a killed start of the same run left, not beside it."""
    if config.checkpoint.save_top_k in {0, 1}:
        config.checkpoint.enable_version_counter = False


def restore_default_devices(config: Namespace) -> None:
    """Give callbacks back the device that they find by themselves, which a saved configuration cannot express."""
    for callback in callbacks_in(config):
        options = callback.get("init_args")
        if options is not None and str(options.get("device")).startswith("Unable to serialize"):
            options.device = None


def keep_private(config: Namespace) -> None:
    """With ``--private`` remove from W&B's options all but the project, before it is started."""
    privacy.settings(config.private)
    if not config.private:
        return
    config.heatmaps.log_images = False
    config.artifacts.send = False
    for logger in wandb_loggers_in(config):
        for name in ("group", "job_type", "notes", "tags", "config"):
            if logger.init_args.get(name) is not None:
                logger.init_args[name] = None
            (logger.get("dict_kwargs") or {}).pop(name, None)  # those that Lightning only passes on
        logger.init_args.log_model = False
        logger.init_args.name = "private"


def same_wandb_run(config: Namespace, run: str | None) -> None:
    """Continue the W&B run of a checkpoint, unless the configuration names one.

    Args:
        config: The configuration.
        run: Id of the W&B run; None where the checkpoint has none. It becomes the name of a folder.
    """
    if run is not None and not (isinstance(run, str) and _WANDB_ID.fullmatch(run)):
        rank_zero_warn(f"The checkpoint names a W&B run {run!r:.100}, which is no id: a new run is started.")
        return
    for logger in wandb_loggers_in(config):
        arguments = logger.init_args
        if run is not None and arguments.get("id") is None and arguments.get("version") is None:
            arguments.id = run


def name_kinds(config: Namespace) -> None:
    """Replace ``kind:*`` in ``net.outputs`` by the methods of the manifest, which checkpoints then name.

    Raises:
        ConfigError: There is no manifest yet, or no fake in it.
    """
    options = config.net.get("init_args") or config.net
    names = options.get("outputs")
    if not isinstance(names, list) or "kind:*" not in names:
        return
    folder = locate(config.data.crops)
    if not (folder / MANIFEST_NAME).is_file():
        raise ConfigError(
            f"net.outputs has kind:*, the methods of the manifest, and there is none in {folder} yet. Make the crops "
            "first (resgat extract), or name the kinds: kind:Deepfakes and so on."
        )
    manifest = Manifest.read(folder)
    method = manifest.column("method")[manifest.column("label") == FAKE]
    kinds = [f"kind:{name}" for name in sorted(set(method.tolist()))]
    if not kinds:
        raise ConfigError(f"net.outputs has kind:*, and the manifest in {folder} has no fake: leave it out.")
    options.outputs = [*kinds, *(name for name in names if name != "kind:*")]
    rank_zero_info(f"Kinds of manipulation: {', '.join(kind.removeprefix('kind:') for kind in kinds)}.")
