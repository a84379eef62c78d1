"""A W&B whose server is away, or whose process dies: the log is whole, and nothing is raised."""

from __future__ import annotations

import gc
import os
import subprocess
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from jsonargparse import Namespace
from lightning.pytorch.callbacks import ModelCheckpoint

from resgat_pl.cli import main as cli
from resgat_pl.core.wandb_run import publish
from resgat_pl.training.loggers.wandb import ResilientWandbLogger
from resgat_pl.training.preflight import warn_of_sweep

from ...helpers.command import wandb_history

NOWHERE = {"WANDB_MODE": "online", "WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": "a" * 40}
"""A server that does not answer: nothing listens at that port of this machine."""


@pytest.fixture(autouse=True)
def _end() -> Iterator[None]:
    yield
    end()


def end() -> None:
    """What the end of a program does: then everything is on the disk."""
    wandb.finish()
    wandb.teardown()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # W&B lets go of processes without waiting for them
        gc.collect()


def logger_in(folder: Path) -> ResilientWandbLogger:
    return ResilientWandbLogger(project="resgat-tests", save_dir=folder)


def services() -> list[int]:
    """The W&B processes of this process."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                name, fields = (entry / "stat").read_text().rpartition(")")[::2]
            except OSError:
                continue
            if name.endswith("(wandb-core") and int(fields.split()[1]) == os.getpid():
                found.append(int(entry.name))
    return found


def kill_services() -> int:
    """Kill the W&B processes of this process; how many there were."""
    numbers = services()
    # by the handles that W&B has lost hold of: else they complain, in whatever test they are collected
    for handle in [thing for thing in gc.get_objects() if type(thing) is subprocess.Popen and thing.pid in numbers]:
        handle.kill()
        handle.wait()
    return len(numbers)


def kill_service() -> None:
    assert kill_services() == 1
    time.sleep(0.3)  # until its death is known here


def loss(folder: Path) -> list[tuple[int, float]]:
    return [(step["trainer/global_step"], step["loss"]) for step in wandb_history(folder) if "loss" in step]


def test_the_log_is_whole_when_the_process_died(tmp_path: Path) -> None:
    logger = logger_in(tmp_path)
    logger.log_hyperparams({"lr": 1e-3})
    for step in range(20):
        logger.log_metrics({"loss": step / 10}, step)
    first = logger.version
    kill_service()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step in range(20, 30):
            logger.log_metrics({"loss": step / 10}, step)
        logger.finalize("success")
    told = [str(warning.message) for warning in caught if "W&B" in str(warning.message)]
    assert len(told) == 1
    folder = Path(told[0].rpartition("wandb sync ")[2])
    assert logger.version == first  # it will be the same run
    end()
    assert loss(folder) == [(step, step / 10) for step in range(30)]


def test_a_death_after_the_last_row_is_noticed(tmp_path: Path) -> None:
    logger = logger_in(tmp_path)
    logger.log_metrics({"loss": 1.0}, 0)
    kill_service()
    with pytest.warns(UserWarning, match="W&B stopped working") as caught:
        logger.finalize("success")
    folder = Path(str(caught[0].message).rpartition("wandb sync ")[2])
    end()
    assert loss(folder) == [(0, 1.0)]


def test_a_process_that_dies_again_and_again_is_done_without(tmp_path: Path) -> None:
    logger = logger_in(tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step in range(5):
            logger.log_metrics({"loss": 1.0}, step)
            kill_services()
            time.sleep(0.3)
        logger.log_metrics({"loss": 1.0}, 9)
        logger.finalize("success")
    told = [str(warning.message) for warning in caught if "W&B" in str(warning.message)]
    assert len(told) == 4
    assert "without W&B" in told[-1]
    logger.experiment.log({"loss": 1.0})  # what users call directly is taken, too
    logger.experiment.config.update({"a": 1})


# W&B lets go of its process without waiting for it
@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
def test_a_server_that_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in NOWHERE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "1")
    logger = logger_in(tmp_path)
    with pytest.warns(UserWarning, match="log is kept offline") as caught:
        logger.log_metrics({"loss": 2.0}, 0)
    logger.finalize("success")
    end()
    assert loss(Path(str(caught[-1].message).rpartition("wandb sync ")[2])) == [(0, 2.0)]


def test_errors_that_are_not_wandbs_are_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logger_in(tmp_path)
    _ = logger.experiment

    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(type(logger.experiment), "log", fail)
    with pytest.raises(ZeroDivisionError):
        logger.log_metrics({"loss": 1.0}, 0)


def test_one_thing_is_published_offline_if_the_server_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in NOWHERE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "1")
    with pytest.warns(UserWarning, match="logged offline"):
        publish(lambda: {"loss": 3.0}, project="resgat-tests", dir=tmp_path)
    (folder,) = tmp_path.glob("wandb/offline-run-*")
    end = time.monotonic() + 20  # another process writes it
    while not (history := wandb_history(folder)) and time.monotonic() < end:
        time.sleep(0.2)
    assert [step["loss"] for step in history] == [3.0]


def test_a_disk_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """W&B's process says nothing of it."""
    logger = logger_in(tmp_path)
    logger.log_metrics({"loss": 1.0}, 0)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.warns(UserWarning, match=r"cannot be written any more: W&B's log ends before the run did"):
        logger.finalize("success")


