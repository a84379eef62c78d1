"""``metrics.csv`` over restarts, a kill and a full disk: no row is lost or doubled."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from lightning.pytorch import Trainer

from resgat_pl.training.checkpoints.recovery import Recovery
from resgat_pl.training.loggers.csv import AtomicCSVLogger

from ...faults.disk import SmallDisk
from ..checkpoints.test_recovery import QUIET, Logging, trainer

KILLED = """
import os, signal, sys
from lightning.pytorch.loggers import CSVLogger
from resgat_pl.training.loggers.csv import AtomicCSVLogger

logger = {"ours": AtomicCSVLogger, "lightning": CSVLogger}[sys.argv[1]](sys.argv[2], name="", version="")
for step in range(50):
    logger.log_metrics({"train/loss": step / 10}, step)
logger.save()
import csv
csv.DictWriter.writeheader = lambda self: os.kill(os.getpid(), signal.SIGKILL)  # while the header is changed
logger.log_metrics({"val/loss": 1.0}, 50)
logger.save()
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    made = SmallDisk(tmp_path / "disk", 1)
    yield made
    made.close()


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("which", "left"), [("ours", 50), ("lightning", 0)])
@pytest.mark.long
def test_a_kill_while_the_header_changes(which: str, left: int, tmp_path: Path) -> None:
    """The reason for the class; once Lightning leaves 50 rows, too, it can go."""
    command = [sys.executable, "-c", KILLED, which, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(rows(tmp_path)) == left


def test_a_disk_that_is_full_while_the_header_changes(disk: SmallDisk) -> None:
    logger = AtomicCSVLogger(disk.path, name="", version="")
    for step in range(50):
        logger.log_metrics({"train/loss": step / 10}, step)
    logger.save()
    disk.fill()
    logger.log_metrics({"val/loss": 1.0}, 50)
    with pytest.raises(OSError, match="No space left"):
        logger.save()
    assert [float(row["train/loss"]) for row in rows(disk.path)] == [step / 10 for step in range(50)]
    disk.relieve()
    logger.save()
    assert len(rows(disk.path)) == 51
    assert rows(disk.path)[-1] == {"step": "50", "train/loss": "", "val/loss": "1.0"}


def test_a_disk_that_is_full_while_rows_are_added(disk: SmallDisk) -> None:
    logger = AtomicCSVLogger(disk.path, name="", version="")
    logger.log_metrics({"train/loss": 0.0}, 0)
    logger.save()
    disk.fill()
    for step in range(1, 2001):
        logger.experiment.log_metrics({"train/loss": step / 10}, step)
    for _ in range(2):  # the second time as the run ends
        with pytest.raises(OSError, match="No space left"):
            logger.experiment.save()
    assert len(rows(disk.path)) == 1
    disk.relieve()
    logger.save()
    assert [int(row["step"]) for row in rows(disk.path)] == list(range(2001))


@QUIET
def test_rows_are_kept(tmp_path: Path) -> None:
    """Resumed: cut to the checkpoint's, and on. Tested: more after them. Started again: moved away."""
    rows, last = tmp_path / "metrics.csv", tmp_path / "checkpoints" / "last.ckpt"

    def run(epochs: int) -> Trainer:
        logger = AtomicCSVLogger(tmp_path, name="", version="")
        more = {"limit_train_batches": 2, "limit_test_batches": 1, "log_every_n_steps": 1}
        return trainer(tmp_path, Recovery(), logger=logger, max_epochs=epochs, **more)

    run(1).fit(Logging())
    first = rows.read_text()
    assert first.splitlines() == ["epoch,step,train/loss", "0,0,0.0", "0,1,1.0"]
    run(1).test(Logging())
    assert rows.read_text().splitlines() == ["epoch,step,test/loss,train/loss", "0,0,,0.0", "0,1,,1.0", "0,0,1.0,"]
    run(2).fit(Logging(), ckpt_path=last)
    lines = rows.read_text().splitlines()
    assert [line.split(",")[1] for line in lines] == ["step", "0", "1", "2", "3"]
    with pytest.warns(UserWarning, match=r"it is now metrics\.1\.csv"):
        run(1).fit(Logging())
    assert rows.read_text() == first
    assert rows.with_name("metrics.1.csv").read_text().splitlines() == lines
    rows.write_bytes(b"\xff\xfe no table")
    with pytest.warns(UserWarning, match=r"it is now metrics\.2\.csv"):
        run(1).test(Logging())
    assert rows.with_name("metrics.2.csv").read_bytes() == b"\xff\xfe no table"
    AtomicCSVLogger(tmp_path, name="", version="").experiment.begin([])  # resumed from before the first row
    assert {path.name for path in tmp_path.glob("*.csv")} == {"metrics.1.csv", "metrics.2.csv"}
