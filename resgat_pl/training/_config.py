"""Access to the loggers and callbacks of a parsed configuration, which may be one, a list, or none."""

from __future__ import annotations

from collections.abc import Iterator

from jsonargparse import Namespace


def loggers_in(config: Namespace) -> Iterator[Namespace]:
    """The configured loggers."""
    loggers = config.trainer.logger
    for logger in loggers if isinstance(loggers, list) else [loggers]:
        if isinstance(logger, Namespace):
            yield logger


def wandb_loggers_in(config: Namespace) -> Iterator[Namespace]:
    """The configured W&B loggers, Lightning's or this package's."""
    return (logger for logger in loggers_in(config) if str(logger.get("class_path")).endswith("WandbLogger"))


def callbacks_in(config: Namespace) -> Iterator[Namespace]:
    """The callbacks that the user configured."""
    callbacks = config.trainer.callbacks
    for callback in callbacks if isinstance(callbacks, list) else [callbacks]:
        if isinstance(callback, Namespace):
            yield callback
