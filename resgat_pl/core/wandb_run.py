"""W&B from commands that need no Trainer: a table or a leaderboard as a run, never waited for long."""

from __future__ import annotations

import contextlib
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any, Final

from lightning.pytorch.utilities import rank_zero_warn

_SECONDS: Final = {"init_timeout": 30.0, "finish_timeout": 60.0}
"""How long to wait for the server, unless the configuration or WANDB_INIT_TIMEOUT says otherwise."""


_ANSWER_SECONDS: Final = 10


_LEAST: Final = 100_000
"""Bytes of free room below which W&B's process may have failed to write."""


def patience() -> Any:
    """Settings of W&B that bound how long a command waits for its server, at the start and at the end."""
    import wandb

    known = wandb.Settings.model_fields  # older releases lack some, and wait as long as they like
    bounds: dict[str, Any] = {name: value for name, value in _SECONDS.items() if name in known}
    return wandb.Settings(
        **{name: value for name, value in bounds.items() if f"WANDB_{name.upper()}" not in os.environ}
    )


def publish(make: Callable[[], Mapping[str, Any]], **options: Any) -> None:
    """Log one thing as a W&B run of its own: online or offline as the environment says, offline if that fails.

    Args:
        make: Makes what is logged.
        **options: Those of ``wandb.init``.
    """
    import wandb

    for mode in ({}, {"mode": "offline"}):
        try:
            with wandb.init(**{"settings": patience(), **options, **mode}) as run:
                run.log(dict(make()))
            return
        except Exception as error:
            if not _is_of_wandb(error):
                raise
            remedy = "nothing is logged there." if mode else "it is logged offline, see the folder wandb."
            rank_zero_warn(f"W&B cannot be used ({_reason(error)}): {remedy} All results are in files as well.")
            _forget()


def _cannot_be_written(folder: str) -> str | None:
    """Why W&B's process, which says nothing about it, may have failed to write; None where it could."""
    if not os.access(folder, os.W_OK):  # also of root, if the disk has turned read-only
        return "cannot be written any more"
    return "has no room left" if shutil.disk_usage(folder).free < _LEAST else None


def _answers(url: str) -> bool:
    """Whether a server answers, whatever it says; what it was sent may lie in a queue for hours if it does not."""
    try:
        urllib.request.urlopen(url, timeout=_ANSWER_SECONDS).close()  # noqa: S310 - the server that the user chose
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError):
        return False
    return True


def _forget() -> None:
    """Let go of a run whose process is dead: finishing it fails before W&B does so itself."""
    import wandb

    with contextlib.suppress(Exception):
        wandb.teardown()
    wandb.run = None


def _is_of_wandb(error: Exception) -> bool:
    """Whether an error is W&B's affair: of a dozen classes without a common base, or whatever came out of its code."""
    trace = error.__traceback__
    while trace is not None and str(trace.tb_frame.f_globals.get("__name__")).partition(".")[0] != "wandb":
        trace = trace.tb_next
    return trace is not None or isinstance(error, OSError) or type(error).__module__.partition(".")[0] == "wandb"


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
