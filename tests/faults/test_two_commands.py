"""Two commands at once on one folder: each does its work, one after the other, and nothing is torn."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from resgat_pl.core.folder_lock import LOCK_NAME, folder_lock
from resgat_pl.data.extraction.command import extract

from ..helpers.folders import MEGABYTES, OPTIONS, SMALL, tree
from .conftest import Ledger

FAULT = "two commands at once on one folder"


@pytest.mark.parametrize(
    "store", [pytest.param("files", marks=pytest.mark.faults), pytest.param("shards", marks=pytest.mark.long)]
)
def test_two_extractions_give_the_bytes_of_one(
    ffpp_root: Path,
    ffpp_crops: Path,
    shard_crops: Path,
    store: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    ledger: Ledger,
) -> None:
    errors: list[BaseException] = []

    def work() -> None:
        try:
            extract(ffpp_root, tmp_path, extraction=SMALL, store=store, shard_megabytes=MEGABYTES)
        except BaseException as error:
            errors.append(error)

    first, second = threading.Thread(target=work), threading.Thread(target=work)
    first.start()
    wait_for_fragments(tmp_path, first.is_alive)
    second.start()
    first.join(300)
    second.join(300)
    assert not errors
    assert "this one waits until that has ended" in capsys.readouterr().err
    assert tree(tmp_path) == tree(ffpp_crops if store == "files" else shard_crops)
    ledger(FAULT, tries=1, lost=0, recovered=1)


@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.parametrize("store", ["files", "shards"])
def test_one_that_waits_goes_on_when_the_other_is_killed(
    ffpp_root: Path, ffpp_crops: Path, shard_crops: Path, store: str, tmp_path: Path, ledger: Ledger
) -> None:
    command: list[Any] = [sys.executable, "-m", "resgat_pl", "extract", ffpp_root, tmp_path, "--store", store]
    command += [*OPTIONS, "--shard_megabytes", MEGABYTES]

    def start(errors: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL, stderr=errors)

    first = start(subprocess.DEVNULL)
    wait_for_fragments(tmp_path, lambda: first.poll() is None)
    second = start(subprocess.PIPE)
    assert second.stderr is not None
    assert b"this one waits" in second.stderr.readline()
    first.kill()
    first.wait()
    second.communicate(timeout=300)
    assert second.returncode == 0
    assert tree(tmp_path) == tree(ffpp_crops if store == "files" else shard_crops)
    ledger(FAULT, tries=1, lost=0, recovered=1)


def test_batch_jobs_work_side_by_side(
    ffpp_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], ledger: Ledger
) -> None:
    def merge() -> None:
        with folder_lock(tmp_path, wait=True):
            pass

    with folder_lock(tmp_path, shared=True):
        extract(ffpp_root, tmp_path, extraction=SMALL, part="1/21")
        assert "waits" not in capsys.readouterr().err
        assert list(tmp_path.glob(f"{LOCK_NAME}*"))  # the other's, still
        merging = threading.Thread(target=merge)
        merging.start()
        merging.join(0.2)
        assert merging.is_alive()
        assert "waits" in capsys.readouterr().err
    merging.join(60)
    assert not merging.is_alive()
    ledger(FAULT, tries=1, lost=0, recovered=1)


def wait_for_fragments(out: Path, is_alive: Callable[[], bool]) -> None:
    until = time.monotonic() + 120
    while not list(out.glob("fragments/*.parquet")):
        assert is_alive()
        assert time.monotonic() < until
        time.sleep(0.01)
