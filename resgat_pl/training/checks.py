"""Checks of a run's configuration before anything is built: they raise or warn, and change nothing.

A mistake must not show after hours; what the configuration is changed to is in ``adjust``.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Final, get_args

import torch
from jsonargparse import Namespace
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from resgat_pl.core import privacy
from resgat_pl.core.errors import ConfigError, WeightsError
from resgat_pl.core.path_checks import require_files, require_folder
from resgat_pl.core.text import nearest
from resgat_pl.core.types import Level
from resgat_pl.data.layouts.base import check_root
from resgat_pl.evaluation.metrics.binary import LOWER_IS_BETTER, METRICS
from resgat_pl.evaluation.metrics.extra import metric_names
from resgat_pl.evaluation.provenance import stored_provenance
from resgat_pl.nn.checkpoint_file import Checkpoint
from resgat_pl.nn.checkpoint_keys import LIGHTNING
from resgat_pl.nn.encoders.base import WEIGHT_SOURCES
from resgat_pl.nn.nets import check_same_net
from resgat_pl.training._config import (
    callbacks_in,
    csv_loggers_in,
    loggers_in,
    net_options,
    run_folder,
    wandb_loggers_in,
)
from resgat_pl.training.checkpoints.config_diff import compare_configs
from resgat_pl.training.feature_cache import require_frozen
from resgat_pl.training.losses.base import loss_classes

_LIGHTNING: Final = ("lightning.", "pytorch_lightning.", "resgat_pl.")
"""Packages whose callbacks log nothing that could be monitored."""
_LOWER_IS_BETTER: Final = ("loss", *(f"_{name}" for name in LOWER_IS_BETTER))
_NOT_TRAINED_IN: Final = ("16-true", "bf16-true", "transformer-engine", "transformer-engine-float16")
"""Weights in 16 or 8 bits: the images are made 32 bits on the device, and Adam's ε is 0 in 16."""
_NO_VALIDATION: Final = " To train without validation set trainer.limit_val_batches to 0."


def require_groups(config: Namespace) -> None:
    """Refuse a configuration that sets a whole group to null or to one value.

    Raises:
        ConfigError: Names the group.
    """
    for group in (
        "net",
        "model",
        "data",
        "trainer",
        "checkpoint",
        "early_stopping",
        "heatmaps",
        "artifacts",
        "recovery",
    ):
        if not isinstance(config.get(group), Namespace):
            raise ConfigError(
                f"{group} cannot be {config.get(group)!r}: give it options, or leave it out for the defaults."
            )


def check_new_run(command: str, config: Namespace) -> None:
    """Refuse to train over the checkpoints of another run, before anything is written.

    Raises:
        ConfigError: The folder holds checkpoints, and ``ckpt_path`` is none of them.
    """
    if command != "fit" or config.trainer.fast_dev_run:
        return
    run = run_folder(config)
    folders = {run / "checkpoints", Path(config.checkpoint.dirpath or run / "checkpoints")}
    start = None if config.ckpt_path is None else Path(config.ckpt_path).resolve()
    if start is not None and any(start.is_relative_to(folder.resolve()) for folder in {run, *folders}):
        return
    if found := next((path for folder in folders for path in folder.glob("*.ckpt")), None):
        raise ConfigError(
            f"{found} is of a run that is there already, and nothing is overwritten: go on with it (--ckpt_path last), "
            "name another folder (--trainer.default_root_dir, or the save_dir of the CSV logger), or delete that one."
        )


