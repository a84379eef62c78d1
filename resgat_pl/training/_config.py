"""Access to a parsed configuration: loggers and callbacks, which may be one, a list, or none, and the run's folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from jsonargparse import Namespace


def loggers_in(config: Namespace) -> Iterator[Namespace]:
    """The configured loggers."""
    loggers = config.trainer.logger
    for logger in loggers if isinstance(loggers, list) else [loggers]:
        if isinstance(logger, Namespace):
            yield logger


def csv_loggers_in(config: Namespace) -> Iterator[Namespace]:
    """The configured CSV loggers, Lightning's or this package's."""
    return (logger for logger in loggers_in(config) if str(logger.get("class_path")).endswith("CSVLogger"))


def wandb_loggers_in(config: Namespace) -> Iterator[Namespace]:
    """The configured W&B loggers, Lightning's or this package's."""
    return (logger for logger in loggers_in(config) if str(logger.get("class_path")).endswith("WandbLogger"))


def callbacks_in(config: Namespace) -> Iterator[Namespace]:
    """The callbacks that the user configured."""
    callbacks = config.trainer.callbacks
    for callback in callbacks if isinstance(callbacks, list) else [callbacks]:
        if isinstance(callback, Namespace):
            yield callback


def run_folder(config: Namespace) -> Path:
    """The folder of a run: the one that its first CSV logger names; without loggers ``trainer.default_root_dir``."""
    options = next((logger.init_args for logger in csv_loggers_in(config)), added_csv_options(config))
    if options is None:
        return Path(config.trainer.default_root_dir or ".")
    return Path(options.save_dir, options.get("name", "lightning_logs") or "", version_of(options))


def added_csv_options(config: Namespace) -> Namespace | None:
    """Options of the CSV logger that is added to loggers that have none; None where the user wants no logger."""
    if config.trainer.logger in (False, []):
        return None
    return Namespace(save_dir=str(config.trainer.default_root_dir or "."), name="", version=None)


def version_of(options: Namespace) -> str:
    """The folder below a CSV logger's name: none, the run's id in a W&B sweep, or what the ``version`` says."""
    version = options.get("version")
    if version is None:
        return os.environ.get("WANDB_RUN_ID", "") if os.environ.get("WANDB_SWEEP_ID") else ""
    return version if isinstance(version, str) else f"version_{version}"
