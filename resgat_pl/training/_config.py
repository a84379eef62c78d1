"""Access to a parsed configuration: loggers and callbacks, which may be one, a list, or none, and the run's folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jsonargparse import Namespace


def net_options(config: Namespace) -> dict[str, Any]:
    """Arguments of the configured detector, whether its class is named or it is a ResGAT."""
    if (given := config.get("net")) is None:
        return {}
    net = given.as_dict()
    return dict(net.get("init_args") or {}) if "class_path" in net else dict(net)


def loggers_in(config: Namespace) -> Iterator[Namespace]:
    """The configured loggers."""
    loggers = config.trainer.logger
    for logger in loggers if isinstance(loggers, list) else [loggers]:
        if isinstance(logger, Namespace):
            yield logger


def csv_loggers_in(config: Namespace) -> list[Namespace]:
    """The configured CSV loggers; the one that is added to others alone; none where the user wants no logger."""
    if config.trainer.logger in (False, []):
        return []
    if found := [logger for logger in loggers_in(config) if str(logger.get("class_path")).endswith("CSVLogger")]:
        return found
    added = Namespace()  # type: ignore[no-untyped-call]  # jsonargparse has no types for it
    added["class_path"] = "resgat_pl.training.loggers.csv.AtomicCSVLogger"
    added["init_args.save_dir"] = str(config.trainer.default_root_dir or ".")
    added["init_args.name"], added["init_args.version"] = "", None
    return [added]


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
    for logger in csv_loggers_in(config):
        options = logger.init_args
        return Path(options.save_dir, options.get("name", "lightning_logs") or "", version_of(options))
    return Path(config.trainer.default_root_dir or ".")


def version_of(options: Namespace) -> str:
    """The folder below a CSV logger's name: none, the run's id in a W&B sweep, or what the ``version`` says."""
    version = options.get("version")
    if version is None:
        return os.environ.get("WANDB_RUN_ID", "") if os.environ.get("WANDB_SWEEP_ID") else ""
    return version if isinstance(version, str) else f"version_{version}"
