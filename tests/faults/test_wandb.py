"""Training with a W&B whose server is away, or whose process is killed: training goes on, ``metrics.csv`` is whole."""

from __future__ import annotations

import csv
import json
import logging
import random
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from resgat_pl.training.module import ResGATModule

from ..helpers.tiny_runs import Done, tiny
from ..training.loggers.test_wandb import NOWHERE, end, kill_service, kill_services
from .conftest import Ledger
from .disk import SmallDisk
from .wandb_server import WandbServer

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]
STEPS = 16


@pytest.fixture(autouse=True)
def _end() -> Iterator[None]:
    """W&B stores the environment of its first run in a process."""
    end()
    yield
    end()


@pytest.fixture
def server() -> Iterator[WandbServer]:
    server = WandbServer()
    yield server
    server.close()


def fit(root: Path, crops: Path, wandb_folder: Path | None = None, *more: object) -> Done:
    places = {
        "lightning.pytorch.loggers.CSVLogger": {"save_dir": str(root), "name": ""},
        "lightning.pytorch.loggers.WandbLogger": {"save_dir": str(wandb_folder or root), "project": "resgat-tests"},
    }
    loggers = [{"class_path": name, "init_args": arguments} for name, arguments in places.items()]
    return tiny("fit", root, crops, "--trainer.max_epochs", 2, "--trainer.logger", json.dumps(loggers), *more)


def whole(root: Path) -> None:
    """``metrics.csv`` has every row of the run."""
    with (root / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {int(row["step"]) for row in rows if row["train/loss"]} >= set(range(STEPS))
    assert any(row["val/loss"] for row in rows)
    assert any(row["val/video_auroc"] for row in rows)


def reported(done: Done) -> list[str]:
    return [text for text in done.warned if "W&B" in text]


def kill_at(step: int, monkeypatch: pytest.MonkeyPatch, action: Callable[[], None]) -> None:
    original = ResGATModule.training_step
    seen = iter(range(10_000))

    def training_step(self: ResGATModule, *arguments: Any, **more: Any) -> Any:
        if next(seen) == step:
            action()
        return original(self, *arguments, **more)

    monkeypatch.setattr(ResGATModule, "training_step", training_step)


def test_the_server_is_away(ffpp_crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ledger: Ledger) -> None:
    for name, value in {**NOWHERE, "WANDB_INIT_TIMEOUT": "2"}.items():
        monkeypatch.setenv(name, value)
    done = fit(tmp_path, ffpp_crops)
    assert done.status == 0, done.errors
    (message,) = reported(done)
    assert "training goes on without it" in message
    whole(tmp_path)
    ledger("W&B's server unreachable", tries=1, lost=0, recovered=1)


def test_the_server_goes_away(
    ffpp_crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ledger: Ledger
) -> None:
    mortal = WandbServer()
    for name, value in {**mortal.environment(), "WANDB_FINISH_TIMEOUT": "5"}.items():
        monkeypatch.setenv(name, value)
    kill_at(3, monkeypatch, mortal.close)
    done = fit(tmp_path, ffpp_crops)
    assert done.status == 0, done.errors
    started = time.monotonic()
    end()
    assert time.monotonic() - started < 60  # else it would try for hours
    whole(tmp_path)
    ledger("W&B's server dies in mid-run", tries=1, lost=0, recovered=1)


# W&B's own threads go on for a while when it is let go of alive
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_server_that_talks_nonsense(
    ffpp_crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ledger: Ledger
) -> None:
    rude = WandbServer(talks_nonsense=True)
    for name, value in rude.environment().items():
        monkeypatch.setenv(name, value)
    done = fit(tmp_path, ffpp_crops, None, "--heatmaps.log_images", "true")
    assert done.status == 0, done.errors
    assert len(reported(done)) == 1
    end()
    rude.close()
    whole(tmp_path)
    ledger("W&B's server talks nonsense", tries=1, lost=0, recovered=1)


def test_what_a_server_is_sent(
    ffpp_crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: WandbServer
) -> None:
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    done = fit(tmp_path, ffpp_crops, None, "--heatmaps.log_images", "true")
    assert done.status == 0, done.errors
    assert reported(done) == []
    end()
    sent = b"\0".join(server.received)
    assert b"\x89PNG" in sent or b"\xff\xd8\xff" in sent  # pictures were asked for
    names = (tmp_path, Path.home(), Path.cwd(), sys.prefix, f'"host":"{socket.gethostname()}"')
    assert [name for name in names if str(name).encode() in sent] == []
    assert b'"host":"private"' in sent


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_the_process_is_killed(
    ffpp_crops: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    server: WandbServer,
    mode: str,
    tries: Callable[[int, int], int],
    ledger: Ledger,
) -> None:
    rng = random.Random(f"W&B {mode}")  # noqa: S311 - moments, no secrets
    if mode == "online":
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
    count = tries(1, 5)
    for number in range(count):

        def kill() -> None:
            assert kill_services() == 1

        with monkeypatch.context() as patch:
            kill_at(rng.randrange(STEPS), patch, kill)
            root = tmp_path / str(number)
            done = fit(root, ffpp_crops)
        assert done.status == 0, done.errors
        assert len(reported(done)) == 1
        end()
        whole(root)
    ledger(f"W&B's process killed in mid-run, {mode}", tries=count, lost=0, recovered=count)


def test_its_disk_is_full(
    ffpp_crops: Path,
    tmp_path: Path,
    small_disk: Callable[[float], SmallDisk],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    ledger: Ledger,
) -> None:
    disk = small_disk(2)
    kill_at(3, monkeypatch, disk.fill)
    done = fit(tmp_path, ffpp_crops, disk.path)
    assert done.status == 0, done.errors
    whole(tmp_path)
    end()
    assert len(capfd.readouterr().err.splitlines()) < 100  # its own log once cried two million lines
    ledger("full disk, W&B's log", tries=1, lost=0, recovered=1)


def test_its_disk_is_read_only(
    ffpp_crops: Path, tmp_path: Path, small_disk: Callable[[float], SmallDisk], ledger: Ledger
) -> None:
    disk = small_disk(2)
    disk.remount("ro")
    done = fit(tmp_path, ffpp_crops, disk.path)
    assert done.status == 2
    assert f"trainer.logger.init_args.save_dir is {disk.path}, which cannot be written" in done.errors
    assert not list(tmp_path.rglob("*.ckpt"))
    ledger("read-only disk, W&B's log", tries=1, lost=0, recovered=1)


def test_its_disk_turns_read_only(
    ffpp_crops: Path,
    tmp_path: Path,
    small_disk: Callable[[float], SmallDisk],
    monkeypatch: pytest.MonkeyPatch,
    ledger: Ledger,
) -> None:
    """Linux lets no disk turn whose files are open for writing, as a broken one does: they are closed first."""
    disk = small_disk(8)

    def turn() -> None:
        kill_service()  # and wait until its log says so, which would open the file again
        for handler in logging.getLogger("wandb").handlers:
            if str(disk.path) in getattr(handler, "baseFilename", ""):
                handler.close()
        disk.remount("ro")

    kill_at(3, monkeypatch, turn)
    done = fit(tmp_path, ffpp_crops, disk.path)
    disk.remount("rw")
    assert done.status == 0, done.errors
    whole(tmp_path)
    assert len(reported(done)) == 1
    ledger("read-only disk, W&B's log", tries=1, lost=0, recovered=1)
