"""What is looked at and settled before the parts of a run are built: a mistake must not show after hours."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from typing import Final, get_args

from jsonargparse import Namespace
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from resgat_pl.core import privacy
from resgat_pl.core.errors import ConfigError, WeightsError
from resgat_pl.core.path_checks import require_files, require_folder
from resgat_pl.core.text import nearest
from resgat_pl.core.types import Level
from resgat_pl.data.layouts.base import check_root
from resgat_pl.evaluation.metrics.binary import METRICS
from resgat_pl.evaluation.provenance import stored_provenance
from resgat_pl.nn.checkpoint_file import Checkpoint
from resgat_pl.nn.checkpoint_keys import LIGHTNING
from resgat_pl.nn.resgat import check_compatible
from resgat_pl.training.checkpoints.config_diff import compare_configs
from resgat_pl.training.hardware import advice

_LASTING: Final = {
    "lightning.pytorch.loggers.CSVLogger": "resgat_pl.training.loggers.csv.WholeCSVLogger",
    "lightning.pytorch.loggers.csv_logs.CSVLogger": "resgat_pl.training.loggers.csv.WholeCSVLogger",
    "lightning.pytorch.loggers.WandbLogger": "resgat_pl.training.loggers.wandb.ResilientWandbLogger",
    "lightning.pytorch.loggers.wandb.WandbLogger": "resgat_pl.training.loggers.wandb.ResilientWandbLogger",
}
"""Loggers that outlast a full disk and a dead W&B, by the names of Lightning's."""
_WANDB_ID: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_LIGHTNING: Final = ("lightning.", "pytorch_lightning.", "resgat_pl.")
"""Where callbacks come from that log nothing that could be monitored."""
_LOWER_IS_BETTER: Final = ("loss", "_eer", "_ece")
_NOT_TRAINED_IN: Final = ("16-true", "bf16-true", "transformer-engine", "transformer-engine-float16")
"""Weights in 16 or 8 bits: the images are made 32 bits on the device, and Adam's ε is 0 in 16."""
_NO_VALIDATION: Final = " To train without validation set trainer.limit_val_batches to 0."


def require_groups(config: Namespace) -> None:
    """Refuse a configuration that sets a whole group to null or to one value.

    Raises:
        ConfigError: Names the group.
    """
    for group in ("net", "model", "data", "trainer", "checkpoint", "early_stopping", "heatmaps", "recovery"):
        if not isinstance(config.get(group), Namespace):
            raise ConfigError(
                f"{group} cannot be {config.get(group)!r}: give it options, or leave it out for the defaults."
            )


def check_trainer(command: str, config: Namespace) -> None:
    """Refuse numbers with which Lightning fails only in the first epoch, or does the opposite of training.

    Raises:
        ConfigError: Names the option.
    """
    trainer = config.trainer
    if trainer.precision in _NOT_TRAINED_IN:
        raise ConfigError(
            f"trainer.precision is {trainer.precision}, in which ResGAT does not train: set 32, or bf16-mixed, where "
            "the weights stay in 32 bits."
        )
    if command != "fit":
        return
    for name, value, least, remedy in (
        ("accumulate_grad_batches", trainer.accumulate_grad_batches, 1, ""),
        ("check_val_every_n_epoch", trainer.check_val_every_n_epoch, 1, _NO_VALIDATION),
        ("gradient_clip_val", trainer.gradient_clip_val, 0, " Less would turn gradients round."),
    ):
        if value is not None and not least <= value < math.inf:
            raise ConfigError(f"trainer.{name} is {value}; it must be at least {least}, or null.{remedy}")
    if trainer.val_check_interval == 0:
        raise ConfigError(f"trainer.val_check_interval is 0; it must be more than 0, or null.{_NO_VALIDATION}")
    if config.early_stopping.patience < 0:
        raise ConfigError(f"early_stopping.patience is {config.early_stopping.patience}; it must be at least 0.")


def check_callbacks(command: str, config: Namespace) -> None:
    """Refuse what checkpoints and early stopping would only fail on after an epoch, or what would cost the best one.

    Raises:
        ConfigError: They go by a metric that there is not, or in its wrong direction, or write over other checkpoints.
    """
    if command != "fit":
        return
    checkpoint = config.checkpoint
    if checkpoint.save_on_exception:
        raise ConfigError(
            "checkpoint.save_on_exception is true: a run that is stopped or fails would put its present weights in "
            "the place of the best ones. Leave it out: recovery keeps last.ckpt, from which --ckpt_path last goes on."
        )
    if checkpoint.filename == "last":
        raise ConfigError(
            "checkpoint.filename is last, which is the name of the file that training goes on from: choose another, "
            "such as best."
        )
    for group in ("checkpoint", "early_stopping"):
        _check_watcher(config, group, config[group])
    for group, callback in _callbacks(config):
        options = callback.get("init_args")
        if isinstance(options, Namespace):
            _check_watcher(config, f"{group} ({str(callback.class_path).rpartition('.')[2]})", options)
            _require_validation(config, group, str(options.get("monitor")))


