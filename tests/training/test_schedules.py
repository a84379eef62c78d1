"""Monitors of learning-rate schedules, and schedules that are refused because they would end a training."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.cli import ReduceLROnPlateau
from torch.optim import SGD, lr_scheduler

from resgat_pl.core.errors import ConfigError
from resgat_pl.training.schedules import expected_steps, rehearse, schedule

from ..helpers.tiny_runs import tiny, variant

PLATEAU = "lightning.pytorch.cli.ReduceLROnPlateau"


def optimizer(parameters: Any = None) -> SGD:
    return SGD(parameters or [torch.nn.Parameter(torch.zeros(2))], lr=0.1)


def trainer(**options: Any) -> Any:
    values = {"limit_val_batches": 1.0, "check_val_every_n_epoch": 1, "max_epochs": 4, "estimated_stepping_batches": 40}
    return SimpleNamespace(**{**values, **options})


@pytest.mark.parametrize(("monitor", "mode"), [("val/video_auroc", "max"), ("train/loss", "min"), ("mine", "min")])
def test_it_goes_by_what_was_named(monitor: str, mode: Any) -> None:
    entry = schedule(ReduceLROnPlateau(optimizer(), monitor=monitor, mode=mode), "epoch", trainer())
    assert (entry["monitor"], entry["scheduler"].mode, entry["frequency"]) == (monitor, mode, 1)


def test_torchs_own_goes_by_the_loss() -> None:
    assert schedule(lr_scheduler.ReduceLROnPlateau(optimizer()), "epoch", trainer())["monitor"] == "val/loss"
    with pytest.raises(ConfigError, match=f"names no metric.*{PLATEAU}"):
        schedule(lr_scheduler.ReduceLROnPlateau(optimizer(), mode="max"), "epoch", trainer())


def test_it_waits_for_validations() -> None:
    plateau = ReduceLROnPlateau(optimizer(), monitor="val/loss")
    assert schedule(plateau, "epoch", trainer(check_val_every_n_epoch=3))["frequency"] == 3
    assert not schedule(plateau, "epoch", trainer(check_val_every_n_epoch=None))["strict"]
    with pytest.raises(ConfigError, match="lr_interval is step"):
        schedule(plateau, "step", trainer())
    with pytest.raises(ConfigError, match="limit_val_batches is 0"):
        schedule(plateau, "epoch", trainer(limit_val_batches=0))


@pytest.mark.parametrize("interval", ["epoch", "step"])
def test_one_cycle_must_last(interval: Any) -> None:
    steps = int(expected_steps(interval, trainer()))
    assert steps == {"epoch": 4, "step": 40}[interval]
    schedule(lr_scheduler.OneCycleLR(optimizer(), 0.1, total_steps=steps), interval, trainer())
    with pytest.raises(ConfigError, match=rf"takes {steps} {interval}s: it would fail after {steps - 1}.*{steps}"):
        schedule(lr_scheduler.OneCycleLR(optimizer(), 0.1, total_steps=steps - 1), interval, trainer())
    with pytest.raises(ConfigError, match=r"Set trainer.max_epochs"):
        endless = trainer(max_epochs=-1, estimated_stepping_batches=float("inf"))
        schedule(lr_scheduler.OneCycleLR(optimizer(), 0.1, total_steps=steps), interval, endless)


class Failing(lr_scheduler.LRScheduler):
    def get_lr(self) -> list[float | torch.Tensor]:
        if self.last_epoch == 7:
            raise RuntimeError("no rate is left")
        return [0.1 for _ in self.optimizer.param_groups]


def test_a_schedule_is_rehearsed() -> None:
    rehearse(optimizer, Failing, 6)
    with pytest.raises(ConfigError, match=r"\(Failing\) fails when it advances for the 7. time: no rate is left"):
        rehearse(optimizer, Failing, 8)
    rehearse(optimizer, lambda one: lr_scheduler.OneCycleLR(one, 0.1, total_steps=5), 5)
    rehearse(optimizer, lr_scheduler.ReduceLROnPlateau, 50)


def test_a_schedule_that_a_checkpoint_brings_must_last() -> None:
    def one_cycle(total: int) -> Any:
        return lambda one: lr_scheduler.OneCycleLR(one, 0.1, total_steps=total)

    begun = optimizer()
    cycle = one_cycle(3)(begun)
    for _ in range(2):
        begun.step()
        cycle.step()
    rehearse(optimizer, one_cycle(6), 3, cycle.state_dict())
    with pytest.raises(ConfigError, match=r"for the 2. time after the checkpoint.*Tried to step.*without --ckpt_path"):
        rehearse(optimizer, one_cycle(6), 6, cycle.state_dict())
    plateau = lr_scheduler.ReduceLROnPlateau(begun)
    rehearse(optimizer, lr_scheduler.ReduceLROnPlateau, 6, plateau.state_dict())


SEEN: list[tuple[str, float]] = []


class Watch(Callback):
    """Notes the rate and the monitored metric when an epoch ends."""

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        (config,) = trainer.lr_scheduler_configs
        SEEN.append((config.monitor, config.scheduler.get_last_lr()[0]))


def fit(root: Path, crops: Path, *more: object) -> Any:
    SEEN.clear()
    watch = ("--trainer.callbacks", f"{Watch.__module__}.Watch")
    return tiny("fit", root, crops, "--trainer.limit_train_batches", 2, "--heatmaps.faces", 0, *watch, *more)


PATIENT = ("--model.lr_scheduler", PLATEAU, "--model.lr_scheduler.patience", 0, "--trainer.max_epochs", 4)


def test_a_run_goes_by_the_metric_that_was_named(ffpp_crops: Path, tmp_path: Path) -> None:
    """A threshold that no step can pass: every epoch but the first counts as bad, whatever the loss does."""
    named = ("--model.lr_scheduler.monitor", "val/video_auroc", "--model.lr_scheduler.mode", "max",
             "--model.lr_scheduler.threshold", 2.0, "--model.lr_scheduler.threshold_mode", "abs")  # fmt: skip
    done = fit(tmp_path / "named", ffpp_crops, *PATIENT, *named)
    assert done.status == 0, done.errors
    assert [monitor for monitor, _ in SEEN] == ["val/video_auroc"] * 4
    assert [rate for _, rate in SEEN] == pytest.approx([1e-3, 1e-3, 1e-4, 1e-5])


def test_a_metric_that_the_split_leaves_undefined(ffpp_crops: Path, tmp_path: Path) -> None:
    from resgat_pl.data.manifest.table import Manifest

    manifest = Manifest.read(ffpp_crops)
    splits = manifest.column("split").copy()
    splits[(splits == "val") & (manifest.column("label") == 0)] = "train"
    crops = variant(ffpp_crops, tmp_path / "crops", splits)
    done = fit(tmp_path / "run", crops, *PATIENT, "--data.allow_leakage", "true", "--trainer.max_epochs", 1,
               "--model.lr_scheduler.monitor", "val/video_auroc", "--model.lr_scheduler.mode", "max")  # fmt: skip
    assert done.status == 0, done.errors
    assert any("ReduceLROnPlateau monitors val/loss: val/video_auroc is undefined" in text for text in done.warned)
    assert [monitor for monitor, _ in SEEN] == ["val/loss"]


@pytest.mark.parametrize(
    ("monitor", "mode", "more", "message"),
    [
        ("val/video_auroc", "min", (), "so the rate would fall while the metric gets better: set --model.lr_sch"),
        ("val/video_aurok", "max", (), "which training does not log. Did you mean val/video_auroc?"),
        ("val/loss", "min", ("--trainer.limit_val_batches", 0), "limit_val_batches is 0: nothing is validated"),
    ],
)
def test_what_is_refused_before(
    monitor: str, mode: str, more: tuple[object, ...], message: str, ffpp_crops: Path, tmp_path: Path
) -> None:
    named = ("--model.lr_scheduler.monitor", monitor, "--model.lr_scheduler.mode", mode)
    done = tiny("fit", tmp_path, ffpp_crops, "--model.lr_scheduler", PLATEAU, *named, *more)
    assert done.status == 2
    assert message in done.errors
    assert not list(tmp_path.rglob("*.ckpt"))
