"""Disks that are full or read-only: one clear error, what was there is there still, and the same command goes on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from resgat_pl.cli.main import main
from resgat_pl.nn.checkpoint_file import read_file
from resgat_pl.training.checkpoints.safe_io import SafeCheckpoints

from ..helpers.folders import MEGABYTES, OPTIONS, tree
from ..helpers.tiny_runs import tiny, untrained
from .conftest import Ledger
from .disk import SmallDisk

pytestmark = pytest.mark.long

Disks = Callable[[float], SmallDisk]
Tries = Callable[[int, int], int]


def refused(status: int, errors: str, folder: Path) -> None:
    """One message, that names a place on the disk and the remedy, and no traceback."""
    assert status == 2, errors
    (line,) = [line for line in errors.splitlines() if line.startswith("resgat: error:")]
    assert "cannot be written" in line, line
    assert str(folder) in line, line
    assert "ommand" in line or "Make room" in line, line  # the remedy
    assert "Traceback" not in errors


LONG = pytest.mark.faults


@pytest.mark.parametrize(
    ("store", "how"),
    [
        ("files", "full"),
        pytest.param("files", "read-only", marks=LONG),
        pytest.param("shards", "full", marks=LONG),
        pytest.param("shards", "read-only", marks=LONG),
    ],
)
@pytest.mark.timeout(900)
def test_extraction(
    ffpp_root: Path,
    ffpp_crops: Path,
    shard_crops: Path,
    store: str,
    how: str,
    small_disk: Disks,
    capfd: pytest.CaptureFixture[str],
    tries: Tries,
    ledger: Ledger,
) -> None:
    undisturbed = tree(ffpp_crops if store == "files" else shard_crops)
    # Bytes are not blocks, and shards lie beside what they are made of for a while.
    full = sum(-(-len(data) // 4096) * 4096 for data in undisturbed.values())
    count = tries(1, 5)
    for number in range(count):
        disk = small_disk(20)
        out = disk.path / "crops"
        command = ["extract", str(ffpp_root), str(out), *OPTIONS, "--store", store, "--shard_megabytes", str(MEGABYTES)]
        disk.fill(leave=int(full * (0.2 + 0.7 * number / max(count - 1, 1))))
        refused(main(command), capfd.readouterr().err, disk.path)
        before = {name: data for name, data in tree(out).items() if name.startswith("fragments") and ".parquet" in name}
        assert before and "manifest.parquet" not in tree(out)
        disk.relieve()
        if how == "read-only":
            with disk.refusing(how):
                refused(main(command), capfd.readouterr().err, disk.path)
        assert before.items() <= tree(out).items()
        assert main(command) == 0, capfd.readouterr().err
        assert tree(out) == undisturbed
        capfd.readouterr()
    ledger(f"{how} disk, crops, store {store}", tries=count, lost=0, recovered=count)


def states(path: Path) -> dict[str, torch.Tensor]:
    content = read_file(path)
    return {**content["state_dict"], "step": torch.tensor(content["global_step"])}


def csv_in(folder: Path) -> tuple[str, str]:
    arguments = {"save_dir": str(folder), "name": ""}
    return "--trainer.logger", json.dumps({"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": arguments})


@pytest.fixture(scope="module")
def trained(ffpp_crops: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run of two epochs, its log folder; and of the first alone, for the times to come."""
    root = tmp_path_factory.mktemp("trained")
    done = tiny("fit", root, ffpp_crops, "--trainer.max_epochs", 2, *csv_in(root))
    assert done.status == 0, done.errors
    return root / "version_0"


def fit(disk: SmallDisk, crops: Path, epochs: int, *more: object) -> Any:
    return tiny("fit", disk.path, crops, "--trainer.max_epochs", epochs, *csv_in(disk.path), *more)


@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.parametrize("how", ["full", "read-only"])
def test_checkpoints(
    ffpp_crops: Path,
    trained: Path,
    how: str,
    small_disk: Disks,
    monkeypatch: pytest.MonkeyPatch,
    tries: Tries,
    ledger: Ledger,
) -> None:
    disk = small_disk(300)
    assert fit(disk, ffpp_crops, 1).status == 0
    first = disk.path / "version_0" / "checkpoints"
    before = tree(disk.path / "version_0")
    again = ("--ckpt_path", first / "last.ckpt")
    started = SafeCheckpoints.on_fit_start

    def change(callback: SafeCheckpoints, trainer: Any, module: Any) -> None:
        started(callback, trainer, module)
        if how == "full":
            disk.fill(leave=1_000_000)
        else:
            disk.remount("ro")

    monkeypatch.setattr(SafeCheckpoints, "on_fit_start", change)
    done = fit(disk, ffpp_crops, 2, *again)
    refused(done.status, done.errors, disk.path)
    assert "--ckpt_path" in done.errors
    monkeypatch.undo()
    if how == "read-only":
        disk.remount("rw")
    else:
        disk.relieve()
    assert tree(disk.path / "version_0") == before
    for path in disk.path.rglob("*.ckpt"):
        read_file(path)
    done = fit(disk, ffpp_crops, 2, *again)
    assert done.status == 0, done.errors
    last = max(disk.path.rglob("last.ckpt"), key=lambda path: path.stat().st_mtime)
    for name, value in states(trained / "checkpoints" / "last.ckpt").items():
        assert torch.equal(value, states(last)[name]), name
    assert not [path for path in disk.path.rglob(".*") if path.is_file()]  # nothing half-written is left
    ledger(f"{how} disk, checkpoints", tries=1, lost=0, recovered=1)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("how", [pytest.param("full", marks=LONG), "read-only"])
