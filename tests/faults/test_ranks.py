"""One of two ranks is killed, or fails: Lightning's launcher ends the other one soon, with a message."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from resgat_pl.nn.checkpoint_file import read_file

CONF = Path(__file__).parent.parent / "conf"
FAULT = """
import os, signal, time
from lightning.pytorch import Callback

class Fault(Callback):
    def on_train_batch_start(self, trainer, module, batch, index):
        if trainer.global_step == 3 and trainer.global_rank == int(os.environ["FAULT_RANK"]):
            open(os.environ["FAULT_TIME"], "w").write(str(time.time()))
            if os.environ["FAULT"] == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError("the disk of this rank is gone")
"""


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("fault", "rank"),
    [
        ("kill", 1),
        pytest.param("kill", 0, marks=pytest.mark.faults),
        pytest.param("raise", 1, marks=pytest.mark.faults),
        pytest.param("raise", 0, marks=pytest.mark.faults),
    ],
)
def test_the_other_rank_ends(fault: str, rank: int, ffpp_crops: Path, tmp_path: Path, ledger: Any) -> None:
    (tmp_path / "fault.py").write_text(FAULT)
    environment = {
        **os.environ,
        "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}",
        "FAULT": fault,
        "FAULT_RANK": str(rank),
        "FAULT_TIME": str(tmp_path / "time"),
    }
    environment.pop("LOCAL_RANK", None)
    command = [sys.executable, "-m", "resgat_pl", "fit", "--config", str(CONF / "tiny.yaml"), "--data.crops",
               str(ffpp_crops), "--trainer.default_root_dir", str(tmp_path), "--trainer.logger", "false",
               "--heatmaps.faces", "2", "--data.batch_size", "4", "--trainer.callbacks+", "fault.Fault",
               "--trainer.strategy", "ddp", "--trainer.devices", "2"]  # fmt: skip
    # communicate() returns when all ranks have closed their output, so none is left
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
    took = time.time() - float((tmp_path / "time").read_text())
    printed = done.stdout + done.stderr
    assert done.returncode != 0, printed
    assert took < 60, printed
    if fault == "raise":
        assert "the disk of this rank is gone" in printed
    else:  # by gloo, which the other rank waits for, or by Lightning, which looks every five seconds
        assert "remote worker" in printed or "[rank: 1] Child process with PID" in printed
    ledger({"kill": "one of two ranks killed", "raise": "exception on one of two ranks"}[fault],
           tries=1, lost=0, recovered=1)  # fmt: skip


LATE = """
import os
from lightning.pytorch import Callback

class Late(Callback):
    def setup(self, trainer, module, stage):
        if os.environ["LATE"] == "yes" and trainer.global_rank == 1:  # its disk does not show the checkpoint yet
            trainer._checkpoint_connector._restore_modules_and_callbacks = lambda *a, **k: None
            trainer._checkpoint_connector.restore_training_state = lambda *a, **k: None
"""


@pytest.mark.long
@pytest.mark.faults
@pytest.mark.timeout(600)
def test_two_ranks_go_on_together_or_not_at_all(ffpp_crops: Path, tmp_path: Path, ledger: Any) -> None:
    (tmp_path / "late.py").write_text(LATE)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    environment.pop("LOCAL_RANK", None)

    def fit(epochs: int, late: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "resgat_pl", "fit", "--config", str(CONF / "tiny.yaml"), "--data.crops",
                   str(ffpp_crops), "--trainer.default_root_dir", str(tmp_path / "run"), "--heatmaps.faces", "2",
                   "--trainer.logger", "true", "--trainer.callbacks+", "late.Late", "--trainer.strategy", "ddp",
                   "--trainer.devices", "2", "--trainer.max_epochs", str(epochs), "--ckpt_path", "last"]  # fmt: skip
        more = {**environment, "LATE": late}
        return subprocess.run(command, capture_output=True, text=True, timeout=300, env=more, check=False)

    done = fit(1, "no")
    assert done.returncode == 0, done.stderr
    done = fit(2, "yes")
    assert done.returncode != 0
    assert "The ranks do not go on from the same state: rank 0 from " in done.stderr
    assert "Traceback" not in done.stderr
    done = fit(2, "no")
    assert done.returncode == 0, done.stderr
    assert "going on from" in done.stdout + done.stderr
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    state = read_file(last)
    (best,) = [
        entry["best_model_path"]
        for key, entry in state["callbacks"].items()
        if key.startswith("ModelCheckpoint") and "'val" in key
    ]
    assert Path(best).parent == last.parent
    assert Path(best).is_file()
    assert state["epoch"] == 1
    ledger("one of two ranks sees no checkpoint", tries=1, lost=0, recovered=1)
