"""SLURM jobs: the checkpoint that a job leaves for its next start, and the request to be queued again."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

from jsonargparse import Namespace
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.utilities import rank_zero_warn

from resgat_pl.core.storage import write_atomic

JOB_CHECKPOINT: Final = "hpc_ckpt_*.ckpt"
"""Lightning's name for what a SLURM job leaves in ``trainer.default_root_dir``."""


def is_requeued(config: Namespace) -> bool:
    """True in a SLURM job that an earlier start left a checkpoint for."""
    folder = Path(config.trainer.default_root_dir or ".")
    return SLURMEnvironment.detect() and any(folder.glob(JOB_CHECKPOINT))


def leave_checkpoint(last: Path, target: Path) -> None:
    """Copy ``last.ckpt`` to where Lightning looks when the job starts again, with its date: it is not newer."""
    write_atomic(target, last.read_bytes())
    made = last.stat()
    os.utime(target, ns=(made.st_atime_ns, made.st_mtime_ns))


def requeue() -> bool:
    """Ask SLURM to start this job, or this task of an array, again; return whether it will."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    job = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ["SLURM_JOB_ID"]
    try:
        subprocess.run(["scontrol", "requeue", job], check=True)  # noqa: S603, S607 - the user's own scontrol
    except (OSError, subprocess.CalledProcessError) as error:
        rank_zero_warn(f"scontrol requeue {job} failed ({error}): queue the job again yourself.")
        return False
    return True
