"""Which checkpoint ``--ckpt_path last`` and a SLURM job that starts again resume from."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from jsonargparse import Namespace

from resgat_pl.core.errors import ConfigError, WeightsError
from resgat_pl.core.storage import temporary_name
from resgat_pl.training.checkpoints.find_last import find_last_checkpoint
from resgat_pl.training.checkpoints.slurm import is_requeued, leave_checkpoint, requeue


def state(path: Path, age: float, root: Path | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    config = f"trainer:\n  default_root_dir: {root}\n"
    content = {"resgat": {"version": 1, "net": {}}, "state_dict": {"a": torch.zeros(1)}}
    torch.save({**content, "provenance": {"config": config, "data": {}}}, path)
    os.utime(path, (time.time() - age,) * 2)
    return path


def configured(root: Path, *loggers: tuple[str, dict[str, Any]]) -> Namespace:
    listed = [Namespace(class_path=f"lightning.{name}", init_args=Namespace(**options)) for name, options in loggers]
    return Namespace(trainer=Namespace(default_root_dir=str(root), logger=listed or False))


@pytest.mark.parametrize(
    ("name", "options", "place"),
    [
        ("CSVLogger", {"name": ""}, "version_3"),
        ("CSVLogger", {}, "lightning_logs/version_0"),
        ("CSVLogger", {"name": "ablation"}, "ablation/version_12"),
        ("CSVLogger", {"name": "ablation [1]", "version": "run1"}, "ablation [1]/run1"),
        ("CSVLogger", {"name": None, "version": 4}, "version_4"),
        ("WandbLogger", {"project": "faces"}, "faces/a1b2c3d4"),
        ("WandbLogger", {"project": "faces", "id": "mine"}, "faces/mine"),
        ("WandbLogger", {"project": None}, "lightning_logs/a1b2c3d4"),
    ],
)
@pytest.mark.parametrize("elsewhere", [False, True])
def test_the_newest_state_is_where_the_logger_puts_it(
    name: str, options: dict[str, Any], place: str, elsewhere: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    root, logs = tmp_path / "root", tmp_path / ("logs" if elsewhere else "root")
    config = configured(root, (name, {**options, "save_dir": str(logs)}))
    assert find_last_checkpoint(config, "fit") is None
    with pytest.raises(ConfigError, match="no state of a training"):
        find_last_checkpoint(config, "test")
    state(root / "checkpoints" / "last.ckpt", 60)
    state(tmp_path / "root" / "of" / "another" / "checkpoints" / "last.ckpt", 0)
    path = state(logs / place / "checkpoints" / "last.ckpt", 30, root)
    assert find_last_checkpoint(config, "fit") == str(path)


def test_runs_that_share_a_folder_of_logs_do_not_go_on_from_each_other(tmp_path: Path) -> None:
    """W&B's logger writes to the working folder unless told otherwise, whatever the run's own folder is."""
    logs, mine = tmp_path / "logs", tmp_path / "seed_1"
    config = configured(mine, ("WandbLogger", {"project": "faces", "save_dir": str(logs)}))
    other = state(logs / "faces" / "a" / "checkpoints" / "last.ckpt", 0, tmp_path / "seed_0")
    with pytest.warns(UserWarning, match=r"a/checkpoints/last\.ckpt is of a run with another"):
        assert find_last_checkpoint(config, "fit") is None
    with pytest.raises(ConfigError, match="name it"):
        find_last_checkpoint(config, "test")
    own = state(logs / "faces" / "b" / "checkpoints" / "last.ckpt", 60, mine)
    assert find_last_checkpoint(config, "fit") == str(own)
    named = configured(mine, ("WandbLogger", {"project": "faces", "id": "a", "save_dir": str(logs)}))
    assert find_last_checkpoint(named, "fit") == str(other)


def test_a_damaged_state_gives_way_to_the_one_before(tmp_path: Path) -> None:
    older, newer = (state(tmp_path / f"version_{n}/checkpoints/last.ckpt", 60 - n) for n in (0, 1))
    newer.write_bytes(newer.read_bytes()[:-100])
    with pytest.warns(UserWarning, match="Looking for the one before it"):
        assert find_last_checkpoint(configured(tmp_path), "fit") == str(older)
    older.write_bytes(b"")  # so that it is the newest
    with pytest.warns(UserWarning), pytest.raises(WeightsError, match="version_0"):
        find_last_checkpoint(configured(tmp_path), "fit")


def test_a_slurm_job_goes_on_from_what_is_newest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoint of a signal may be hours older than the last.ckpt of a later job that lost a machine."""
    config = configured(tmp_path)
    for name, value in {"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "resgat"}.items():
        monkeypatch.setenv(name, value)
    last = state(tmp_path / "version_1" / "checkpoints" / "last.ckpt", 0)
    assert not is_requeued(config)
    job = state(tmp_path / "hpc_ckpt_1.ckpt", 3600)
    assert is_requeued(config)
    assert find_last_checkpoint(config, "fit") == str(last)
    os.utime(last, ns=(job.stat().st_mtime_ns,) * 2)
    assert find_last_checkpoint(config, "fit") == str(last)  # the same state, beside its best checkpoint
    os.utime(last, (0, 0))
    assert find_last_checkpoint(config, "fit") == str(job)
    monkeypatch.setenv("SLURM_JOB_NAME", "interactive")
    assert not is_requeued(config)


def test_a_killed_copy_is_no_state_of_a_job(tmp_path: Path) -> None:
    """Lightning takes every name with ``hpc_ckpt_`` for one."""
    assert "hpc_ckpt_" not in temporary_name(tmp_path / "hpc_ckpt_1.ckpt").name


def test_a_checkpoint_for_the_next_start_is_not_newer(tmp_path: Path) -> None:
    last = state(tmp_path / "last.ckpt", 60)
    leave_checkpoint(last, tmp_path / "hpc_ckpt_1.ckpt")
    assert (tmp_path / "hpc_ckpt_1.ckpt").read_bytes() == last.read_bytes()
    assert (tmp_path / "hpc_ckpt_1.ckpt").stat().st_mtime_ns == last.stat().st_mtime_ns


def test_a_job_that_cannot_be_queued_again_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "7")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    with pytest.warns(UserWarning, match="scontrol requeue 7_2 failed .* queue the job again yourself"):
        assert not requeue()
