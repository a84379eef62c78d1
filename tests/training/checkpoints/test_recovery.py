"""When a training saves and stops, alone and on several ranks."""

from __future__ import annotations

import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.demos.boring_classes import BoringModel
from torch.utils.data import DataLoader

from resgat_pl.core.errors import ConfigError, Stopped
from resgat_pl.training.checkpoints import recovery
from resgat_pl.training.checkpoints.recovery import Recovery

from ...faults.test_killed_extraction import tree
from ...helpers.tiny_runs import TABLE, Done, tiny

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

    def _batches_between(self, trainer: Trainer) -> int:
        return recovery._GPU_BATCHES

    def _agree(self, trainer: Trainer, is_due: bool) -> tuple[int, bool]:
        self.asked.append(trainer.global_step)
        if is_due:
            self.saved_at.append(trainer.global_step)
        return super()._agree(trainer, is_due)


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


@QUIET
def test_a_signal_within_an_epoch_of_several_gpus(tmp_path: Path) -> None:
    noted = Noted()

    class Signalled(Logging):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if batch_idx == 7:
                noted.signals.handle(signal.SIGTERM, None)
            return super().training_step(batch, batch_idx)

    with pytest.raises(Stopped, match="stopped by SIGTERM; the state of step 20 is in"):
        trainer(tmp_path, noted).fit(Signalled(), DataLoader(torch.zeros(50, 32)))


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


@pytest.mark.long
def test_a_run_has_one_folder_that_another_does_not_overwrite(
    ffpp_crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also through a link to its checkpoint; a training that is over brings its best along to another folder."""
    run, other = tmp_path / "run", tmp_path / "other"

    def fit(folder: Path, *more: object) -> Done:
        return tiny("fit", folder, ffpp_crops, *TABLE, "--trainer.max_epochs", 1, *more)

    assert fit(run).status == 0
    (tmp_path / "latest.ckpt").symlink_to(run / "checkpoints" / "last.ckpt")
    last = ("--ckpt_path", tmp_path / "latest.ckpt")
    with caplog.at_level("INFO"):
        done = fit(other, *last)
    assert done.status == 0, done.errors
    assert "latest.ckpt is of a training that is complete (epoch 1, step" in caplog.text
    best = (run / "checkpoints" / "best.ckpt").read_bytes()
    assert (other / "checkpoints" / "best.ckpt").read_bytes() == best
    torch.save({}, other / "checkpoints" / "last.ckpt")
    before = tree(run)
    for more in ((), ("--ckpt_path", other / "checkpoints" / "last.ckpt")):
        done = fit(run, *more)
        assert done.status == 2
        assert "is of a run that is there already, and nothing is overwritten: go on with it" in done.errors
        assert tree(run) == before
    assert fit(run, *last).status == 0
    monkeypatch.setattr("resgat_pl.cli.train.is_requeued", lambda: True)  # its own state comes first
    assert fit(run, "--ckpt_path", other / "checkpoints" / "last.ckpt").status == 0
    assert tree(run).keys() == before.keys()
    assert (run / "checkpoints" / "best.ckpt").read_bytes() == best
    config = (run / "config.yaml").read_bytes()
    assert tiny("test", run, ffpp_crops, *last).status == 0  # and without a logger, which would give it a folder
    assert (run / "config.yaml").read_bytes() == config
