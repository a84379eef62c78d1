"""What is looked at and settled before the parts of a run are built: a mistake must not show after hours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from jsonargparse import Namespace
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from resgat_pl import privacy
from resgat_pl.data.layouts import check_root
from resgat_pl.data.paths import require_files, require_folder
from resgat_pl.errors import ConfigError
from resgat_pl.hardware import advice
from resgat_pl.nn.resgat import check_compatible
from resgat_pl.provenance import stored_provenance
from resgat_pl.resumed import differences

_LASTING: Final = {
    "lightning.pytorch.loggers.CSVLogger": "resgat_pl.checkpoints.WholeCSVLogger",
    "lightning.pytorch.loggers.csv_logs.CSVLogger": "resgat_pl.checkpoints.WholeCSVLogger",
    "lightning.pytorch.loggers.WandbLogger": "resgat_pl.wandb_logger.LastingWandbLogger",
    "lightning.pytorch.loggers.wandb.WandbLogger": "resgat_pl.wandb_logger.LastingWandbLogger",
}
"""Loggers that outlast a full disk and a dead W&B, by the names of Lightning's."""


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


def guard_loggers(config: Namespace) -> None:
    """Put loggers that last in the place of Lightning's own."""
    for logger in _loggers(config):
        logger.class_path = _LASTING.get(str(logger.get("class_path")), logger.get("class_path"))


def without_validation(command: str, config: Namespace) -> None:
    """Let nothing go by a validation that does not take place: it would fail after the first epoch."""
    if command != "fit" or config.trainer.limit_val_batches != 0:
        return
    if str(config.checkpoint.monitor).startswith("val/"):
        rank_zero_warn("trainer.limit_val_batches is 0: best.ckpt will be that of the last epoch.")
        config.checkpoint.monitor = None
    if str(config.early_stopping.monitor).startswith("val/"):
        config.early_stopping.check_on_train_epoch_end = False


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
        run: Id of the W&B run; None where the checkpoint has none.
    """
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


def compare(command: str, config: Namespace, here: str, checkpoint: Mapping[str, Any]) -> None:
    """Say which value counts where the configuration and a checkpoint disagree.

    Args:
        command: The command.
        config: The configuration.
        here: The same as YAML.
        checkpoint: The checkpoint's content.

    Raises:
        WeightsError: The checkpoint holds another network, or the state of another optimiser.
    """
    entry = checkpoint.get("resgat")
    if isinstance(entry, dict) and isinstance(entry.get("net"), dict):
        check_compatible(config.net.as_dict(), entry["net"])
    there = (stored_provenance(checkpoint, "The checkpoint") or {}).get("config", "")
    for line in differences(privacy.without_paths(here), privacy.without_paths(there), command):
        rank_zero_info(line)


def _loggers(config: Namespace) -> Iterator[Namespace]:
    loggers = config.trainer.logger
    for logger in loggers if isinstance(loggers, list) else [loggers]:
        if isinstance(logger, Namespace):
            yield logger


def _wandb_loggers(config: Namespace) -> Iterator[Namespace]:
    return (logger for logger in _loggers(config) if str(logger.get("class_path")).endswith("WandbLogger"))