def _check_watcher(config: Namespace, group: str, options: Namespace) -> None:
    """Refuse options of what goes by a metric, if it would fail on them or take the worst for the best."""
    monitor = options.get("monitor")
    if monitor in {None, "epoch", "step"}:
        return
    if "mode" in options:
        _check_monitor(config, group, monitor, options.mode, "the worst epoch would count as the best")
    trainer = config.trainer
    seldom = trainer.check_val_every_n_epoch != 1 or trainer.val_check_interval not in {None, 1.0}
    if options.get("check_on_train_epoch_end") and seldom and str(monitor).startswith("val/"):
        raise ConfigError(
            f"{group}.check_on_train_epoch_end is true, but {monitor} is not validated at the end of every epoch "
            "(trainer.check_val_every_n_epoch, trainer.val_check_interval): leave it out, and it is looked at after "
            "each validation."
        )


def _callbacks(config: Namespace) -> Iterator[tuple[str, Namespace]]:
    """The user's callbacks, and what they are called in the configuration."""
    callbacks = config.trainer.callbacks
    for callback in callbacks if isinstance(callbacks, list) else [callbacks]:
        if isinstance(callback, Namespace):
            yield "trainer.callbacks", callback


def _require_validation(config: Namespace, group: str, monitor: str) -> None:
    if monitor.startswith("val/") and config.trainer.limit_val_batches == 0:
        raise ConfigError(
            f"{group}.monitor is {monitor}, but trainer.limit_val_batches is 0: nothing is validated. Let it "
            "go by train/loss, or validate."
        )


def check_schedule(command: str, config: Namespace) -> None:
    """Refuse a schedule that would only fail after an epoch, or lower the rate while the metric gets better.

    Raises:
        ConfigError: It goes by a metric that there is not, or that no validation gives, or in its wrong direction.
    """
    scheduler = config.model.lr_scheduler
    options = scheduler.get("init_args") if isinstance(scheduler, Namespace) else None
    if command != "fit" or options is None or "monitor" not in options:
        return
    group = "model.lr_scheduler"
    mode = options.get("mode", "min")
    _check_monitor(config, group, options.monitor, mode, "the rate would fall while the metric gets better")
    _require_validation(config, group, str(options.monitor))


def _check_monitor(config: Namespace, group: str, monitor: str, mode: str, harm: str) -> None:
    known = _logged(config)
    if monitor not in known:
        if any(not str(callback.class_path).startswith(_LIGHTNING) for _, callback in _callbacks(config)):
            return  # callbacks of the user's own may log what they like
        hint = nearest(monitor, known) or f" There are: {', '.join(known)}."
        raise ConfigError(f"{group}.monitor is {monitor}, which training does not log.{hint}")
    right = "min" if monitor.endswith(_LOWER_IS_BETTER) else "max"
    remedy = f"its mode to {right}" if "(" in group else f"--{group}.mode {right}"
    if mode != right:
        raise ConfigError(f"{group}.monitor is {monitor} and {group}.mode is {mode}, so {harm}: set {remedy}.")


def _logged(config: Namespace) -> list[str]:
    """What ``ResGATModule`` logs in training."""
    guided = ["train/mask_loss"] if config.model.mask_loss_weight > 0 else []
    scores = [f"val/{level}_{name}" for level in get_args(Level) for name in METRICS]
    return [*scores, "val/loss", "train/loss", *guided]


def guard_loggers(config: Namespace) -> None:
    """Put loggers that last in the place of Lightning's own."""
    for logger in _loggers(config):
        logger.class_path = _LASTING.get(str(logger.get("class_path")), logger.get("class_path"))


def warn_of_sweep(command: str, config: Namespace) -> None:
    """Say that a sweep will not see a run that W&B's agent started, for want of a logger."""
    sweep = os.environ.get("WANDB_SWEEP_ID")
    if sweep and command == "fit" and not any(_wandb_loggers(config)):
        rank_zero_warn(
            f"W&B's agent started this run for the sweep {sweep}, but trainer.logger has no WandbLogger: the sweep "
            "will not see its numbers. Add lightning.pytorch.loggers.WandbLogger."
        )


def without_validation(command: str, config: Namespace) -> None:
    """Let nothing go by a validation that does not take place: it would fail after the first epoch."""
    if command != "fit" or config.trainer.limit_val_batches != 0:
        return
    if str(config.checkpoint.monitor).startswith("val/"):
        rank_zero_warn("trainer.limit_val_batches is 0: best.ckpt will be that of the last epoch.")
        config.checkpoint.monitor = None
    if str(config.early_stopping.monitor).startswith("val/"):
        config.early_stopping.check_on_train_epoch_end = False