def test_predictions_and_results(ffpp_crops: Path, how: str, small_disk: Disks, tmp_path: Path, ledger: Ledger) -> None:
    checkpoint = untrained(tmp_path / "a.ckpt", ffpp_crops)
    disk = small_disk(20)

    def test() -> Any:
        return tiny("test", disk.path, ffpp_crops, "--ckpt_path", checkpoint)

    assert test().status == 0
    before = tree(disk.path)
    assert {"results.json", "predictions/frames.csv"} <= set(before)
    with disk.refusing(how):
        done = test()
    refused(done.status, done.errors, disk.path)
    assert without_dates(tree(disk.path)) == without_dates(before)
    for path in before:
        (disk.path / path).unlink()
    assert test().status == 0
    assert without_dates(tree(disk.path)) == without_dates(before)
    ledger(f"{how} disk, predictions and results", tries=1, lost=0, recovered=1)


def without_dates(files: dict[str, bytes]) -> dict[str, Any]:
    return {name: json.loads(data) if name.endswith(".json") else data for name, data in files.items()}


@pytest.mark.faults
@pytest.mark.timeout(900)
@pytest.mark.parametrize("how", ["full", "read-only"])
def test_reports(
    ffpp_root: Path,
    ffpp_crops: Path,
    how: str,
    small_disk: Disks,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    ledger: Ledger,
) -> None:
    checkpoint = untrained(tmp_path / "a.ckpt", ffpp_crops)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number, path in enumerate(sorted(ffpp_root.rglob("*.mp4"))[:3]):
        shutil.copy(path, pictures / f"{number}.mp4")
    disk = small_disk(20)

    def explain(out: Path) -> int:
        return main(["explain", str(checkpoint), str(pictures), "--out", str(out), "--frames", "2"])

    assert explain(tmp_path / "out") == 0, capfd.readouterr().err
    undisturbed = tree(tmp_path / "out")
    size = sum(map(len, undisturbed.values()))
    disk.fill(leave=size // 2)
    capfd.readouterr()
    refused(explain(disk.path / "out"), capfd.readouterr().err, disk.path)
    disk.relieve()
    written = tree(disk.path / "out")
    reports = {name: data for name, data in written.items() if name.endswith(("report.html", "report.json"))}
    assert reports
    if how == "read-only":
        with disk.refusing(how):
            refused(explain(disk.path / "out"), capfd.readouterr().err, disk.path)
    assert reports.items() <= tree(disk.path / "out").items()
    assert explain(disk.path / "out") == 0, capfd.readouterr().err
    again = tree(disk.path / "out")
    assert again.keys() == undisturbed.keys()
    done = {name for name in again if name.endswith("report.json")}
    assert {name: judged(again[name]) for name in done} == {name: judged(undisturbed[name]) for name in done}
    ledger(f"{how} disk, reports", tries=1, lost=0, recovered=1)


def judged(report: bytes) -> Any:
    """A report without what differs from run to run: how long it took."""
    document = json.loads(report)
    return {**document, "seconds": 0, "methods": [{**entry, "milliseconds": 0} for entry in document["methods"]]}


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_export(
    ffpp_crops: Path, small_disk: Disks, tmp_path: Path, capfd: pytest.CaptureFixture[str], ledger: Ledger
) -> None:
    checkpoint = untrained(tmp_path / "a.ckpt", ffpp_crops)
    disk = small_disk(30)
    out = disk.path / "detector.onnx"
    out.write_bytes(b"earlier")
    disk.fill(leave=100_000)
    command = ["export", str(checkpoint), str(out)]
    refused(main(command), capfd.readouterr().err, disk.path)
    assert out.read_bytes() == b"earlier"
    disk.relieve()
    assert main(command) == 0, capfd.readouterr().err
    assert out.stat().st_size > 1_000_000
    assert [path.name for path in disk.path.iterdir()] == ["detector.onnx"]
    ledger("full disk, exported detector", tries=1, lost=0, recovered=1)
