"""The search for ``--ckpt_path last``: the most recent readable checkpoint of this run; also for a SLURM job."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from jsonargparse import Namespace
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from resgat_pl.core.errors import ConfigError, WeightsError
from resgat_pl.nn.checkpoint_file import Checkpoint
from resgat_pl.training._config import run_folder


def find_last_checkpoint(config: Namespace, command: str) -> str | None:
    """Find the newest readable ``last.ckpt`` in the folder of a run, or in one that an earlier version left there.

    Args:
        config: The configuration of the command.
        command: ``fit`` starts from scratch where there is none: a job may always be given ``--ckpt_path last``.

    Raises:
        ConfigError: There is none and ``command`` needs one.
        WeightsError: There are some, and none can be read.
    """
    folder = run_folder(config)
    last = folder / "checkpoints" / "last.ckpt"
    found = [path for path in (last, *_of_earlier_versions(folder, config)) if path.is_file()]
    if not found:
        message = f"there is no state of a training at {last}"
        if command != "fit":
            raise ConfigError(f"--ckpt_path last: {message}. Check trainer.default_root_dir, or name the file.")
        rank_zero_info(f"--ckpt_path last: {message}; training starts at the beginning.")
        return None
    problems = []
    for path in sorted(found, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        try:
            Checkpoint.read(path)
        except WeightsError as error:
            problems.append(error)
            rank_zero_warn(f"--ckpt_path last: {error} Looking for the one before it.")
        else:
            rank_zero_info(f"--ckpt_path last: going on from {path}")
            return str(path)
    raise problems[0]


def _of_earlier_versions(folder: Path, config: Namespace) -> Iterator[Path]:
    """Checkpoints of ``version_N`` folders, one per start, and of SLURM jobs, which earlier versions wrote.

    Loggers outside ``trainer.default_root_dir`` shared a folder with other runs: those are not searched.
    """
    root = Path(config.trainer.default_root_dir or ".")
    yield from root.glob("hpc_ckpt_*.ckpt")
    yield from root.glob("lightning_logs/version_*/checkpoints/last.ckpt")
    for place in {root, folder} if folder.absolute().is_relative_to(root.absolute()) else {root}:
        yield from place.glob("version_*/checkpoints/last.ckpt")