def keep_what_is_validated(command: str, config: Namespace) -> None:
    """Let ``best.ckpt`` be written right after a validation where epochs go on after it.

    Also gives callbacks back the device that they find by themselves, which a configuration cannot express.
    """
    trainer, checkpoint = config.trainer, config.checkpoint
    within = trainer.val_check_interval not in {None, 1.0} or trainer.check_val_every_n_epoch is None
    # Of several kept ones some would be of epochs that are not validated, under the metric of an earlier one.
    within |= trainer.check_val_every_n_epoch != 1 and checkpoint.save_top_k not in {0, 1}
    if command == "fit" and within and str(checkpoint.monitor).startswith("val/"):
        checkpoint.save_on_train_epoch_end = False
    for _, callback in _callbacks(config):
        options = callback.get("init_args")
        if options is not None and str(options.get("device")).startswith("Unable to serialize"):
            options.device = None


def keep_private(config: Namespace) -> None:
    """Decide what W&B gets, before it is started."""
    privacy.settings(config.private)
    if not config.private:
        return
    config.heatmaps.log_images = False
    for logger in _wandb_loggers(config):
        for name in ("group", "job_type", "notes", "tags", "config"):
            if logger.init_args.get(name) is not None:
                logger.init_args[name] = None
            (logger.get("dict_kwargs") or {}).pop(name, None)  # those that Lightning only passes on
        logger.init_args.log_model = False
        logger.init_args.name = "private"


def same_wandb_run(config: Namespace, run: str | None) -> None:
    """Let a resumed training go on in the same W&B run, unless the configuration names one.

    Args:
        config: The configuration.
        run: Id of the W&B run; None where the checkpoint has none. It becomes the name of a folder.
    """
    if run is not None and not (isinstance(run, str) and _WANDB_ID.fullmatch(run)):
        rank_zero_warn(f"The checkpoint names a W&B run {run!r:.100}, which is no id: a new run is started.")
        return
    for logger in _wandb_loggers(config):
        arguments = logger.init_args
        if run is not None and arguments.get("id") is None and arguments.get("version") is None:
            arguments.id = run


def check_places(command: str, config: Namespace) -> None:
    """Look at every path before anything is downloaded, extracted or computed.

    Raises:
        ResGATError: A path that is read does not exist, or one that is written to cannot be.
    """
    if config.data.root is not None:
        check_root(config.data.root)
        require_folder(config.data.crops, "data.crops")
    if config.net.weights not in {None, "imagenet"}:
        require_files({"net.weights": config.net.weights})
    if command == "fit" and config.checkpoint.dirpath is not None:
        require_folder(config.checkpoint.dirpath, "checkpoint.dirpath")
    for option, folder in (
        ("trainer.default_root_dir", config.trainer.default_root_dir),
        ("checkpoint.dirpath", config.checkpoint.dirpath),
    ):
        if folder is not None and "://" in str(folder):
            raise ConfigError(
                f"{option} is {folder}: runs are kept on a disk, for what a killed one goes on from is read and "
                "renamed there. Name a local folder, and copy it afterwards; data and crops may lie behind URLs."
            )
    if config.trainer.fast_dev_run:
        return
    require_folder(config.trainer.default_root_dir or ".", "trainer.default_root_dir")
    for logger in _loggers(config):
        options = logger.get("init_args")
        if options is not None and options.get("save_dir") is not None:
            require_folder(options.save_dir, "trainer.logger.init_args.save_dir")


def warn_of_hardware(command: str, config: Namespace) -> None:
    """Say what would crawl on this machine."""
    trainer, net = config.trainer, config.net
    for line in advice(str(trainer.accelerator), str(trainer.precision), net.encoder, net.image_size, command):
        rank_zero_warn(line)


def compare(command: str, config: Namespace, here: str, checkpoint: Checkpoint) -> None:
    """Say which value counts where the configuration and a checkpoint disagree.

    Args:
        command: The command.
        config: The configuration.
        here: The same as YAML.
        checkpoint: The checkpoint of ``ckpt_path``.

    Raises:
        WeightsError: It is no checkpoint of ``resgat fit``, or holds another network, the state of another optimiser,
            or none where training is to go on.
    """
    path = config.ckpt_path
    if checkpoint.lightning is None:
        raise WeightsError(f"{path} is no checkpoint of resgat fit: it lacks {LIGHTNING}.")
    check_compatible(config.net.as_dict(), checkpoint.net_config)
    if command == "fit" and not checkpoint.can_resume:
        raise WeightsError(
            f"{path} has weights, but no state of the optimiser that training could go on from: it was written for "
            "testing (safetensors, or save_weights_only). Go on from last.ckpt of its run, or train anew."
        )
    there = (stored_provenance(checkpoint.provenance, "The checkpoint") or {}).get("config", "")
    for line in compare_configs(privacy.without_paths(here), privacy.without_paths(there), command):
        rank_zero_info(line)


def _loggers(config: Namespace) -> Iterator[Namespace]:
    loggers = config.trainer.logger
    for logger in loggers if isinstance(loggers, list) else [loggers]:
        if isinstance(logger, Namespace):
            yield logger


def _wandb_loggers(config: Namespace) -> Iterator[Namespace]:
    return (logger for logger in _loggers(config) if str(logger.get("class_path")).endswith("WandbLogger"))
