"""A detector of clips from training to report, on the features of a frozen encoder and whole."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch

from resgat_pl.core.errors import ConfigError, LeakageError
from resgat_pl.evaluation.detector import Detector
from resgat_pl.evaluation.predict import score
from resgat_pl.evaluation.train_test_overlap import check_unseen
from resgat_pl.export.command import export
from resgat_pl.nn.checkpoint_file import Checkpoint
from resgat_pl.nn.nets import load_net
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.nn.video.net import VideoResGAT

from ..helpers.clip_sets import write_clips
from ..helpers.command import TINY, resgat
from ..helpers.tiny_runs import tiny, untrained, variant

VIDEO: tuple[Any, ...] = ("--net", "VideoResGAT", "--data.clip_frames", 4, "--data.batch_size", 3)


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("clips"), pairs=8, frames=5)


@pytest.fixture(scope="module")
def frames(crops: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A detector of single frames."""
    return untrained(tmp_path_factory.mktemp("frames") / "best.ckpt", crops)


@pytest.mark.long
@pytest.mark.parametrize("temporal", ["spacetime", "lstm"])
def test_on_cached_features(temporal: str, crops: Path, frames: Path, tmp_path: Path) -> None:
    start = (*VIDEO, "--net.temporal", temporal, "--net.frames", frames, "--net.train", "frozen")
    cached = ("--data.features_cache", tmp_path / "features")
    done = tiny("fit", tmp_path / "run", crops, *start, *cached, "--trainer.max_epochs", 2)
    assert done.status == 0, done.errors
    best = tmp_path / "run" / "checkpoints" / "best.ckpt"
    net, before = load_net(best), ResGAT.load(frames)
    assert isinstance(net, VideoResGAT) and net.started_from is None
    assert all(
        torch.equal(value, net.state_dict()[f"backbone.{name}"]) for name, value in before.backbone.state_dict().items()
    )
    assert temporal == "lstm" or bool(net.temporal.get_parameter("read").any()), "trained: it is zero at first"

    done = tiny("test", tmp_path / "run", crops, *start, "--ckpt_path", best)
    assert done.status == 0, done.errors
    with (tmp_path / "run" / "predictions" / "videos.csv").open() as file:
        tested = [float(row["probability"]) for row in csv.DictReader(file)]
    detector = Detector.load(best)
    found = score(detector, detector.manifest(crops))
    assert found["video"].probability.tolist() == pytest.approx(tested, abs=1e-5), "cross computes what test does"
    assert len(found["frame"].label) == 4 * 2, "clips, of 3 and of 2 of the 5 frames"


@pytest.mark.long
def test_a_resumed_training_ends_with_the_same_weights(crops: Path, tmp_path: Path) -> None:
    whole = (*VIDEO, "--net.temporal", "attention", "--data.num_workers", 0, "--data.order", "paired")
    once, twice = tmp_path / "once", tmp_path / "twice"
    assert tiny("fit", once, crops, *whole, "--trainer.max_epochs", 2).status == 0
    assert tiny("fit", twice, crops, *whole, "--trainer.max_epochs", 1).status == 0
    resumed = tiny("fit", twice, crops, *whole, "--trainer.max_epochs", 2, "--ckpt_path", "last")
    assert resumed.status == 0, resumed.errors
    states = [Checkpoint.read(run / "checkpoints" / "last.ckpt").net_state for run in (once, twice)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_mistakes_are_said_at_once(crops: Path, frames: Path, tmp_path: Path) -> None:
    for options, said in (
        (("--net", "VideoResGAT"), "data.clip_frames is not set"),
        (("--data.clip_frames", 4), "net is a ResGAT, which takes single crops"),
        ((*VIDEO, "--net.frames", frames, "--net.heads", 3), "heads is 2 there and 3 here"),
        ((*VIDEO, "--model.mask_loss_weight", 1), "no sum of contributions that masks could guide"),
        ((*VIDEO, "--net.frames", tmp_path / "none.ckpt"), "none.ckpt"),
    ):
        done = tiny("fit", tmp_path / "run", crops, *options, "--trainer.max_epochs", 1)
        assert done.status != 0
        assert said in done.errors, done.errors


@pytest.mark.long
def test_what_the_frame_detector_has_seen_counts_as_seen(crops: Path, frames: Path, tmp_path: Path) -> None:
    elsewhere = variant(crops, tmp_path / "elsewhere", dataset="elsewhere")
    start = (*VIDEO, "--net.temporal", "mean", "--net.frames", frames)
    done = tiny("fit", tmp_path / "run", elsewhere, *start, "--trainer.max_epochs", 1)
    assert done.status == 0, done.errors
    best = tmp_path / "run" / "checkpoints" / "best.ckpt"
    detector = Detector.load(best)
    turned = {"train": "test", "test": "train", "val": "val"}
    manifest = detector.manifest(crops)
    other = manifest.with_splits([turned[str(name)] for name in manifest.column("split")])
    with pytest.raises(LeakageError, match="in its training split"):
        check_unseen(best, detector.provenance, other)
    refused = variant(crops, tmp_path / "turned", [turned[str(name)] for name in manifest.column("split")])
    done = tiny("fit", tmp_path / "again", refused, *start, "--trainer.max_epochs", 1)
    assert done.status != 0
    assert "cannot be tested on" in done.errors


@pytest.mark.long
def test_two_processes_train_on_their_shares_of_the_clips(crops: Path, frames: Path, tmp_path: Path) -> None:
    start = (*VIDEO, "--net.temporal", "lstm", "--net.frames", frames, "--net.train", "frozen")
    cached = ("--data.features_cache", tmp_path / "features", "--trainer.devices", 2, "--trainer.strategy", "ddp")
    plain = ("--config", TINY, "--data.crops", crops, "--trainer.default_root_dir", tmp_path / "run")
    said = resgat("fit", *plain, *start, *cached, "--trainer.logger", "false", "--trainer.max_epochs", 1)
    assert "effective batch 6 = 1 × 2 processes × 3 crops" in said
    last = Checkpoint.read(tmp_path / "run" / "checkpoints" / "last.ckpt")
    net = load_net(last)
    assert isinstance(net, VideoResGAT)
    made = VideoResGAT(**{**net.config, "weights": None})  # with the parts that are trained
    trained = [name for name, value in made.named_parameters() if value.requires_grad]
    assert len(last.raw["optimizer_states"][0]["state"]) == len(trained), "each of them had a gradient"
    assert not any(name.startswith(("backbone", "head")) for name in trained)


def test_graphs_of_clips_are_not_exported(crops: Path, tmp_path: Path) -> None:
    net = VideoResGAT("mean", clip_frames=4, encoder="resnet18", encoder_stage=3, heads=2, hidden=8, image_size=64)
    path = untrained(tmp_path / "clips.ckpt", crops, made=net)
    with pytest.raises(ConfigError, match="holds a VideoResGAT, which judges clips: take safetensors or hub"):
        export(path, tmp_path / "clips.onnx")
    assert "written" in export(path, tmp_path / "clips.safetensors", format="safetensors")
    assert isinstance(load_net(tmp_path / "clips.safetensors"), VideoResGAT)
