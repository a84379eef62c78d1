"""Two hundred epochs with validation, checkpoints, loading processes and heat-maps: memory stays flat."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CONF = Path(__file__).parent.parent / "conf"
METER = """
import os
from lightning.pytorch import Callback

class Meter(Callback):
    def on_train_epoch_start(self, trainer, module):
        pages = int(open("/proc/self/statm").read().split()[1])
        with open(os.environ["METER"], "a") as file:
            file.write(f"{pages * os.sysconf('SC_PAGE_SIZE')}\\n")
"""


@pytest.mark.faults
@pytest.mark.timeout(3000)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the resident memory from Linux's /proc")
def test_memory_stays_flat(ffpp_crops: Path, tmp_path: Path, ledger: Any) -> None:
    (tmp_path / "meter.py").write_text(METER)
    environment = {
        **os.environ,
        "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}",
        "METER": str(tmp_path / "bytes"),
    }
    command = [sys.executable, "-m", "resgat_pl", "fit", "--config", str(CONF / "tiny.yaml"), "--data.crops",
               str(ffpp_crops), "--trainer.default_root_dir", str(tmp_path), "--trainer.logger", "true",
               "--heatmaps.faces", "2", "--heatmaps.every_n_epochs", "10", "--data.num_workers", "1",
               "--trainer.max_epochs", "200", "--trainer.limit_train_batches", "2", "--early_stopping.patience", "999",
               "--recovery.every_steps", "3", "--trainer.callbacks+", "meter.Meter"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=2900, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    used = [int(line) for line in (tmp_path / "bytes").read_text().split()]
    assert len(used) == 200
    # Twenty epochs see everything at least twice: validation, checkpoints, heat-maps. 2 % is 0.1 MB an epoch.
    early, late = statistics.median(used[20:40]), statistics.median(used[180:])
    flat = late <= 1.02 * early
    ledger("200 epochs: memory from epoch 20 on", tries=1, lost=int(not flat), recovered=int(flat))
    assert flat, f"{early / 2**20:.0f} MB after 20 epochs, {late / 2**20:.0f} MB after 200"
