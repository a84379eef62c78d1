"""Training killed at random steps and resumed ends in the very state of one that was left alone."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from resgat_pl.nn.checkpoint_file import read_file
from resgat_pl.training.module import ResGATModule

from ..helpers.tiny_runs import tiny, untrained

CONF = Path(__file__).parent.parent / "conf"


KILLER = """
import os, signal, subprocess
from lightning.pytorch import Callback

class Killer(Callback):
    def on_train_batch_start(self, trainer, module, batch, index):
        if trainer.global_step == int(os.environ.get("KILL_AT", "-1")):
            if os.environ["KILL_GROUP"] == "yes":  # by another process, as a terminal and SLURM do
                name = os.environ["KILL_BY"].removeprefix("SIG")
                subprocess.run(["kill", "-s", name, "--", f"-{os.getpid()}"], check=True, start_new_session=True)
            else:
                os.kill(os.getpid(), getattr(signal, os.environ["KILL_BY"]))
"""


def train(
    root: Path, crops: Path, workers: int, at: int | None = None, by: str = "SIGKILL", group: bool = False
) -> tuple[int, str]:
    place = root.parent / "killer_code"
    place.mkdir(exist_ok=True)
    (place / "killer.py").write_text(KILLER)
    environment = {**os.environ, "PYTHONPATH": f"{place}:{os.environ.get('PYTHONPATH', '')}", "KILL_BY": by}
    environment["KILL_GROUP"] = "yes" if group else "no"
    if at is not None:
        environment["KILL_AT"] = str(at)
    command = [sys.executable, "-m", "resgat_pl", "fit", "--config", str(CONF / "augmented.yaml"),
               "--data.crops", str(crops),
               "--trainer.default_root_dir", str(root), "--data.num_workers", str(workers), "--trainer.max_epochs", "2",
               "--trainer.logger", "true", "--trainer.log_every_n_steps", "1", "--recovery.every_steps", "2",
               "--heatmaps.faces", "2", "--net.dropout", "0.1", "--trainer.callbacks+", "killer.Killer",
               "--ckpt_path", "last"]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=400, env=environment, check=False, start_new_session=True
    )
    return done.returncode, done.stdout + done.stderr


def plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return (str(value.dtype), tuple(value.shape), value.tolist())
    if isinstance(value, dict):
        return {plain(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    return Path(value).name if isinstance(value, str) else value


def state(root: Path) -> tuple[Any, str]:
    """Everything in last.ckpt but provenance and places of files; and metrics.csv."""
    content = read_file(root / "checkpoints" / "last.ckpt")
    content.pop("provenance")
    for entry in content["callbacks"].values():
        entry.pop("dirpath", None)
    return plain(content), (root / "metrics.csv").read_text()


def differences(one: Any, other: Any, place: str = "") -> list[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        names = sorted(one.keys() | other.keys(), key=str)
        return [line for name in names for line in differences(one.get(name), other.get(name), f"{place}/{name}")]
    return [] if one == other else [f"{place}: {str(one)[:200]} instead of {str(other)[:200]}"]


def same_state(found: tuple[Any, str], expected: tuple[Any, str], when: str) -> None:
    assert differences(found[0], expected[0]) == [], when
    assert found[1] == expected[1], when


@pytest.mark.long
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.faults)])
def test_killed_and_resumed_is_undisturbed(
    workers: int, ffpp_crops: Path, tmp_path: Path, tries: Callable[[int, int], int], ledger: Any
) -> None:
    status, printed = train(tmp_path / "whole", ffpp_crops, workers)
    assert status == 0, printed
    expected = state(tmp_path / "whole")
    steps = expected[0]["global_step"]
    chosen = random.Random(workers).sample(range(3, steps), tries(1, 10))  # noqa: S311 - no secret
    same = 0
    for at in chosen:
        root = tmp_path / f"killed_{at}"
        status, printed = train(root, ffpp_crops, workers, at)
        assert status == -signal.SIGKILL, printed
        status, printed = train(root, ffpp_crops, workers)
        assert status == 0, printed
        assert "going on from" in printed
        same_state(state(root), expected, f"killed at step {at}")
        same += 1
    ledger(f"training killed (SIGKILL) at a random step, resumed ({workers} loading)",
           tries=len(chosen), lost=len(chosen) - same, recovered=same)  # fmt: skip


@pytest.mark.long
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("group", [False, pytest.param(True, marks=pytest.mark.faults)], ids=["process", "group"])
def test_signals_keep_the_state(
    group: bool, ffpp_crops: Path, tmp_path: Path, tries: Callable[[int, int], int], ledger: Any
) -> None:
    """The step is finished, the state stored, one line says how to go on; and the rest is that of an undisturbed run.

    A terminal and SLURM send signals to all processes, also to those that load.
    """
    workers = 2 if group else 0
    status, printed = train(tmp_path / "whole", ffpp_crops, workers)
    assert status == 0, printed
    expected = state(tmp_path / "whole")
    kinds = [("SIGTERM", 75), ("SIGUSR1", 75), ("SIGINT", 130)]
    # within an epoch; in its last step, which waits for the validation; in the first step of all
    places = (7, expected[0]["global_step"] // 2 - 1, 0)
    cases = [(name, code, at) for at in places for name, code in kinds][: tries(1, 9)]
    for name, code, at in cases:
        root = tmp_path / f"{name}_{at}"
        status, printed = train(root, ffpp_crops, workers, at, name, group)
        assert status == code, printed
        (line,) = [line for line in printed.splitlines() if line.startswith("resgat: ")]
        assert f"stopped by {name}; the state of step {at + 1} is in " in line
        assert " --ckpt_path " in line
        assert line.endswith("/last.ckpt")
        assert "Traceback" not in printed
        status, printed = train(root, ffpp_crops, workers)
        assert status == 0, printed
        same_state(state(root), expected, f"{name} at step {at}")
    whom = "to all processes of a training" if group else "in training"
    ledger(f"SIGTERM, SIGUSR1 or Ctrl-C {whom}, resumed", tries=len(cases), lost=0, recovered=len(cases))


@pytest.mark.long
@pytest.mark.parametrize(("command", "method"), [("validate", "validation"), ("test", "test"), ("predict", "predict")])
@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGINT"])
def test_what_is_no_training_stops_as_well(
    command: str,
    method: str,
    name: str,
    ffpp_crops: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    ledger: Any,
) -> None:
    """With another status than a finished one, without results, and reported in one line."""
    checkpoint = untrained(tmp_path / "a.ckpt", ffpp_crops)

    def step(self: Any, batch: Any, *rest: Any) -> None:
        os.kill(os.getpid(), getattr(signal, name))

    monkeypatch.setattr(ResGATModule, f"{method}_step", step)
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)]
    done = tiny(command, tmp_path, ffpp_crops, "--ckpt_path", checkpoint)
    assert done.status == (130 if name == "SIGINT" else 75), done.errors
    reason = "interrupted" if name == "SIGINT" else f"stopped by {name}"
    assert done.errors.splitlines() == [f"resgat: {reason}; what is finished stays: give the same command again"]
    assert "KeyboardInterrupt" not in caplog.text
    assert not list(tmp_path.rglob("results.json"))
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)] == handlers
    ledger("SIGTERM, SIGUSR1 or Ctrl-C in validate, test and predict", tries=1, lost=0, recovered=1)
