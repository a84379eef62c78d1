"""Configurations that are refused or warned of before a training that they would spoil."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
from jsonargparse import Namespace

from resgat_pl.core.errors import ConfigError
from resgat_pl.training.checks import check_callbacks, check_trainer, warn_of_hardware, warn_of_sweep

from ..helpers.tiny_runs import tiny

STOPPING = "lightning.pytorch.callbacks.EarlyStopping"
CHECKPOINT = "lightning.pytorch.callbacks.ModelCheckpoint"


def config(callbacks: Any = None, top: int = 1, stopping: dict[str, Any] | None = None, **trainer: Any) -> Any:
    known = {"limit_val_batches": 1.0, "check_val_every_n_epoch": 1, "val_check_interval": 1.0}
    watched = {"monitor": "val/video_auroc", "mode": "max"}
    return Namespace(
        trainer=Namespace(callbacks=callbacks, **{**known, **trainer}),
        checkpoint=Namespace(**watched, filename="best", save_on_exception=False, save_top_k=top),
        early_stopping=Namespace(**watched, **(stopping or {})),
        model=Namespace(mask_loss_weight=0.0),
    )


def callback(name: str = STOPPING, **options: Any) -> Namespace:
    return Namespace(class_path=name, init_args=Namespace(**options))


def check(*callbacks: Namespace, **options: Any) -> None:
    for given in (list(callbacks), callbacks[0] if len(callbacks) == 1 else list(callbacks)):
        check_callbacks("fit", config(given, **options))


@pytest.mark.parametrize("name", [STOPPING, CHECKPOINT])
def test_monitors_of_callbacks(name: str) -> None:
    check(callback(name, monitor="val/loss", mode="min"), callback(name, monitor="val/video_eer", mode="min"))
    with pytest.raises(ConfigError, match=r"trainer.callbacks \(\w+\).monitor is val/video_aurok.*val/video_auroc\?"):
        check(callback(name, monitor="val/video_aurok", mode="max"))
    with pytest.raises(ConfigError, match="the worst epoch would count as the best: set its mode to max"):
        check(callback(name, monitor="val/video_auroc", mode="min"))  # Lightning's default
    with pytest.raises(ConfigError, match="nothing is validated"):
        check(callback(name, monitor="val/loss", mode="min"), limit_val_batches=0)
    check(callback(name, monitor="train/loss", mode="min"), limit_val_batches=0)


def test_callbacks_of_the_users_own_may_log() -> None:
    check(callback(monitor="mine", mode="min"), Namespace(class_path="project.Logs"))
    with pytest.raises(ConfigError, match="which training does not log"):
        check(callback(monitor="mine", mode="min"), Namespace(class_path="lightning.pytorch.callbacks.Timer"))
    check(callback(CHECKPOINT, monitor=None, mode="min"), callback("project.Other"))


@pytest.mark.parametrize("seldom", [{"check_val_every_n_epoch": 2}, {"val_check_interval": 0.5}])
def test_an_epoch_without_validation_is_not_looked_at(seldom: dict[str, Any]) -> None:
    at_end = {"check_on_train_epoch_end": True}
    check_callbacks("fit", config(stopping=at_end))
    with pytest.raises(ConfigError, match="not validated at the end of every epoch"):
        check_callbacks("fit", config(stopping=at_end, **seldom))
    with pytest.raises(ConfigError, match="not validated at the end of every epoch"):
        check(callback(monitor="val/loss", mode="min", **at_end), **seldom)


def test_precision_that_would_crawl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    for accelerator in ("cpu", "auto"):
        for precision in ("bf16-mixed", "16-mixed", "bf16", "16"):  # on a CPU Lightning makes bfloat16 of all of them
            with pytest.warns(UserWarning, match=f"trainer.precision is {precision}, but this run is on a CPU"):
                warn_of_hardware(config(accelerator=accelerator, precision=precision))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for precision in ("32", "32-true", "64", "64-true"):
            warn_of_hardware(config(accelerator="cpu", precision=precision))
        warn_of_hardware(config(accelerator="gpu", precision="bf16-mixed"))


def test_a_gpu_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for backend in ("cuda", "backends.mps"):
        monkeypatch.setattr(f"torch.{backend}.is_available", lambda: False)
    for command in ("fit", "test"):
        with pytest.raises(ConfigError, match=r"accelerator is gpu, and torch .* finds no GPU here"):
            check_trainer(command, config(accelerator="gpu"))
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    check_trainer("test", config(accelerator="gpu", precision="bf16-mixed"))


def test_a_sweep_that_will_not_see_a_run_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    online = Namespace(class_path="lightning.pytorch.loggers.WandbLogger", init_args=Namespace(offline=False))
    offline = Namespace(class_path="lightning.pytorch.loggers.WandbLogger", init_args=Namespace(offline=True))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_sweep("fit", Namespace(trainer=Namespace(logger=[])))
        monkeypatch.setenv("WANDB_SWEEP_ID", "a1b2c3")
        monkeypatch.setenv("WANDB_MODE", "online")
        warn_of_sweep("fit", Namespace(trainer=Namespace(logger=[online])))
        warn_of_sweep("test", Namespace(trainer=Namespace(logger=[])))
    with pytest.warns(UserWarning, match=r"sweep a1b2c3, but trainer.logger has no WandbLogger"):
        warn_of_sweep("fit", Namespace(trainer=Namespace(logger=[])))
    with pytest.warns(UserWarning, match=r"sweep a1b2c3, but its logger's offline is true"):
        warn_of_sweep("fit", Namespace(trainer=Namespace(logger=[offline])))
    monkeypatch.setenv("WANDB_MODE", "offline")
    with pytest.warns(UserWarning, match=r"sweep a1b2c3, but WANDB_MODE is offline.*=online"):
        warn_of_sweep("fit", Namespace(trainer=Namespace(logger=[online])))


def test_two_that_a_checkpoint_could_not_tell_apart(ffpp_crops: Path, tmp_path: Path) -> None:
    again = ("--trainer.callbacks", CHECKPOINT, "--trainer.callbacks.monitor", "val/video_auroc",
             "--trainer.callbacks.mode", "max")  # fmt: skip
    done = tiny("fit", tmp_path, ffpp_crops, *again)
    assert done.status == 2
    assert "goes by the same metric in the same way as another of its kind" in done.errors
