"""Two machines, played by two processes that know nothing of each other but an address: torchrun and SLURM."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import yaml

from resgat_pl.data.manifest.table import Manifest
from resgat_pl.evaluation.metrics.binary import METRICS, THRESHOLDED

from ..helpers.command import TINY, metrics, resgat

pytestmark = pytest.mark.long

DDP = Path(__file__).parents[2] / "configs" / "ddp.yaml"
TWO = ("--config", DDP, "--trainer.devices", 1, "--trainer.num_nodes", 2)
SMALL = ("--config", TINY, "--data.extraction", "{frames: 3, size: 64}")


def together(*commands: tuple[list[str], Mapping[str, str]], expect: int = 0) -> list[str]:
    """Run commands at the same time, each with its own additions to the environment; return what each printed."""
    running = [
        subprocess.Popen(
            command,
            env={**os.environ, "PYTHONWARNINGS": "default", **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        for command, more in commands
    ]
    try:
        printed = [process.communicate(timeout=240)[0] for process in running]
    finally:
        for process in running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    assert [process.returncode for process in running] == [expect] * len(running), "\n".join(printed)
    return printed


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def torchrun(*arguments: object, expect: int = 0) -> list[str]:
    """One torchrun agent per machine, as in the README."""
    meeting = ("--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{free_port()}", "--rdzv-id", uuid.uuid4().hex)
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", *meeting]
    command += ["-m", "resgat_pl", *map(str, arguments)]
    return together((command, {}), (command, {}), expect=expect)


def slurm(job: int, task: int, tasks: int) -> dict[str, str]:
    """The environment that ``srun`` sets for one task of a job with one task on each node."""
    return {
        "SLURM_JOB_ID": str(job),
        "SLURM_JOB_NAME": "resgat",
        "SLURM_NTASKS": str(tasks),
        "SLURM_NTASKS_PER_NODE": "1",
        "SLURM_NNODES": str(tasks),
        "SLURM_PROCID": str(task),
        "SLURM_LOCALID": "0",
        "SLURM_NODEID": str(task),
        "SLURM_NODELIST": "127.0.0.1",
        "SLURM_JOB_NODELIST": "127.0.0.1",
    }


def srun(*arguments: object, job: int) -> list[str]:
    """Two tasks on two nodes."""
    command = [sys.executable, "-m", "resgat_pl", *map(str, arguments)]
    port = {"MASTER_PORT": str(free_port())}
    return together(*((command, {**slurm(job, task, 2), **port}) for task in (0, 1)))


@pytest.fixture(scope="module")
def run(ffpp_root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Extract, fit and test on two machines, then test in one process, below ``one``."""
    root = tmp_path_factory.mktemp("nodes")
    data = ("--data.root", ffpp_root, "--data.crops", root / "crops", "--trainer.default_root_dir", root)
    more = ("--trainer.accumulate_grad_batches", 2, "--model.mask_loss_weight", 0.5)
    printed = torchrun("fit", *SMALL, *TWO, *data, *more)
    best = ("--ckpt_path", root / "checkpoints" / "best.ckpt")
    torchrun("test", "--config", root / "config.yaml", *best)
    one = ("--data.crops", root / "crops", "--trainer.default_root_dir", root / "one")
    resgat("test", *SMALL, *one, *best)
    return root, printed


def test_metrics_are_those_of_one_process(run: tuple[Path, list[str]]) -> None:
    pair, single = (metrics(run[0] / folder) for folder in ("test", "one/test"))
    assert pair.keys() >= {f"test/{level}_{name}" for level in ("frame", "video") for name in METRICS}
    for name, value in pair.items():
        if name.startswith("test/"):
            exact = name.rpartition("frame_")[2].rpartition("video_")[2] in THRESHOLDED
            assert value == pytest.approx(single[name], abs=0 if exact else 1e-6), name


