"""Figures, tables, leaderboards and runs of a table on disks that are full or read-only, like the rest."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from resgat_pl.cli.main import main
from resgat_pl.core.errors import ResGATError
from resgat_pl.reproduce import command as reproduce_module, figures as figures_module
from resgat_pl.reproduce.command import train_and_test
from resgat_pl.reproduce.experiment import Condition, Experiment
from resgat_pl.reproduce.tables import Run

from ..helpers.folders import tree
from ..helpers.tiny_runs import untrained
from ..reproduce.test_command import CSV_ONLY, in_process
from ..reproduce.test_figures import Trained, planned
from .conftest import Ledger
from .disk import SmallDisk
from .test_full_disks import refused

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]

Disks = Callable[[float], SmallDisk]
TINY = Path(__file__).parent.parent / "conf" / "tiny.yaml"


@pytest.fixture
def commands(ffpp_crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """By tool, all but ``--out``; for figures an untrained detector stands in for the table's runs."""
    low = {"frame": 0.05, "video": 0.05}  # an untrained network must call fakes fake to be explained
    detector = untrained(tmp_path / "a.ckpt", ffpp_crops, thresholds=low)

    def pretend(_: Experiment, __: Condition, *___: object) -> Trained:
        return Trained(detector)

    monkeypatch.setattr(figures_module, "run", pretend)
    plan = planned(tmp_path / "plan.yaml", {}, {"name": "two", "faces": "pairs", "count": 2})
    return {
        "figures": ["figures", str(plan), "--data", "synthetic"],
        "robustness": ["robustness", str(detector), "--kinds", "noise"],
        "leaderboard": ["benchmark-explainers", "--ckpt", f"tiny={detector}", "--manifest", str(ffpp_crops),
                        "--methods", '["Contribution"]', "--faces", "6", "--slow_faces", "2", "--sanity_faces", "2"],
    }  # fmt: skip


def content(files: dict[str, bytes]) -> dict[str, Any]:
    """Results without W&B's own, and without the content of what holds times, or shows them; that must be whole."""
    for name, data in files.items():
        if name.startswith("leaderboard"):
            assert len(data) > 100, name
        if name.endswith(".json") and not name.startswith("wandb"):
            json.loads(data)
        if name.endswith(".png"):
            assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) is not None, name
        if name.startswith("cache"):
            assert np.load(io.BytesIO(data)).files, name
    timed = ("leaderboard", "cache")
    return {name: None if name.startswith(timed) else files[name] for name in files if not name.startswith("wandb")}


@pytest.mark.parametrize("how", ["full", "read-only"])
@pytest.mark.parametrize("tool", ["figures", "robustness", "leaderboard"])
def test_tools(
    tool: str,
    how: str,
    commands: dict[str, list[str]],
    small_disk: Disks,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    ledger: Ledger,
) -> None:
    disk = small_disk(20)

    def run(out: Path) -> int:
        return main([*commands[tool], "--out", str(out)])

    assert run(tmp_path / "whole") == 0, capfd.readouterr().err
    undisturbed = tree(tmp_path / "whole")
    out = disk.path / "out"
    capfd.readouterr()
    # half of the results find room; of a disk that is set read-only none do
    disk.fill(leave=sum(-(-len(data) // 4096) * 4096 for data in undisturbed.values()) // 2)
    if how == "read-only":
        disk.remount("ro")
    refused(run(out), capfd.readouterr().err, disk.path)
    if how == "read-only":
        disk.remount("rw")
    kept = tree(out) if out.exists() else {}
    # nothing half-written, and what is there is whole
    assert content(kept).items() <= content(undisturbed).items()
    disk.relieve()
    assert run(out) == 0, capfd.readouterr().err
    again = tree(out)
    assert content(again) == content(undisturbed)
    assert {name: data for name, data in kept.items() if name.startswith("cache")}.items() <= again.items()  # was used
    # results that are there are kept when there is no room for new ones
    disk.fill()
    status, errors = run(out), capfd.readouterr().err
    if status:
        refused(status, errors, disk.path)
    assert content(tree(out)) == content(again)
    ledger(f"{how} disk, {tool}", tries=2, lost=0, recovered=2)


def plain(run: Run) -> dict[str, Any]:
    return {level: scores.plain() for level, scores in run.scores.items()}


def test_a_run_of_a_table(
    ffpp_crops: Path,
    small_disk: Disks,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    ledger: Ledger,
) -> None:
    """The checkpoint finds room in the first epoch and not in the second; then the test's predictions find none."""
    overlay = tmp_path / "csv_only.yaml"
    overlay.write_text(CSV_ONLY)
    options = ["--config", str(TINY), f"--config={overlay}", "--data.crops", str(ffpp_crops), "--trainer.max_epochs",
               "2", "--trainer.limit_train_batches", "2"]  # fmt: skip
    monkeypatch.setattr(reproduce_module, "_resgat", in_process)
    undisturbed = train_and_test(tmp_path / "whole", options)
    disk = small_disk(400)
    folder = disk.path / "run"

    def filled_before(command: str) -> Callable[..., None]:
        def run(*arguments: str) -> None:
            if arguments[0] == command:
                if command == "fit":  # one epoch, then no more room
                    in_process(*arguments, "--trainer.max_epochs", "1")
                    (last,) = folder.glob("version_0/checkpoints/last.ckpt")
                    arguments = (*arguments, "--ckpt_path", str(last))
                disk.fill(leave=500_000 if command == "fit" else 0)
            in_process(*arguments)

        return run

    for command in ("fit", "test"):
        monkeypatch.setattr(reproduce_module, "_resgat", filled_before(command))
        capfd.readouterr()
        with pytest.raises(ResGATError, match=f"{command} failed"):
            train_and_test(folder, options)
        refused(2, capfd.readouterr().err, disk.path)
        assert not (folder / "done.json").exists()
        disk.relieve()
    monkeypatch.setattr(reproduce_module, "_resgat", in_process)
    again = train_and_test(folder, options)
    assert json.loads((folder / "done.json").read_text())
    assert plain(again) == plain(undisturbed)
    assert again.checkpoint.stat().st_size > 1_000_000
    ledger("full disk, a run of a table", tries=2, lost=0, recovered=2)