def test_checkpoints_do_not_end_training_when_the_process_died(tmp_path: Path) -> None:
    checkpoints = ModelCheckpoint(dirpath=tmp_path, save_top_k=-1)
    for name in ("a.ckpt", "b.ckpt"):
        (tmp_path / name).write_bytes(b"weights")
    checkpoints.best_model_path = str(tmp_path / "a.ckpt")
    logger = ResilientWandbLogger(project="resgat-tests", save_dir=tmp_path, log_model="all")
    logger.log_metrics({"loss": 1.0}, 0)
    kill_service()
    with pytest.warns(UserWarning, match="W&B stopped working"):
        logger.after_save_checkpoint(checkpoints)
    assert logger._logged_model_time == {}
    logger.after_save_checkpoint(checkpoints)  # which the next checkpoint makes good
    assert list(logger._logged_model_time) == [str(tmp_path / "a.ckpt")]
    logger.finalize("success")


@pytest.mark.parametrize("chosen", [None, "offline", "online"])
@pytest.mark.parametrize("sweep", [None, "a1b2c3"])
def test_a_run_that_an_agent_started_goes_online(
    sweep: str | None, chosen: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing leaves the machine unless asked for, and whoever starts an agent has asked."""
    for name, value in (("WANDB_SWEEP_ID", sweep), ("WANDB_MODE", chosen)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    seen: list[str | None] = []
    monkeypatch.setattr("resgat_pl.cli.train.run", lambda argv: seen.append(os.environ.get("WANDB_MODE")))
    assert cli.main(["fit"]) == 0
    assert seen == [chosen or (None if sweep else "offline")]


def test_a_sweep_that_will_not_see_a_run_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_SWEEP_ID", "a1b2c3")
    with pytest.warns(UserWarning, match=r"started this run for the sweep a1b2c3, but W&B is switched off.*=online"):
        _ = logger_in(tmp_path).experiment
    end()
    with pytest.warns(UserWarning, match=r"sweep a1b2c3, but its logger's offline is true"):
        _ = ResilientWandbLogger(project="resgat-tests", save_dir=tmp_path, offline=True).experiment


def test_a_sweep_without_a_logger_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    config = Namespace(trainer=Namespace(logger=[Namespace(class_path="lightning.pytorch.loggers.CSVLogger")]))
    warn_of_sweep("fit", config)
    monkeypatch.setenv("WANDB_SWEEP_ID", "a1b2c3")
    with pytest.warns(UserWarning, match=r"sweep a1b2c3, but trainer.logger has no WandbLogger"):
        warn_of_sweep("fit", config)
