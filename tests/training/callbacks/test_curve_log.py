"""The curves of a test on the dashboard, and beside its results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from resgat_pl.evaluation.curve_files import FIGURES
from resgat_pl.evaluation.metrics.scores import read_predictions

from ...helpers.command import wandb_history
from ...helpers.tiny_runs import untrained, variant
from ...helpers.wandb_runs import artifacts, logged

THRESHOLDS = {"frame": 0.45, "video": 0.5}


def outcome(root: Path, crops: Path, *more: object) -> dict[str, Any]:
    """``resgat test`` of a random detector; all that its W&B run has, the last value of each name."""
    checkpoint = untrained(root / "detector.ckpt", crops, thresholds=THRESHOLDS)
    done = logged("test", root, crops, "--ckpt_path", checkpoint, *more)
    assert done.status == 0, done.errors
    return {key: value for step in wandb_history(root) for key, value in step.items()}


@pytest.fixture(scope="module")
def run(ffpp_crops: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    root = tmp_path_factory.mktemp("tested")
    return root, outcome(root, ffpp_crops)


def test_figures_are_beside_the_results_and_on_the_dashboard(run: tuple[Path, dict[str, Any]]) -> None:
    root, values = run
    files = {path.relative_to(root / "test" / "curves").name for path in (root / "test" / "curves").iterdir()}
    assert {f"{name}.png" for name in FIGURES} < files
    assert {"curves.pdf", "points.csv", "confusion.csv", "reliability.csv"} < files
    (offline,) = (root / "wandb").glob("offline-run-*")
    for name in FIGURES:
        sent = values[f"test/{name}"]
        assert sent["_type"] == "image-file"
        assert np.array_equal(
            cv2.imread(str(offline / "files" / sent["path"])), cv2.imread(str(root / "test" / "curves" / f"{name}.png"))
        )


def rows(root: Path) -> list[dict[str, float]]:
    return [step for step in wandb_history(root) if "test/curves/x" in step]


def test_the_numbers_are_those_of_the_predictions(run: tuple[Path, dict[str, Any]]) -> None:
    root, values = run
    found = read_predictions(root / "test" / "predictions")
    for level, threshold in THRESHOLDS.items():
        whole = found["frame" if level == "frame" else "video"]
        called, fake = whole.probability > threshold, whole.label == 1
        assert values[f"test/{level}_threshold_at_val"] == threshold
        assert values[f"test/{level}_fp_at_val"] == (called & ~fake).sum()
        assert values[f"test/{level}_fnr_at_val"] == pytest.approx((~called & fake).sum() / fake.sum())
        curve = rows(root)
        assert [row["test/curves/x"] for row in curve] == pytest.approx(np.linspace(0, 1, 101))
        for row in curve[::10]:
            at = (whole.probability > row["test/curves/x"])[~fake].mean()
            assert row[f"test/curves/{level}_fpr"] == pytest.approx(at)
        roc = [row[f"test/curves/{level}_roc"] for row in curve]
        assert roc == sorted(roc)
        assert roc[-1] == 1


@pytest.mark.long
def test_in_private_there_are_numbers_and_no_pictures(ffpp_crops: Path, tmp_path: Path) -> None:
    values = outcome(tmp_path, ffpp_crops, "--private", "--heatmaps.log_images", "true")
    assert len(rows(tmp_path)) == 101
    assert values["test/video_threshold_at_val"] == 0.5
    (offline,) = (tmp_path / "wandb").glob("offline-run-*")
    assert [
        path for path in (offline / "files").rglob("*") if path.suffix in {".png", ".json"} and "media" in path.parts
    ] == []
    assert artifacts(tmp_path) == {}
    assert (tmp_path / "test" / "curves" / "roc.png").is_file()  # here they are drawn all the same


@pytest.mark.long
def test_one_class_is_reported_without_figures(
    ffpp_crops: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    crops = variant(ffpp_crops, tmp_path / "crops", label_splits(ffpp_crops), dataset="other")
    checkpoint = untrained(tmp_path / "detector.ckpt", ffpp_crops)
    caplog.set_level("INFO")
    done = logged("test", tmp_path, crops, "--ckpt_path", checkpoint, "--data.allow_leakage", "true")
    assert done.status == 0, done.errors
    assert "No curves are drawn" in caplog.text
    assert not (tmp_path / "test" / "curves").exists()
    results = json.loads((tmp_path / "test" / "results.json").read_text())
    assert {row["fake"] for row in results["scores"]} == {0}
    assert not any(name.startswith("test/curves") for step in wandb_history(tmp_path) for name in step)


def label_splits(crops: Path) -> list[str]:
    """All genuine crops in the test split, all fakes outside."""
    from resgat_pl.data.manifest.table import Manifest

    return ["test" if label == 0 else "train" for label in Manifest.read(crops).column("label")]
