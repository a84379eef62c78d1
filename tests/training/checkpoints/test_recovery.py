"""When training saves and stops, where its newest state is looked for, and what becomes of rows that are there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from jsonargparse import Namespace
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.demos.boring_classes import BoringModel
from torch.utils.data import DataLoader

from resgat_pl.core.errors import ConfigError, Stopped, WeightsError
from resgat_pl.core.storage import temporary_name
from resgat_pl.training.checkpoints import recovery, writing as checkpoints
from resgat_pl.training.checkpoints.find_last import find_last_checkpoint, is_requeued
from resgat_pl.training.checkpoints.recovery import Recovery
from resgat_pl.training.checkpoints.writing import CheckpointRoom
from resgat_pl.training.loggers.csv import WholeCSVLogger

from ...helpers.tiny_runs import tiny

QUIET = pytest.mark.filterwarnings("ignore")
"""Lightning advises on settings that a test has on purpose."""


class Logging(BoringModel):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("train/loss", float(self.trainer.global_step))
        return super().training_step(batch, batch_idx)

    def test_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("test/loss", 1.0)


def trainer(root: Path, *callbacks: Any, logger: Any = False, **options: Any) -> Trainer:
    last = ModelCheckpoint(filename="last", monitor=None, save_on_train_epoch_end=True, enable_version_counter=False)
    return Trainer(
        accelerator="cpu", default_root_dir=root, logger=logger, callbacks=[last, *callbacks], limit_val_batches=0,
        enable_progress_bar=False, enable_model_summary=False,
        **{"max_epochs": 1, **options},
    )  # fmt: skip


class Noted(Recovery):
    """As on several GPUs; notes when it asks and when it saves."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.asked: list[int] = []
        self.saved_at: list[int] = []

    def _between(self, trainer: Trainer) -> int:
        return recovery._GPU_BATCHES

    def _agree(self, trainer: Trainer, due: bool) -> tuple[int, bool]:
        self.asked.append(trainer.global_step)
        if due:
            self.saved_at.append(trainer.global_step)
        return super()._agree(trainer, due)


@QUIET
@pytest.mark.parametrize("accumulated", [1, 4, 5, 8])
def test_several_gpus_agree_within_an_epoch(accumulated: int, tmp_path: Path) -> None:
    """However many batches are accumulated, and however many steps lie between two questions."""
    noted = Noted(every_steps=3, every_minutes=None)
    data = DataLoader(torch.zeros(203, 32))
    trainer(tmp_path, noted, accumulate_grad_batches=accumulated).fit(Logging(), data)
    within = noted.asked[1:]  # without the start of the epoch
    assert len(within) >= 203 // (20 + accumulated)
    assert noted.saved_at[0] <= 3 + 20
    assert len(noted.saved_at) >= 203 // accumulated // (3 + 20)
    assert all(later - sooner >= 3 for sooner, later in zip(noted.saved_at, noted.saved_at[1:], strict=False))


@QUIET
def test_saved_by_the_clock(tmp_path: Path) -> None:
    noted = Noted(every_minutes=1e-9)
    trainer(tmp_path, noted).fit(Logging(), DataLoader(torch.zeros(50, 32)))
    assert noted.saved_at == [20, 40]


SECOND = """
import os, signal, sys, time
from resgat_pl import recovery
listening = recovery.Recovery()
listening._listen()
os.kill(os.getpid(), signal.SIGTERM)
os.kill(os.getpid(), signal.SIGTERM)  # the same, told twice
print("still here", flush=True)
recovery._SAME_SECONDS = 0.0
os.kill(os.getpid(), getattr(signal, sys.argv[1]))
print("too long", flush=True)
"""


@pytest.mark.long
@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_a_second_signal_ends_at_once(name: str) -> None:
    done = subprocess.run([sys.executable, "-c", SECOND, name], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-getattr(signal, name), "still here\n"), done.stderr


