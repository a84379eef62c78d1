"""Where the newest state of a training lies, for ``--ckpt_path last`` and for a job that SLURM starts again."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from jsonargparse import Namespace
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from resgat_pl.errors import ConfigError, WeightsError
from resgat_pl.nn.weights import read_file

_LAST: Final = "checkpoints/last.ckpt"
_JOB: Final = "hpc_ckpt_*.ckpt"
"""As Lightning names what a SLURM job leaves in ``trainer.default_root_dir``."""


def newest(config: Namespace, command: str) -> str | None:
    """The newest ``last.ckpt``, or checkpoint of a SLURM job, that can be read, of the runs of a configuration.

    They are looked for where its loggers, or none, put runs: not everywhere below a folder, which could hold the runs
    of others.

    Args:
        config: The configuration of the command.
        command: ``fit`` begins anew where there is none, so that a job may always be given ``--ckpt_path last``.

    Raises:
        ConfigError: There is none and ``command`` needs one.
        WeightsError: There are some, and none can be read.
    """
    root = Path(config.trainer.default_root_dir or ".")
    patterns = list(dict.fromkeys(_patterns(root, config.trainer.logger)))
    found = {path: path.stat().st_mtime_ns for pattern in patterns for path in _files(pattern)}
    if not found:
        message = f"there is no state of a training at {' or '.join(patterns)}"
        if command != "fit":
            raise ConfigError(f"--ckpt_path last: {message}. Check trainer.default_root_dir, or name the file.")
        rank_zero_info(f"--ckpt_path last: {message}; training starts at the beginning.")
        return None
    problem: WeightsError | None = None
    for path in sorted(found, key=lambda path: found[path], reverse=True):  # of two that are as new, the last.ckpt
        try:
            read_file(path)
        except WeightsError as error:
            problem = problem or error
            rank_zero_warn(f"--ckpt_path last: {error} Looking for the one before it.")
            continue
        rank_zero_info(f"--ckpt_path last: going on from {path}")
        return str(path)
    raise problem or ConfigError("--ckpt_path last: nothing can be read")


def starts_again(config: Namespace) -> bool:
    """Whether this is a SLURM job, and one before it has left its state; Lightning would go on from it unseen."""
    folder = Path(config.trainer.default_root_dir or ".")
    return SLURMEnvironment.detect() and any(folder.glob(_JOB))


def _files(pattern: str) -> Iterator[Path]:
    return (Path(name) for name in glob.glob(pattern) if os.path.isfile(name))  # noqa: PTH207, PTH113 - of any folder


def _patterns(root: Path, loggers: Any) -> Iterator[str]:
    """Where runs leave their states: without a logger, with Lightning's default, and with each that is configured."""
    base = glob.escape(str(root))
    for run in ("", "version_*/", "lightning_logs/version_*/"):
        yield f"{base}/{run}{_LAST}"
    for logger in loggers if isinstance(loggers, list) else [loggers]:
        if not isinstance(logger, Namespace):
            continue
        arguments = logger.get("init_args")
        options = {} if arguments is None else arguments.as_dict()
        place, fixed = options.get("save_dir") or root, options.get("version")
        if str(logger.get("class_path")).endswith("WandbLogger"):
            name, run = options.get("project") or os.environ.get("WANDB_PROJECT", "lightning_logs"), "*"
            fixed = fixed or options.get("id")
        else:  # Lightning's own for files
            name, run = options.get("name", "lightning_logs") or "", "version_*"
        if fixed is not None:
            run = glob.escape(fixed if isinstance(fixed, str) else f"version_{fixed}")
        yield "/".join((glob.escape(str(Path(place) / name)), run, _LAST))
    yield f"{base}/{_JOB}"
