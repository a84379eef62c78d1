"""A W&B run for one table: nothing is raised where it cannot be made."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import wandb

from resgat_pl.core.wandb_run import publish, without_debug_log

from ..helpers.command import wandb_history
from ..training.loggers.test_wandb import NOWHERE, end


# W&B lets go of its process without waiting for it
@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
def test_a_server_that_is_away_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**NOWHERE, "WANDB_INIT_TIMEOUT": "1"}.items():
        monkeypatch.setenv(name, value)
    end()
    with pytest.warns(UserWarning, match="W&B cannot be used .*All results are in files as well"):
        publish(lambda: {"loss": 3.0}, project="resgat-tests", dir=tmp_path)
    end()


def test_errors_of_what_is_published_are_raised(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        publish(lambda: {"loss": 1 / 0}, project="resgat-tests", dir=tmp_path)


def test_a_run_that_is_open_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    end()
    for name in ("open", "table"):
        (tmp_path / name).mkdir()
    with wandb.init(project="resgat-tests", dir=tmp_path / "open") as run:
        publish(lambda: {"loss": 3.0}, project="resgat-tests", dir=tmp_path / "table")
        assert wandb.run is run
        run.log({"accuracy": 0.5})
    end()
    for name, key in (("table", "loss"), ("open", "accuracy")):
        (row,) = wandb_history(tmp_path / name)
        assert {column for column in row if not column.startswith("_")} == {key}


def test_the_debug_log_is_closed(tmp_path: Path) -> None:
    handler = logging.FileHandler(tmp_path / "debug.log")
    logging.getLogger("wandb").addHandler(handler)
    without_debug_log()
    assert handler not in logging.getLogger("wandb").handlers
    assert handler.stream is None
