"""Two processes on the CPU give the numbers of one, on sets of odd size, without a hang."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from resgat_pl.data.manifest.table import Manifest
from resgat_pl.evaluation.metrics.binary import METRICS, THRESHOLDED

from ..helpers.command import TINY, metrics, resgat, wandb_history, wandb_records
from ..helpers.wandb_runs import summary

pytestmark = pytest.mark.long

TWO = ("--trainer.strategy", "ddp", "--trainer.devices", 2)
ONE = ("--trainer.strategy", "auto", "--trainer.devices", 1)


@pytest.fixture(scope="module")
def odd_crops(ffpp_crops: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the crops whose validation split has one crop more than a whole number of batches for two ranks."""
    folder = Path(shutil.copytree(ffpp_crops, tmp_path_factory.mktemp("odd") / "crops"))
    manifest = Manifest.read(folder)
    keep = np.ones(len(manifest), bool)
    for split in ("val", "test"):
        rows = np.flatnonzero(manifest.column("split") == split)
        # 2 ranks × batch 8: rank 0 gets 9 crops and so two batches, rank 1 gets 8 and so one
        assert len(rows) >= 17
        keep[rows[np.linspace(0, len(rows) - 1, len(rows) - 17).astype(int)]] = False
    Manifest(folder, manifest.table.filter(keep), manifest.info).write()
    assert [int((Manifest.read(folder).column("split") == split).sum()) for split in ("val", "test")] == [17, 17]
    return folder


@pytest.fixture(scope="module")
def run(odd_crops: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fit and test in two processes, then validate and test in one, whose folder is below ``one``."""
    root = tmp_path_factory.mktemp("ddp")
    resgat("fit", "--config", TINY, "--data.crops", odd_crops, "--trainer.default_root_dir", root, *TWO,
           "--artifacts.send", "true")  # fmt: skip
    best = ("--ckpt_path", root / "checkpoints" / "best.ckpt")
    resgat("test", "--config", root / "config.yaml", *best, *TWO)
    one = ("--config", TINY, "--data.crops", odd_crops, "--trainer.default_root_dir", root / "one", *best, *ONE)
    resgat("validate", *one)
    resgat("test", *one)
    return root


@pytest.mark.parametrize(("two", "one", "stage"), [(".", "one/validate", "val"), ("test", "one/test", "test")])
def test_metrics_are_those_of_one_process(run: Path, two: str, one: str, stage: str) -> None:
    pair, single = (
        {name: value for name, value in metrics(run / folder).items() if name.startswith(f"{stage}/")}
        for folder in (two, one)
    )
    expected = {f"{stage}/{level}_{name}" for level in ("frame", "video") for name in METRICS}
    assert pair.keys() == single.keys() >= expected | {f"{stage}/loss"}
    for name in pair:
        if name.rpartition("frame_")[2].rpartition("video_")[2] in THRESHOLDED:
            assert pair[name] == single[name], name
        else:
            assert pair[name] == pytest.approx(single[name], abs=1e-6), name


def test_results_are_those_of_one_process(run: Path) -> None:
    pair, single = (json.loads((run / folder / "results.json").read_text()) for folder in ("test", "one/test"))
    assert pair["thresholds"] == single["thresholds"] is not None
    assert pair["leaky"] == single["leaky"] == []
    assert pair["provenance"]["data"] == single["provenance"]["data"]
    assert pair["checkpoint"] == single["checkpoint"]
    assert len(pair["scores"]) == len(single["scores"]) >= 2
    for mine, other in zip(pair["scores"], single["scores"], strict=True):
        assert (mine["level"], mine["method"]) == (other["level"], other["method"])
        assert mine["values"].keys() == other["values"].keys()
        for name, values in mine["values"].items():
            assert values == pytest.approx(other["values"][name], abs=1e-6), name


def test_predictions_are_those_of_one_process(run: Path) -> None:
    import csv

    def frames(folder: str) -> dict[str, float]:
        with (run / folder / "predictions" / "frames.csv").open() as file:
            return {row["crop_path"]: float(row["logit"]) for row in csv.DictReader(file)}

    pair, single = frames("test"), frames("one/test")
    assert len(pair) == 17
    assert pair.keys() == single.keys()
    assert all(pair[path] == pytest.approx(single[path], abs=1e-5) for path in single)


def test_heatmaps_are_drawn_once(run: Path) -> None:
    assert (run / "heatmaps" / "epoch-000.png").is_file()
    assert len(list(run.glob("**/wandb/offline-run-*"))) == 4  # one per command, not per process


def test_the_dashboard_is_of_rank_0_alone(run: Path) -> None:
    fitted, tested = sorted((run / "wandb").glob("offline-run-*"))
    steps = wandb_history(fitted)
    speeds = [step["trainer/global_step"] for step in steps if "train/crops_per_second" in step]
    assert speeds == [step["trainer/global_step"] for step in steps if "train/loss" in step]
    kinds = [record.artifact.type for record in wandb_records(fitted) if record.WhichOneof("record_type") == "artifact"]
    assert [kinds.count(kind) for kind in ("dataset", "model")] == [1, 1]
    assert summary(fitted)["best/val/loss"] > 0
    names = [name for step in wandb_history(tested) for name in step]
    assert (names.count("test/roc"), names.count("test/curves/x")) == (1, 101)


def test_a_mistake_stops_all_processes_with_one_message(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    printed = resgat("fit", "--config", TINY, "--data.root", tmp_path / "empty", "--data.crops", tmp_path / "crops",
                     "--trainer.default_root_dir", tmp_path, *TWO, expect=2)  # fmt: skip
    assert f"{tmp_path / 'empty'} is empty" in printed
    assert "Traceback" not in printed