def check_trainer(command: str, config: Namespace) -> None:
    """Refuse numbers with which Lightning fails only in the first epoch, or does the opposite of training.

    Raises:
        ConfigError: Names the option.
    """
    trainer = config.trainer
    on_gpu = str(trainer.accelerator) in {"gpu", "cuda"}
    if on_gpu and not torch.cuda.is_available() and not torch.backends.mps.is_available():
        raise ConfigError(
            f"trainer.accelerator is {trainer.accelerator}, and torch {torch.__version__} finds no GPU here. On a CPU "
            "(--trainer.accelerator cpu --trainer.precision 32) what takes a GPU minutes takes many hours; "
            "configs/blend_cpu.yaml, explainers.yaml and smoke.yaml are made for one."
        )
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
    """Refuse options that checkpoints and early stopping would fail on after an epoch, or that lose the best one.

    Raises:
        ConfigError: They monitor a metric that does not exist, or in its wrong direction, or overwrite checkpoints.
    """
    if command != "fit":
        return
    checkpoint = config.checkpoint
    if checkpoint.save_on_exception:
        raise ConfigError(
            "checkpoint.save_on_exception is true: a run that is stopped or fails would put its present weights in "
            "the place of the best ones. Leave it out: recovery writes last.ckpt, from which --ckpt_path last goes on."
        )
    if checkpoint.filename == "last":
        raise ConfigError(
            "checkpoint.filename is last, which is the name of the file that training goes on from: choose another, "
            "such as best."
        )
    for group in ("checkpoint", "early_stopping"):
        _check_watcher(config, group, config[group])
    for callback in callbacks_in(config):
        options = callback.get("init_args")
        if isinstance(options, Namespace):
            name = str(callback.class_path).rpartition(".")[2]
            _check_watcher(config, f"trainer.callbacks ({name})", options)
            _require_validation(config, "trainer.callbacks", str(options.get("monitor")))


def _check_watcher(config: Namespace, group: str, options: Namespace) -> None:
    """Refuse options of a callback that monitors a metric, if it would fail on them or take the worst for the best."""
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


def _require_validation(config: Namespace, group: str, monitor: str) -> None:
    if monitor.startswith("val/") and config.trainer.limit_val_batches == 0:
        raise ConfigError(
            f"{group}.monitor is {monitor}, but trainer.limit_val_batches is 0: nothing is validated. Let it "
            "monitor train/loss, or validate."
        )


def check_features_cache(command: str, config: Namespace) -> None:
    """Refuse to cache features of an encoder that is trained, before crops are cut out.

    Raises:
        ConfigError: ``net.train`` is not ``frozen``.
    """
    if command == "fit" and config.data.get("features_cache") is not None:
        net = config.net.get("init_args", config.net)  # of a class path, or the options of ResGAT
        require_frozen(net.get("train"))
        require_folder(config.data.features_cache, "data.features_cache")


def check_schedule(command: str, config: Namespace) -> None:
    """Refuse a schedule that would only fail after an epoch, or lower the rate while the metric gets better.

    Raises:
        ConfigError: It monitors a metric that does not exist, or that no validation gives, or in its wrong direction.
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
        if any(not str(callback.class_path).startswith(_LIGHTNING) for callback in callbacks_in(config)):
            return  # the user's callbacks may log any name
        hint = nearest(monitor, known) or f" There are: {', '.join(known)}."
        raise ConfigError(f"{group}.monitor is {monitor}, which training does not log.{hint}")
    if monitor in _added(config):
        return  # only its user knows which way it is better
    right = "min" if monitor.endswith(_LOWER_IS_BETTER) else "max"
    remedy = f"its mode to {right}" if "(" in group else f"--{group}.mode {right}"
    if mode != right:
        raise ConfigError(f"{group}.monitor is {monitor} and {group}.mode is {mode}, so {harm}: set {remedy}.")


def _logged(config: Namespace) -> list[str]:
    """The names of the metrics that ``ResGATModule`` logs in training."""
    guided = ["train/mask_loss"] if config.model.mask_loss_weight > 0 else []
    guided += [f"train/{loss.name}" for loss in loss_classes(config.model.get("losses") or ())]
    scores = [f"val/{level}_{name}" for level in get_args(Level) for name in METRICS]
    options = net_options(config)
    masked = options.get("mask_head", "none") != "none"
    masks = [f"val/mask_{name}" for name in ("iou", "f1", "iou_half", "spared")] if masked else []
    if options.get("outputs"):
        scores += ["val/kind_f1", "val/kind_accuracy", "val/region_map"]
    return [*scores, "val/loss", "train/loss", *guided, *masks, *_added(config)]


def _added(config: Namespace) -> list[str]:
    """Names of the metrics of ``model.metrics``."""
    return [f"val/{name}" for name in metric_names(str(one.class_path) for one in config.model.get("metrics") or ())]


def warn_of_sweep(command: str, config: Namespace) -> None:
    """Warn that a sweep will not see a run that W&B's agent started, and why."""
    sweep = os.environ.get("WANDB_SWEEP_ID")
    if not sweep or command != "fit":
        return
    loggers = list(wandb_loggers_in(config))
    if not loggers:
        why, remedy = "trainer.logger has no WandbLogger", "Add lightning.pytorch.loggers.WandbLogger."
    elif os.environ.get("WANDB_MODE", "online") != "online":
        why, remedy = f"WANDB_MODE is {os.environ['WANDB_MODE']}", "Leave that out, or set WANDB_MODE=online."
    elif all((logger.get("init_args") or {}).get("offline") for logger in loggers):
        why, remedy = "its logger's offline is true", "Leave that out."
    else:
        return
    rank_zero_warn(
        f"W&B's agent started this run for the sweep {sweep}, but {why}: the sweep will not see its numbers. {remedy}"
    )


