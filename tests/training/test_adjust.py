"""Adjustments of a configuration before anything is built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jsonargparse import Namespace

from resgat_pl.core.errors import ConfigError
from resgat_pl.training._config import run_folder
from resgat_pl.training.adjust import keep_what_is_validated, let_sweep_name_runs, name_kinds, use_safe_loggers

from .test_checks import config


@pytest.mark.parametrize(("every", "top", "after"), [(1, 3, False), (2, 1, False), (2, 3, True), (2, -1, True)])
def test_every_kept_checkpoint_is_of_a_validation(every: int, top: int, after: bool) -> None:
    run = config(top=top, check_val_every_n_epoch=every)
    run.checkpoint.save_on_train_epoch_end = True
    keep_what_is_validated("fit", run)
    assert run.checkpoint.save_on_train_epoch_end is not after


def test_loggers_are_replaced_and_it_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    names = ("mine.Logger", "lightning.pytorch.loggers.wandb.WandbLogger", "lightning.pytorch.loggers.CSVLogger")
    given = with_loggers([Namespace(class_path=name, init_args=Namespace(save_dir="a", name="")) for name in names])
    use_safe_loggers(given)
    assert [logger.class_path for logger in given.trainer.logger] == [
        "resgat_pl.training.loggers.csv.AtomicCSVLogger",
        "mine.Logger",
        "resgat_pl.training.loggers.wandb.ResilientWandbLogger",
    ]
    (line,) = caplog.messages
    assert "WandbLogger as resgat_pl.training.loggers.wandb.ResilientWandbLogger, CSVLogger as" in line
    use_safe_loggers(given)  # the saved configuration of a run names them already
    assert len(caplog.messages) == 1
    assert given.trainer.logger[0].init_args == Namespace(save_dir="a", name="", version="")


def with_loggers(loggers: Any) -> Any:
    return Namespace(trainer=Namespace(logger=loggers, default_root_dir="runs/a"))


def test_trials_of_a_sweep_are_named_by_wandb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_SWEEP_ID", raising=False)
    wandb = Namespace(class_path="lightning.pytorch.loggers.WandbLogger", init_args=Namespace(name="smoke"))
    let_sweep_name_runs(with_loggers([wandb]))
    assert wandb.init_args.name == "smoke"
    monkeypatch.setenv("WANDB_SWEEP_ID", "s1")
    let_sweep_name_runs(with_loggers([wandb]))
    assert wandb.init_args.name is None


def test_every_run_has_a_table_and_one_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    for loggers in (False, []):
        without = with_loggers(loggers)
        use_safe_loggers(without)
        assert without.trainer.logger == loggers
    wandb = Namespace(class_path="lightning.pytorch.loggers.WandbLogger", init_args=Namespace(project="a"))
    for given in (with_loggers(None), with_loggers(True), with_loggers(wandb)):
        assert run_folder(given) == Path("runs/a")
        use_safe_loggers(given)
        table, *others = given.trainer.logger
        assert table.init_args == Namespace(save_dir="runs/a", name="", version="")
        assert others == [wandb][: len(others)]
        assert run_folder(given) == Path("runs/a")
    monkeypatch.setenv("WANDB_SWEEP_ID", "s1")  # whose agent starts the same command again and again
    monkeypatch.setenv("WANDB_RUN_ID", "r2")
    options = Namespace(save_dir="runs", name=None, version=None)
    assert run_folder(with_loggers(Namespace(class_path="x.CSVLogger", init_args=options))) == Path("runs/r2")
    assert run_folder(with_loggers(wandb)) == Path("runs/a/r2")


def test_kinds_are_the_methods_of_the_manifest(ffpp_crops: Path, tmp_path: Path) -> None:
    given = Namespace(net=Namespace(outputs=["kind:*", "region:*"]), data=Namespace(crops=ffpp_crops))
    name_kinds(given)
    assert given.net.outputs[0] == "kind:DeepFakeDetection" and given.net.outputs[-1] == "region:*"
    assert "kind:original" not in given.net.outputs
    named = list(given.net.outputs)
    given.data.crops = tmp_path  # a configuration that a run has saved needs no manifest for it
    name_kinds(given)
    assert given.net.outputs == named
    given.net.outputs = ["kind:*"]
    with pytest.raises(ConfigError, match=r"there is none in .* yet. Make the crops first"):
        name_kinds(given)