@pytest.mark.parametrize("other", [(None, None), ("runs/a/last.ckpt", 20)])
def test_ranks_that_see_different_states_stop_alike(other: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Local disks, or a network disk that is late: rank 1 finds nothing, or another step."""
    ranks = [("runs/a/last.ckpt", 40)] * 2

    def gather(found: list[Any], mine: Any) -> None:
        found[:] = ranks

    monkeypatch.setattr(torch.distributed, "all_gather_object", gather)
    running: Any = SimpleNamespace(world_size=2, ckpt_path="runs/a/last.ckpt", checkpoint_callbacks=[])
    Recovery().on_fit_start(running, BoringModel())
    ranks[1] = other
    with pytest.raises(ConfigError, match=r"rank 0 from runs/a/last\.ckpt \(step 40\) and rank 1 from"):
        Recovery().on_fit_start(running, BoringModel())


def state(path: Path, age: float, root: Path | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    config = f"trainer:\n  default_root_dir: {root}\n"
    torch.save({"a": torch.zeros(1), "provenance": {"config": config, "data": {}}}, path)
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
    """What the job's signal left may be hours older than what a later job lost a machine after."""
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


def test_only_own_leftovers_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither other programs' files and folders, nor what a training that runs there is writing."""
    monkeypatch.setattr(checkpoints, "_too_little_room", lambda *_: None)
    folder, old = tmp_path / "checkpoints", time.time() - 7200
    (folder / ".x.tmp").mkdir(parents=True)
    (folder / f".{'0' * 16}.tmp").mkdir()
    (folder / ".other-program.tmp").write_text("mine")
    (folder / "elsewhere").write_text("mine")
    (folder / f".{'1' * 16}.tmp").symlink_to(folder / "elsewhere")
    fresh, stale = temporary_name(folder / "last.ckpt"), temporary_name(folder / "last.ckpt")
    fresh.write_text("half")
    stale.write_text("half")
    for path in folder.iterdir():
        if path != fresh:
            os.utime(path, (old, old), follow_symlinks=path.name != f".{'1' * 16}.tmp")
    strategy = SimpleNamespace(broadcast=lambda value: value)
    saver = ModelCheckpoint(dirpath=tmp_path / "another")
    resumed: Any = SimpleNamespace(
        is_global_zero=True, strategy=strategy, ckpt_path=folder / "last.ckpt", checkpoint_callbacks=[saver]
    )
    names = {path.name for path in folder.iterdir()}
    CheckpointRoom().on_fit_start(resumed, BoringModel())
    assert {path.name for path in folder.iterdir()} == names - {stale.name}
    saver.dirpath = str(folder)  # the run goes on in its own folder
    CheckpointRoom().on_fit_start(resumed, BoringModel())
    assert {path.name for path in folder.iterdir()} == names - {stale.name, fresh.name}


@QUIET
def test_rows_of_a_fixed_version_are_kept(tmp_path: Path) -> None:
    """Resumed: cut to the checkpoint's, and on. Tested: more after them. Begun anew: moved away."""
    rows, last = tmp_path / "version_0" / "metrics.csv", tmp_path / "version_0" / "checkpoints" / "last.ckpt"

    def run(epochs: int) -> Trainer:
        logger = WholeCSVLogger(tmp_path, name="", version=0)
        more = {"limit_train_batches": 2, "limit_test_batches": 1, "log_every_n_steps": 1}
        return trainer(tmp_path, Recovery(), logger=logger, max_epochs=epochs, **more)

    run(1).fit(Logging())
    first = rows.read_text()
    assert first.splitlines() == ["epoch,step,train/loss", "0,0,0.0", "0,1,1.0"]
    run(1).test(Logging())
    assert rows.read_text().splitlines() == ["epoch,step,test/loss,train/loss", "0,0,,0.0", "0,1,,1.0", "0,0,1.0,"]
    run(2).fit(Logging(), ckpt_path=last)
    lines = rows.read_text().splitlines()
    assert [line.split(",")[1] for line in lines] == ["step", "0", "1", "2", "3"]
    with pytest.warns(UserWarning, match=r"it is now metrics\.1\.csv"):
        run(1).fit(Logging())
    assert rows.read_text() == first
    assert rows.with_name("metrics.1.csv").read_text().splitlines() == lines
    rows.write_bytes(b"\xff\xfe no table")
    with pytest.warns(UserWarning, match=r"it is now metrics\.2\.csv"):
        run(1).test(Logging())
    assert rows.with_name("metrics.2.csv").read_bytes() == b"\xff\xfe no table"


@QUIET
def test_a_signal_within_an_epoch_of_several_gpus(tmp_path: Path) -> None:
    noted = Noted()

    class Told(Logging):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if batch_idx == 7:
                noted._heard(signal.SIGTERM, None)
            return super().training_step(batch, batch_idx)

    with pytest.raises(Stopped, match="stopped by SIGTERM; the state of step 20 is in"):
        trainer(tmp_path, noted).fit(Told(), DataLoader(torch.zeros(50, 32)))


@QUIET
@pytest.mark.parametrize("command", ["validate", "test", "predict"])
def test_outside_training_lightning_answers_no_signal(command: str, tmp_path: Path) -> None:
    """Its handler waits for all ranks, which may be waiting for something else."""
    seen = []

    class Looking(BoringModel):
        def forward(self, x: Any) -> Any:
            seen.append(signal.getsignal(signal.SIGTERM))
            return super().forward(x)

    def ours(number: int, frame: object) -> None:
        raise AssertionError

    before = signal.signal(signal.SIGTERM, ours)
    try:
        limits = {"limit_test_batches": 1, "limit_predict_batches": 1}
        running = trainer(tmp_path, Recovery(), **limits)
        running.limit_val_batches = 1
        getattr(running, command)(Looking())
        assert seen == [ours]
        assert signal.getsignal(signal.SIGTERM) is ours
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_training_that_is_over_brings_its_best_along_also_through_a_link(ffpp_crops: Path, tmp_path: Path) -> None:
    loggers = ("--trainer.logger", "lightning.pytorch.loggers.CSVLogger", "--trainer.logger.save_dir", tmp_path)
    fit = ("fit", tmp_path, ffpp_crops, *loggers, "--trainer.logger.name", "", "--trainer.max_epochs", 1)
    assert tiny(*fit).status == 0
    (tmp_path / "latest.ckpt").symlink_to(tmp_path / "version_0" / "checkpoints" / "last.ckpt")
    done = tiny(*fit, "--ckpt_path", tmp_path / "latest.ckpt")
    assert done.status == 0, done.errors
    first, second = ((tmp_path / f"version_{n}" / "checkpoints" / "best.ckpt").read_bytes() for n in (0, 1))
    assert first == second
