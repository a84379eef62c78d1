"""What is said where there is no room: shared memory is not the disk."""

from __future__ import annotations

import errno
from typing import Any, NamedTuple

import pytest

from resgat_pl.cli import main as cli
from resgat_pl.core import disk_full as room
from resgat_pl.training.checkpoints.full_disk import reporting_full_disk_in_run

FULL = "unable to allocate shared memory(shm) for file </torch_12_34_5>: No space left on device (28)"
WORKER = f"Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n{FULL}\n"
BUS = (
    "DataLoader worker (pid 12) is killed by signal: Bus error. It is possible that dataloader's workers are out of "
    "shared memory. Please try to raise your shared memory limit."
)
SEMAPHORE = OSError(errno.ENOSPC, "No space left on device")


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room.shutil, "disk_usage", lambda path: Usage(64_000_000, 64_000_000, 0))


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize("error", [RuntimeError(FULL), RuntimeError(WORKER), RuntimeError(BUS), SEMAPHORE], ids=repr)
def test_full_shared_memory_is_one_message(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(argv: list[str]) -> int:
        with reporting_full_disk_in_run(None):  # type: ignore[arg-type]  # asked for its checkpoints where the disk is full
            raise error

    monkeypatch.setattr(cli, "_dispatch", fail)
    assert cli.main(["fit"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("resgat: error: Shared memory (/dev/shm, 64 MB in all) is full")
    for remedy in ("--shm-size", "--ipc host", "--data.num_workers 0"):
        assert remedy in line


@pytest.mark.usefixtures("full")
@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("DataLoader worker (pid 12) is killed by signal: Killed."),
        RuntimeError("CUDA error: out of memory"),
        OSError(errno.ENOSPC, "No space left on device", "/data/last.ckpt"),
        OSError(errno.EACCES, "Permission denied"),
        ValueError("no shared memory: No space left on device"),
    ],
    ids=repr,
)
def test_other_errors_are_not(error: Exception) -> None:
    assert room.no_shared_memory(error) is None


def test_a_full_disk_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    usage: Any = {"/dev/shm": Usage(10**9, 0, 10**9)}  # noqa: S108
    monkeypatch.setattr(room.shutil, "disk_usage", lambda path: usage.get(str(path), Usage(1, 1, 0)))
    assert room.no_shared_memory(SEMAPHORE) is None
