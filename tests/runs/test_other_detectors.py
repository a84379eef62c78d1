"""A detector without a graph through every command, on checkpoints that its class is not named for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from resgat_pl.evaluation.cross_dataset import cross
from resgat_pl.evaluation.robustness import robustness
from resgat_pl.explain.benchmark.command import benchmark_explainers
from resgat_pl.nn.detector_net import DetectorNet
from resgat_pl.nn.pooled import PooledClassifier

from ..helpers.other_nets import Blocks
from ..helpers.tiny_runs import untrained, variant


@pytest.fixture(scope="module", params=["pooled", "somebody's"])
def detector(request: pytest.FixtureRequest) -> DetectorNet:
    torch.manual_seed(0)
    if request.param == "pooled":
        return PooledClassifier("resnet18", encoder_stage=3, image_size=64)
    return Blocks(image_size=64)


@pytest.fixture(scope="module")
def checkpoint(detector: DetectorNet, ffpp_crops: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    low = {"frame": 0.05, "video": 0.05}  # an untrained network must call fakes fake to be explained
    return untrained(tmp_path_factory.mktemp("other") / "a.ckpt", ffpp_crops, thresholds=low, made=detector)


def test_cross_and_robustness(checkpoint: Path, ffpp_crops: Path, tmp_path: Path) -> None:
    crops = variant(ffpp_crops, tmp_path / "crops", dataset="celebdf")
    text = robustness(checkpoint, ffpp_crops, kinds="jpeg", out=tmp_path / "robustness")
    assert text.count("jpeg") == 5
    assert "other" in cross(str(checkpoint), f"other={crops}", out=tmp_path / "cross", allow_leakage=True)


@pytest.mark.long
def test_the_benchmark_measures_what_can_be(
    checkpoint: Path, detector: DetectorNet, ffpp_crops: Path, tmp_path: Path
) -> None:
    methods = ["Contribution", "InputXGradient", "GradCAM"]
    benchmark_explainers(f"a={checkpoint}", ffpp_crops, tmp_path, methods, faces=4, slow_faces=2, sanity_faces=2)
    document = json.loads((tmp_path / "leaderboard.json").read_text())
    (about,) = document["detectors"]
    notes = " ".join(about["notes"])
    assert "Contribution was not measured: Contribution explains the graph of a ResGAT" in notes
    assert "Uniform was not measured" in notes
    pooled = isinstance(detector, PooledClassifier)
    assert ("GradCAM was not measured" in notes) == (not pooled)
    lines = [line for line in document["lines"] if line["method"] == "InputXGradient" and line["kind"] == "all"]
    scores = {line["score"] for line in lines}
    assert {"auroc", "restoration", "random_backbone", "target_flip"} <= scores
    assert ("random_head" in scores) == pooled
    assert {"random_gat", "uniform_attention"} & scores == set()
    assert about["nodes"] == (16 if pooled else 49)
    assert np.isfinite([line["value"]["value"] for line in lines if line["score"] == "random_backbone"]).all()
    assert {"iou", "pixel_auroc", "seam_gain", "sufficiency_over_random", "silence_top", "false_regions"} <= scores


@pytest.mark.long
def test_the_plain_network_and_a_graph_explain_the_same_faces(
    checkpoint: Path, detector: DetectorNet, ffpp_crops: Path, tmp_path: Path
) -> None:
    graph = untrained(tmp_path / "graph.ckpt", ffpp_crops, thresholds={"frame": 0.05, "video": 0.05})
    named, methods = f"plain={checkpoint},graph={graph}", ["Contribution", "InputXGradient"]
    text = benchmark_explainers(named, ffpp_crops, tmp_path, methods, faces=4, slow_faces=2, sanity_faces=1)
    document = json.loads((tmp_path / "leaderboard.json").read_text())
    plain, other = document["detectors"]
    assert plain["rows"] == other["rows"]
    assert any("Contribution was not measured" in note for note in plain["notes"])
    assert not any("was not measured" in note for note in other["notes"])
    measured = {(line["label"], line["method"]) for line in document["lines"] if line["score"] == "iou"}
    assert {("plain", "InputXGradient"), ("graph", "InputXGradient"), ("graph", "Contribution")} <= measured
    assert ("plain", "Contribution") not in measured
    compared = {line["score"] for line in document["differences"] if line["method"] == "InputXGradient"}
    assert {"iou", "seam", "sufficiency", "effects", "silence_top", "false_regions"} <= compared
    assert "## graph − plain, face by face" in text
