"""The search for ``--ckpt_path last``: the most recent readable checkpoint of this run; also for a SLURM job."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from jsonargparse import Namespace
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from resgat_pl.core.errors import ConfigError, WeightsError
from resgat_pl.core.text import leaves
from resgat_pl.evaluation.provenance import stored_provenance
from resgat_pl.nn.checkpoint_file import Checkpoint
from resgat_pl.training.checkpoints.config_diff import parsed
from resgat_pl.training.checkpoints.slurm import JOB_CHECKPOINT

_LAST: Final = "checkpoints/last.ckpt"


def find_last_checkpoint(config: Namespace, command: str) -> str | None:
    """Find the newest readable ``last.ckpt``, or checkpoint of a SLURM job, of the runs of a configuration.

    The search covers the folders of its first logger, or of none: not everything below a folder, which could hold
    other runs. Outside ``trainer.default_root_dir`` only those count that were trained with the same one, and the
    run that the logger names.

    Args:
        config: The configuration of the command.
        command: ``fit`` starts from scratch where there is none: a job may always be given ``--ckpt_path last``.

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
    others = []
    for path in sorted(found, key=lambda path: found[path], reverse=True):  # of two that are as new, the last.ckpt
        try:
            checkpoint = Checkpoint.read(path)
        except WeightsError as error:
            problem = problem or error
            rank_zero_warn(f"--ckpt_path last: {error} Looking for the one before it.")
            continue
        if not _is_of(path, checkpoint, root, config.trainer.logger):
            others.append(path)
            continue
        rank_zero_info(f"--ckpt_path last: going on from {path}")
        return str(path)
    if problem is not None:
        raise problem
    message = (
        f"{others[0]} is of a run with another trainer.default_root_dir, so it is not taken. If it is the one, name it"
    )
    if command != "fit":
        raise ConfigError(f"--ckpt_path last: {message}.")
    rank_zero_warn(f"--ckpt_path last: {message}; training starts at the beginning.")
    return None


def _files(pattern: str) -> Iterator[Path]:
    return (Path(name) for name in glob.glob(pattern) if os.path.isfile(name))  # noqa: PTH207, PTH113 - Path.glob takes no pattern of a whole path


def _is_of(path: Path, checkpoint: Checkpoint, root: Path, loggers: Any) -> bool:
    """True for a checkpoint of this configuration's runs, False for others that a logger puts in the same folder."""
    if path.absolute().is_relative_to(root.absolute()) or _run(_first(loggers)[1]) is not None:
        return True
    trained = (stored_provenance(checkpoint.provenance, path) or {}).get("config", "")
    there = dict(leaves(parsed(trained))).get("trainer.default_root_dir")
    return isinstance(there, str) and there != "null" and Path(there).absolute() == root.absolute()


def _first(loggers: Any) -> tuple[str | None, dict[str, Any]]:
    """Class and options of the logger by which Lightning places checkpoints, if there is one."""
    logger = next(iter(loggers), None) if isinstance(loggers, list) else loggers
    if not isinstance(logger, Namespace):
        return None, {}
    arguments = logger.get("init_args")
    return str(logger.get("class_path")), {} if arguments is None else arguments.as_dict()


def _run(options: Mapping[str, Any]) -> Any:
    """The run that a logger's options name, None if they leave it open."""
    return options.get("id") if options.get("version") is None else options["version"]


def _patterns(root: Path, loggers: Any) -> Iterator[str]:
    """Patterns of checkpoint paths: without a logger, with Lightning's default, and with the one configured."""
    base = glob.escape(str(root))
    for run in ("", "version_*/", "lightning_logs/version_*/"):
        yield f"{base}/{run}{_LAST}"
    logger, options = _first(loggers)
    if logger is not None:
        place, fixed = options.get("save_dir") or root, _run(options)
        if logger.endswith("WandbLogger"):
            name, run = options.get("project") or os.environ.get("WANDB_PROJECT", "lightning_logs"), "*"
        else:  # Lightning's own for files
            name, run = options.get("name", "lightning_logs") or "", "version_*"
        if fixed is not None:
            run = glob.escape(fixed if isinstance(fixed, str) else f"version_{fixed}")
        yield "/".join((glob.escape(str(Path(place) / name)), run, _LAST))
    yield f"{base}/{JOB_CHECKPOINT}"
