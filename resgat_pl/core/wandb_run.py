"""W&B runs that a command never waits for long: settings, one-off runs for tables, and the end of a broken run."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Mapping
from typing import Any, Final

from lightning.pytorch.utilities import rank_zero_warn

_SECONDS: Final = {"init_timeout": 30.0, "finish_timeout": 60.0}
"""Seconds to wait for the server, unless the configuration or an environment variable says otherwise."""


def patience() -> Any:
    """Settings of W&B that bound how long a command waits for its server, at the start and at the end."""
    import wandb

    known = wandb.Settings.model_fields  # older releases lack some, and wait without a bound
    bounds: dict[str, Any] = {name: value for name, value in _SECONDS.items() if name in known}
    return wandb.Settings(
        **{name: value for name, value in bounds.items() if f"WANDB_{name.upper()}" not in os.environ}
    )


def publish(make: Callable[[], Mapping[str, Any]], **options: Any) -> None:
    """Log one thing as a separate W&B run, online or offline as the environment says; warn if that fails.

    A run that the caller has open is neither written to nor ended.

    Args:
        make: Makes what is logged.
        **options: Those of ``wandb.init``.
    """
    import wandb

    content = dict(make())
    try:
        with wandb.init(**{"settings": patience(), "reinit": "create_new", **options}) as run:
            run.log(content)
    except Exception as error:
        if wandb.run is None:  # otherwise the caller's run would be lost with the broken one
            abandon()
        rank_zero_warn(
            f"W&B cannot be used ({reason_of(error)}): nothing is logged there. All results are in files as well."
        )


def abandon() -> None:
    """Let go of a broken run: else W&B tries to finish it when the program ends."""
    import wandb

    with contextlib.suppress(Exception):
        wandb.teardown()
    wandb.run = None
    without_debug_log()


def without_debug_log() -> None:
    """Close W&B's own debug log: on a full disk it reports its errors to stderr, which it copies into the same log."""
    log = logging.getLogger("wandb")
    for handler in list(log.handlers):
        if isinstance(handler, logging.FileHandler):
            log.removeHandler(handler)
            with contextlib.suppress(OSError):
                handler.close()


def reason_of(error: Exception) -> str:
    """The first line of an error, or its class."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
