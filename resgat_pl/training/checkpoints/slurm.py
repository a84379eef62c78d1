"""SLURM jobs: detection of a later start of the same job, and the request for one."""

from __future__ import annotations

import os
import subprocess

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.utilities import rank_zero_warn


def is_requeued() -> bool:
    """True in a SLURM job that was queued again, by a signal or after the failure of a machine."""
    return SLURMEnvironment.detect() and os.environ.get("SLURM_RESTART_COUNT", "0") != "0"


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