def check_places(command: str, config: Namespace) -> None:
    """Check every path before anything is downloaded, extracted or computed.

    Raises:
        ResGATError: A path that is read does not exist, or one that is written to cannot be.
    """
    if config.data.root is not None:
        check_root(config.data.root)
        require_folder(config.data.crops, "data.crops")
    weights = net_options(config).get("weights")
    if isinstance(weights, str | Path) and weights not in WEIGHT_SOURCES:
        require_files({"net.weights": weights})
    if command == "fit" and config.checkpoint.dirpath is not None:
        require_folder(config.checkpoint.dirpath, "checkpoint.dirpath")
    for option, folder in (
        ("trainer.default_root_dir", config.trainer.default_root_dir),
        ("checkpoint.dirpath", config.checkpoint.dirpath),
        *(("the CSV logger's save_dir", logger.init_args.save_dir) for logger in csv_loggers_in(config)),
    ):
        if folder is not None and "://" in str(folder):
            raise ConfigError(
                f"{option} is {folder}: runs are stored on a disk, for checkpoints are read and renamed there when "
                "a killed one resumes. Name a local folder, and copy it afterwards; data and crops may be behind URLs."
            )
    if config.trainer.fast_dev_run:
        return
    require_folder(config.trainer.default_root_dir or ".", "trainer.default_root_dir")
    for logger in loggers_in(config):
        options = logger.get("init_args")
        if options is not None and options.get("save_dir") is not None:
            require_folder(options.save_dir, "trainer.logger.init_args.save_dir")


def warn_of_hardware(config: Namespace) -> None:
    """Warn that training in 16 bits on a CPU may crawl."""
    trainer = config.trainer
    accelerators = torch.cuda.is_available() or torch.backends.mps.is_available() or "XRT_TPU_CONFIG" in os.environ
    on_cpu = trainer.accelerator == "cpu" or (trainer.accelerator == "auto" and not accelerators)
    if on_cpu and str(trainer.precision).startswith(("bf16", "16")):
        rank_zero_warn(
            f"trainer.precision is {trainer.precision}, but this run is on a CPU: without AVX-512 or bfloat16 "
            "instructions training was measured to take 12 to 35 times as long. Set --trainer.precision 32."
        )


def check_checkpoint(command: str, config: Namespace, here: str, checkpoint: Checkpoint) -> None:
    """Check that a checkpoint fits the configuration, and log which value counts where the two disagree.

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
    check_same_net(config.net.as_dict(), checkpoint.net_config)
    if command == "fit" and not checkpoint.can_resume:
        raise WeightsError(
            f"{path} has weights, but no state of the optimiser that training could go on from: it was written for "
            "testing (safetensors, or save_weights_only). Resume from last.ckpt, or train without --ckpt_path."
        )
    there = (stored_provenance(checkpoint.provenance, "The checkpoint") or {}).get("config", "")
    for line in compare_configs(privacy.without_paths(here), privacy.without_paths(there), command):
        rank_zero_info(line)
