"""``resgat timeline`` on clips with a bright corner in their altered frames."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from resgat_pl.data.loading.dataset import FaceCrops
from resgat_pl.evaluation.detector import Detector
from resgat_pl.evaluation.predict import row_logits
from resgat_pl.evaluation.timeline import timeline
from resgat_pl.nn.detector_net import DetectorNet
from resgat_pl.nn.pooled import PooledClassifier
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.nn.video.net import VideoResGAT

from ..helpers.clip_sets import write_clips
from ..helpers.tiny_runs import untrained

SMALL: dict[str, Any] = {"encoder": "resnet18", "encoder_stage": 3, "heads": 2, "hidden": 4, "image_size": 64}


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("clips"), pairs=8, frames=6)


class Bright(torch.nn.Module):
    """An encoder stand-in: the brightness of each 16th of a picture, as the first feature."""

    def __init__(self, net: ResGAT) -> None:
        super().__init__()
        self.width = net.backbone.out_channels
        self.grid_shape, self.lattice = net.backbone.grid_shape, net.backbone.lattice

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        bright = torch.nn.functional.avg_pool2d(images.mean(dim=1, keepdim=True), 16)
        return torch.cat([bright, bright.new_zeros(len(bright), self.width - 1, 4, 4)], dim=1)


@pytest.fixture(params=["frames", "mean", "spacetime", "lstm"])
def net(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> DetectorNet:
    """Detectors whose logit is the mean brightness of the frames."""
    torch.manual_seed(0)
    made = ResGAT(**SMALL) if request.param == "frames" else VideoResGAT(request.param, clip_frames=6, **SMALL)
    with torch.no_grad():
        made.gat.lin_l.weight.zero_()[:, 0] = 1
        made.gat.bias.zero_()
        made.head.weight.fill_(1)
    encode = ResGAT.encode

    def bright(self: ResGAT, images: torch.Tensor) -> torch.Tensor:
        if images.ndim == 5:
            return bright(self, images.flatten(0, 1)).unflatten(0, images.shape[:2])
        encode(self, images)  # fits the grid
        return Bright(self)(images).flatten(2).transpose(1, 2)

    monkeypatch.setattr(ResGAT, "encode", bright)
    monkeypatch.setattr(VideoResGAT, "encode", bright)
    return made


def test_finds_the_altered_frames(net: DetectorNet, crops: Path, tmp_path: Path) -> None:
    path = untrained(tmp_path / "net.ckpt", crops, made=net)
    text = timeline(path, crops, clip_frames=6, out=tmp_path / "out")
    found = json.loads((tmp_path / "out" / "timeline.json").read_text())
    additive = found["temporal"] != "lstm"
    assert found["values"]["frame_auroc"]["faces"] == 2
    if additive:
        assert found["values"]["frame_auroc"]["mean"] == 1.0
        assert found["values"]["deletion"]["mean"] > 0.01, "without the bright frames the logit falls first"
        assert "AUROC of frames" in text
    with (tmp_path / "out" / "frames.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * 6, "each test frame once"
    if additive:
        for video in ("003", "007"):
            fake = [row for row in rows if row["label"] == "1" and row["video"] == video]
            frames = sorted(fake, key=lambda row: float(row["score"]))
            assert [row["frame_index"] for row in sorted(frames[-2:], key=lambda row: row["time"])] == ["2", "3"]


def test_says_what_is_missing(crops: Path, tmp_path: Path) -> None:
    whole = write_clips(tmp_path / "whole", pairs=4, frames=3, altered=range(3))
    net = VideoResGAT("mean", clip_frames=3, **SMALL)
    text = timeline(untrained(tmp_path / "net.ckpt", whole, made=net), whole, out=tmp_path / "out")
    assert "No span is named: validation has no face altered in part" in text
    assert "No face of the test split is known to be altered in part" in text
    pooled = untrained(tmp_path / "pooled.ckpt", crops, made=PooledClassifier("resnet18", image_size=64))
    timeline(pooled, crops, out=tmp_path / "out")
    assert json.loads((tmp_path / "out" / "timeline.json").read_text())["values"]["frame_auroc"]["faces"] == 2


@pytest.mark.parametrize("variant", [{"mask_head": "gate"}, {"head": "capsule"}, {"bottleneck": True}])
def test_a_detector_of_frames_scores_each_frame_by_its_logit(
    variant: dict[str, Any], crops: Path, tmp_path: Path
) -> None:
    """Also where frames are repeated to fill a clip, some more often than others: 6 frames in clips of 4, 3 in each."""
    made = ResGAT(**SMALL, **variant).eval()
    path = untrained(tmp_path / "net.ckpt", crops, made=made)
    timeline(path, crops, clip_frames=4, out=tmp_path / "out")
    detector = Detector.load(path)
    manifest = detector.manifest(crops)
    rows = manifest.rows_of("test")
    logits = row_logits(detector, FaceCrops(manifest, rows, 64))
    with (tmp_path / "out" / "frames.csv").open() as file:
        found = [float(row["score"]) for row in csv.DictReader(file)]
    assert found == pytest.approx(logits.tolist(), abs=1e-4)
