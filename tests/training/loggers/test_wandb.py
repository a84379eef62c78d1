"""A W&B whose server is away, or whose process dies: one warning, and nothing is raised."""

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
import torch
import wandb
from lightning.pytorch.callbacks import ModelCheckpoint

from resgat_pl.cli import main as cli
from resgat_pl.training.loggers.wandb import BEST, ResilientWandbLogger

from ...helpers.command import wandb_history

NOWHERE = {"WANDB_MODE": "online", "WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": "a" * 40}
"""A server that does not answer: nothing listens at that port of this machine."""


@pytest.fixture(autouse=True)
def _end() -> Iterator[None]:
    if wandb.run is not None:  # of another file's test in this process
        end()
    yield
    end()


def end() -> None:
    """Finish all runs, as the end of a program does: then everything is on the disk."""
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


def off_with(caught: Any) -> str:
    """The one warning of a logger that was switched off."""
    (message,) = [str(warning.message) for warning in caught if "W&B" in str(warning.message)]
    assert "training goes on without it, metrics.csv has all numbers" in message
    return message


def test_a_dead_process_switches_the_logger_off(tmp_path: Path) -> None:
    checkpoints = ModelCheckpoint(dirpath=tmp_path, save_top_k=-1)
    (tmp_path / "a.ckpt").write_bytes(b"weights")
    checkpoints.best_model_path = str(tmp_path / "a.ckpt")
    logger = ResilientWandbLogger(project="resgat-tests", save_dir=tmp_path, log_model="all")
    logger.log_hyperparams({"lr": 1e-3})
    logger.log_metrics({"loss": 0.0}, 0)
    kill_service()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step in range(1, 30):
            logger.log_metrics({"loss": step / 10}, step)
        logger.after_save_checkpoint(checkpoints)
        logger.finalize("success")
    off_with(caught)
    assert logger.is_off
    logger.experiment.log({"loss": 1.0})  # called by users' own code
    assert services() == []


def test_a_death_after_the_last_row_is_noticed(tmp_path: Path) -> None:
    logger = logger_in(tmp_path)
    logger.log_metrics({"loss": 1.0}, 0)
    kill_service()
    with pytest.warns(UserWarning, match="W&B stopped working") as caught:
        logger.finalize("success")
    off_with(caught)


# W&B lets go of its process without waiting for it
@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
def test_a_server_that_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in NOWHERE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "1")
    logger = logger_in(tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        logger.log_metrics({"loss": 2.0}, 0)
        logger.finalize("success")
    assert "WANDB_MODE=offline" in off_with(caught)


def test_any_error_switches_the_logger_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logger_in(tmp_path)

    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(type(logger.experiment), "log", fail)
    with pytest.warns(UserWarning, match=r"W&B stopped working \(ZeroDivisionError\)"):
        logger.log_metrics({"loss": 1.0}, 0)
    logger.log_metrics({"loss": 1.0}, 1)


def test_errors_of_what_is_done_with_the_run_switch_it_off(tmp_path: Path) -> None:
    logger = logger_in(tmp_path)
    with pytest.warns(UserWarning, match=r"W&B stopped working \(division by zero\)"):
        logger.with_run(lambda run: 1 / 0)
    logger.with_run(lambda run: pytest.fail("it is off"))


def test_the_summary_follows_the_checkpoints_that_are_best(tmp_path: Path) -> None:
    """Of three epochs the second is best; a saver without a monitor, as that of last.ckpt, changes nothing."""
    best, last = ModelCheckpoint(monitor="val/video_auroc", mode="max"), ModelCheckpoint(monitor=None)
    logger = logger_in(tmp_path)
    assert logger.experiment.summary.get(f"{BEST}epoch") is None
    for epoch, auroc in enumerate((0.6, 0.9, 0.7)):
        logger.log_metrics({"val/loss": 1 - auroc, "val/video_auroc": auroc, "epoch": epoch}, step=10 * epoch)
        logger.log_metrics({"explain/logit": 3.0, "epoch": epoch}, step=10 * epoch)
        best.current_score = torch.tensor(auroc)
        best.best_model_score = torch.tensor(max(0.6, auroc) if epoch < 2 else 0.9)
        for saver in (best, last):
            logger.after_save_checkpoint(saver)
    found = {name: value for name, value in dict(logger.experiment.summary).items() if name.startswith(BEST)}
    assert found == {f"{BEST}epoch": 1, f"{BEST}val/loss": pytest.approx(0.1), f"{BEST}val/video_auroc": 0.9}


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
    monkeypatch.setattr("resgat_pl.cli.train.run", lambda argv, *_: seen.append(os.environ.get("WANDB_MODE")))
    assert cli.main(["fit"]) == 0
    assert seen == [chosen or (None if sweep else "offline")]
