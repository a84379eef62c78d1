"""Adjustments of a configuration before anything is built."""

from __future__ import annotations

from typing import Any

import pytest
from jsonargparse import Namespace

from resgat_pl.training.adjust import keep_what_is_validated, use_safe_loggers

from .test_checks import config


@pytest.mark.parametrize(("every", "top", "after"), [(1, 3, False), (2, 1, False), (2, 3, True), (2, -1, True)])
def test_every_kept_checkpoint_is_of_a_validation(every: int, top: int, after: bool) -> None:
    run = config(top=top, check_val_every_n_epoch=every)
    run.checkpoint.save_on_train_epoch_end = True
    keep_what_is_validated("fit", run)
    assert run.checkpoint.save_on_train_epoch_end is not after


def test_loggers_are_replaced_and_it_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def run(*names: str) -> Any:
        return Namespace(trainer=Namespace(logger=[Namespace(class_path=name) for name in names]))

    caplog.set_level("INFO")
    given = run("lightning.pytorch.loggers.CSVLogger", "mine.Logger", "lightning.pytorch.loggers.wandb.WandbLogger")
    use_safe_loggers(given)
    assert [logger.class_path for logger in given.trainer.logger] == [
        "resgat_pl.training.loggers.csv.AtomicCSVLogger",
        "mine.Logger",
        "resgat_pl.training.loggers.wandb.ResilientWandbLogger",
    ]
    (line,) = caplog.messages
    assert "CSVLogger as resgat_pl.training.loggers.csv.AtomicCSVLogger, WandbLogger as" in line
    use_safe_loggers(given)  # the saved configuration of a run names them already
    assert len(caplog.messages) == 1