def test_it_is_written_once(run: tuple[Path, list[str]]) -> None:
    root, printed = run
    assert {str(path.relative_to(root)) for path in root.rglob("metrics*.csv")} == {
        "metrics.csv", "test/metrics.csv", "one/test/metrics.csv"
    }  # fmt: skip
    assert len(list(root.glob("**/wandb/offline-run-*"))) == 3  # one per command, not per machine
    assert sum(text.count("videos read") for text in printed) == 1  # extracted once for both
    assert len(Manifest.read(root / "crops")) == 126
    assert [path.name for path in (root / "heatmaps").glob("*.png")] == ["epoch-000.png"]


def test_effective_batch_is_said_once_and_kept(run: tuple[Path, list[str]]) -> None:
    root, printed = run
    # 0.001 is for the 8 crops of one process; 2 processes × 2 accumulated are √4 times as much
    said = (
        "effective batch 32 = 2 × 1 processes × 8 crops × 2 accumulated; learning rate 0.002 (0.001 for 8 crops, sqrt)"
    )
    assert sum(text.count(said) for text in printed) == 1
    stored = yaml.safe_load((root / "hparams.yaml").read_text())
    assert stored == {"effective_batch": 32, "learning_rate": pytest.approx(0.002)}
    state = torch.load(root / "checkpoints" / "last.ckpt", weights_only=False)["optimizer_states"][0]
    assert state["param_groups"][0]["lr"] == pytest.approx(0.002)


def test_a_mistake_reaches_both_machines(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    printed = torchrun("fit", *SMALL, *TWO, "--data.root", tmp_path / "empty", "--data.crops", tmp_path / "crops",
                       "--trainer.default_root_dir", tmp_path, expect=1)  # fmt: skip
    errors = [re.findall(r"resgat: error: (.*)", text) for text in printed]
    assert len(errors[0]) == 1
    assert errors[0] == errors[1]
    assert str(tmp_path / "empty") in errors[0][0]


def test_slurm(ffpp_crops: Path, tmp_path: Path) -> None:
    printed = srun("fit", *SMALL, *TWO, "--data.crops", ffpp_crops, "--trainer.default_root_dir", tmp_path, job=1234)
    assert sum(text.count("effective batch 16 = 2 × 1 processes × 8 crops × 1") for text in printed) == 1
    assert len(list(tmp_path.rglob("last.ckpt"))) == 1
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 1


SIGNALLER = """
import os, signal
from lightning.pytorch import Callback

class Requeue(Callback):
    def on_train_batch_start(self, trainer, module, batch, index):
        if trainer.global_step == 1 and not os.path.exists(os.environ["SIGNALLED"]):
            open(os.environ["SIGNALLED"], "w").close()
            os.kill(os.getpid(), signal.SIGUSR1)  # the step is finished, saved, and the last one
"""


def test_slurm_requeues_and_continues(ffpp_crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "signaller.py").write_text(SIGNALLER)
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/requeued\n')
    scontrol.chmod(0o755)
    environment = {
        **slurm(77, 0, 1),
        "SIGNALLED": str(tmp_path / "signalled"),
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    command = ("fit", *SMALL, "--data.crops", ffpp_crops, "--trainer.default_root_dir", tmp_path / "run",
               "--trainer.callbacks+", "signaller.Requeue")  # fmt: skip
    resgat(*command)
    assert (tmp_path / "requeued").read_text() == "requeue 77\n"
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=False)["global_step"] == 2
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    printed = resgat(*command)  # what SLURM starts again is the same command
    assert f"Restoring states from the checkpoint path at {last}" in printed


def test_an_interactive_job_is_no_slurm(ffpp_crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**slurm(77, 0, 2), "SLURM_JOB_NAME": "interactive"}.items():
        monkeypatch.setenv(name, value)
    printed = resgat("fit", *SMALL, "--data.crops", ffpp_crops, "--trainer.default_root_dir", tmp_path)
    assert "effective batch 8 = 1 × 1 processes × 8 crops × 1 accumulated; learning rate 0.001\n" in printed
