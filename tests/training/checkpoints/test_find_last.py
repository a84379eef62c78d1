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
from resgat_pl.training.checkpoints.find_last import find_last_checkpoint


def state(path: Path, age: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"resgat": {"version": 1, "net": {}}, "state_dict": {"a": torch.zeros(1)}}, path)
    os.utime(path, (time.time() - age,) * 2)
    return path


def configured(root: Path, *loggers: tuple[str, dict[str, Any]]) -> Namespace:
    listed = [Namespace(class_path=f"lightning.{name}", init_args=Namespace(**options)) for name, options in loggers]
    return Namespace(trainer=Namespace(default_root_dir=str(root), logger=listed or False))


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({"name": ""}, ""),
        ({}, "lightning_logs"),
        ({"name": "ablation [1]", "version": "run1"}, "ablation [1]/run1"),
        ({"name": None, "version": 4}, "version_4"),
        ({"name": "", "version": None}, "version_3"),  # of an earlier version of this program
        ({}, "lightning_logs/version_0"),
        ({"name": "ablation"}, "ablation/version_12"),
        ({"name": "ablation"}, "version_12"),
    ],
)
def test_the_state_is_where_the_csv_logger_puts_it(options: dict[str, Any], place: str, tmp_path: Path) -> None:
    wandb = ("WandbLogger", {"project": "faces", "save_dir": str(tmp_path / "wandb")})
    config = configured(tmp_path, wandb, ("CSVLogger", {**options, "save_dir": str(tmp_path)}))
    assert find_last_checkpoint(config, "fit") is None
    with pytest.raises(ConfigError, match="no state of a training"):
        find_last_checkpoint(config, "test")
    state(tmp_path / "of" / "another" / "checkpoints" / "last.ckpt", 0)
    path = state(tmp_path / place / "checkpoints" / "last.ckpt", 30)
    assert find_last_checkpoint(config, "fit") == str(path)


def test_runs_that_shared_a_folder_of_logs_do_not_go_on_from_each_other(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    config = configured(tmp_path / "seed_1", ("CSVLogger", {"name": "faces", "save_dir": str(logs)}))
    state(logs / "faces" / "version_0" / "checkpoints" / "last.ckpt", 0)
    assert find_last_checkpoint(config, "fit") is None
    own = state(logs / "faces" / "checkpoints" / "last.ckpt", 60)
    assert find_last_checkpoint(config, "fit") == str(own)


def test_a_damaged_state_gives_way_to_the_one_before(tmp_path: Path) -> None:
    places = ("hpc_ckpt_1.ckpt", "version_0/checkpoints/last.ckpt", "checkpoints/last.ckpt")
    oldest, older, newest = (state(tmp_path / place, 60 - n) for n, place in enumerate(places))
    newest.write_bytes(newest.read_bytes()[:-100])
    with pytest.warns(UserWarning, match="Looking for the one before it"):
        assert find_last_checkpoint(configured(tmp_path), "fit") == str(older)
    for path in (newest, oldest, older):
        path.write_bytes(b"")
    os.utime(older, (time.time() + 9,) * 2)  # which is now the newest
    with pytest.warns(UserWarning), pytest.raises(WeightsError, match="version_0"):
        find_last_checkpoint(configured(tmp_path), "fit")
