"""Checkpoints joined to one: fitted weights, what is refused, and every command on the result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from scipy.special import expit

from resgat_pl.core.errors import ConfigError, LeakageError
from resgat_pl.data.loading.dataset import FaceCrops
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.evaluation.cross_dataset import cross
from resgat_pl.evaluation.detector import Detector
from resgat_pl.evaluation.ensembling import ensemble, fit_factors
from resgat_pl.evaluation.predict import row_logits
from resgat_pl.evaluation.train_test_overlap import REMEMBERED
from resgat_pl.nn.checkpoint_file import read_file
from resgat_pl.nn.ensemble import Ensemble
from resgat_pl.nn.pooled import PooledClassifier
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.nn.video.net import VideoResGAT

from ..helpers.tiny_runs import untrained


def some_logits(seed: int) -> tuple[Any, Any, Any]:
    """A good member, a worse one, and one that is noise."""
    random = np.random.default_rng(seed)
    label = np.arange(80) % 2
    skill = np.array([[2.0], [0.7], [0.0]])
    return skill * (2 * label - 1) + random.normal(0, 1.2, (3, 80)), label, np.arange(80) // 2 * 2 + label


@pytest.mark.parametrize("seed", range(3))
def test_fitted_weights_are_the_best_of_a_fine_grid(seed: int) -> None:
    logits, label, video = some_logits(seed)
    found = fit_factors(logits, label, video)
    assert found is not None
    assert (found >= 0).all()
    assert found[0] > found[1]
    target = np.where(label == 1, 41 / 42, 1 / 42)

    def loss(weights: Any) -> float:
        p = expit(np.asarray(weights) @ logits)
        return float(-(target * np.log(p) + (1 - target) * np.log(1 - p)).sum())

    for step in np.array(np.meshgrid(*[[-0.02, 0.0, 0.02]] * 3)).reshape(3, -1).T:
        assert loss(found) <= loss(np.maximum(found + step, 0)) + 1e-7


def test_a_member_that_is_wrong_gets_nothing_and_one_class_gives_no_weights() -> None:
    logits, label, video = some_logits(0)
    found = fit_factors(np.stack([logits[0], -logits[1]]), label, video)
    assert found is not None
    assert found[1] == 0
    assert fit_factors(-logits[:1], label, video) is None
    assert fit_factors(logits, np.ones(80, np.int64), video) is None


@pytest.fixture(scope="module")
def members(ffpp_crops: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("members")
    low = {"frame": 0.05, "video": 0.05}
    options: list[dict[str, Any]] = [{"encoder_stage": 3}, {"encoder_stage": 4, "attention": "gatv1"}]
    return [
        untrained(folder / f"{name}.ckpt", ffpp_crops, thresholds=low, seed=seed, **options[seed])
        for seed, name in enumerate("ab")
    ]


@pytest.fixture(scope="module")
def joined(members: list[Path], ffpp_crops: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("joined") / "deep" / "c.ckpt"
    text = ensemble([str(members[0]), f"second={members[1]}"], out, ffpp_crops, factors=[0.75, 0.5])
    assert "| a.ckpt " in text
    assert "| second " in text
    assert "flatter the ensemble" in text
    return out


def test_what_is_written_is_a_detector_with_the_sum_of_the_members(
    members: list[Path], joined: Path, ffpp_crops: Path
) -> None:
    whole, parts = Detector.load(joined), [Detector.load(path) for path in members]
    assert isinstance(whole.net, Ensemble)
    assert whole.thresholds is not None
    assert whole.validation is not None
    assert whole.net.names == ["a.ckpt", "second"]
    manifest = Manifest.read(ffpp_crops)
    faces = FaceCrops(manifest, manifest.rows_of("test")[:6], 64)
    alone = [row_logits(part, faces) for part in parts]
    expected = sum(scale * z for scale, z in zip(whole.net.scale, alone, strict=True))
    torch.testing.assert_close(row_logits(whole, faces), expected, atol=1e-5, rtol=1e-5)
    content = read_file(joined)["provenance"]
    assert [each["weight"] for each in content["members"]] == [0.75, 0.5]
    assert whole.data == parts[0].data
    overlay = yaml.safe_load(joined.with_suffix(".yaml").read_text())
    untrained_parts = {"losses": [], "mask_loss_weight": 0.0}
    assert overlay == {"net": whole.net.spec, "data": {"image_size": 64}, "model": untrained_parts}
    assert isinstance(read_file(joined)["pytorch-lightning_version"], str)  # else resgat test refuses it


def test_a_test_on_what_a_member_has_seen_is_refused(joined: Path, ffpp_crops: Path) -> None:
    manifest = Manifest.read(ffpp_crops)
    swapped = manifest.with_splits([{"train": "test", "test": "train"}.get(s, s) for s in manifest.column("split")])
    with pytest.raises(LeakageError, match="were in its training split"):
        Detector.load(joined).leaks_on(swapped, allow_leakage=False)


def test_a_test_on_what_the_weights_were_fitted_on_is_refused(
    members: list[Path], ffpp_crops: Path, tmp_path: Path
) -> None:
    """Its members have never seen those videos: the ensemble has, in its weights and thresholds."""
    strangers = []
    for path in members:
        content = read_file(path)
        content["provenance"] |= {key: content["provenance"][key][:0] for key in REMEMBERED}
        strangers.append(tmp_path / path.name)
        torch.save(content, strangers[-1])
    ensemble([str(path) for path in strangers], tmp_path / "c.ckpt", ffpp_crops, factors=[1.0, 1.0])
    manifest = Manifest.read(ffpp_crops)
    swapped = manifest.with_splits([{"val": "test", "test": "val"}.get(s, s) for s in manifest.column("split")])
    Detector.load(strangers[0]).leaks_on(swapped, allow_leakage=False)
    with pytest.raises(LeakageError, match="in its validation split"):
        Detector.load(tmp_path / "c.ckpt").leaks_on(swapped, allow_leakage=False)


def test_cross_takes_it_beside_its_members(members: list[Path], joined: Path, ffpp_crops: Path, tmp_path: Path) -> None:
    text = cross(f"one={members[0]},both={joined}", f"ffpp={ffpp_crops}", out=tmp_path)
    assert "| both " in text
    cells = json.loads((tmp_path / "cross.json").read_text())["cells"]
    assert {cell["train"]: "refused" in cell for cell in cells} == {"one": False, "both": False}


def test_without_crops_the_weights_are_equal_and_said_to_be(members: list[Path], tmp_path: Path) -> None:
    text = ensemble([str(path) for path in members], tmp_path / "c.ckpt")
    assert "Equal weights: without --crops" in text
    found = Detector.load(tmp_path / "c.ckpt")
    assert found.thresholds is None
    assert isinstance(found.net, Ensemble)
    assert found.net.factors == [0.5, 0.5]


def test_a_member_trained_on_the_validation_videos_is_refused(
    members: list[Path], ffpp_crops: Path, tmp_path: Path
) -> None:
    content = read_file(members[1])
    content["provenance"]["train_videos"] = content["provenance"]["val_videos"]
    torch.save(content, tmp_path / "leaky.ckpt")
    with pytest.raises(LeakageError, match=r"leaky\.ckpt was trained on videos of the validation split"):
        ensemble([str(members[0]), str(tmp_path / "leaky.ckpt")], tmp_path / "c.ckpt", ffpp_crops)


def test_members_of_other_crops_are_refused(members: list[Path], tmp_path: Path) -> None:
    content = read_file(members[1])
    content["provenance"]["data"]["extraction"] = {**content["provenance"]["data"]["extraction"], "margin": 1.75}
    torch.save(content, tmp_path / "wide.ckpt")
    with pytest.raises(ConfigError, match=r"a\.ckpt and wide\.ckpt .* cut out differently \(margin .* and 1\.75\)"):
        ensemble([str(members[0]), str(tmp_path / "wide.ckpt")], tmp_path / "c.ckpt")


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (["{a}"], {}, "two checkpoints or more"),
        (["x={a}", "x={b}"], {}, "named twice"),
        (["{a}", "{b}"], {"factors": [1.0]}, "1 numbers for 2 members"),
        (["{a}", "{b}"], {"out": Path("c.onnx")}, r"must end in \.ckpt"),
        (["{a}", "{c}"], {}, "is an ensemble itself"),
        (["{a}", "{clips}"], {}, "holds a VideoResGAT, which judges clips"),
    ],
)
def test_mistakes_are_named(
    given: list[str],
    options: dict[str, Any],
    message: str,
    members: list[Path],
    joined: Path,
    ffpp_crops: Path,
    tmp_path: Path,
) -> None:
    clips = tmp_path / "clips.ckpt"
    if any("clips" in entry for entry in given):
        net = VideoResGAT("mean", encoder="resnet18", encoder_stage=3, heads=1, hidden=4, image_size=64)
        untrained(clips, ffpp_crops, made=net)
    paths = [entry.format(a=members[0], b=members[1], c=joined, clips=clips) for entry in given]
    with pytest.raises(ConfigError, match=message):
        ensemble(paths, **{"out": tmp_path / "d.ckpt", **options})


def test_a_black_box_can_be_a_member(members: list[Path], ffpp_crops: Path, tmp_path: Path) -> None:
    black = untrained(tmp_path / "black.ckpt", ffpp_crops, made=PooledClassifier("resnet18", image_size=64))
    text = ensemble([str(members[0]), str(black)], tmp_path / "c.ckpt")
    assert text.count("| yes") == text.count("| no") == 1
    assert not Detector.load(tmp_path / "c.ckpt").net.has_contributions


def test_what_a_member_says_beside_the_logit_is_said_to_be_left_out(
    members: list[Path], ffpp_crops: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"encoder": "resnet18", "encoder_stage": 3, "heads": 1, "hidden": 4, "image_size": 64}
    made = ResGAT(**options, mask_head="gate", outputs=["kind:FaceSwap"])
    more = untrained(tmp_path / "more.ckpt", ffpp_crops, made=made)
    text = ensemble([str(members[0]), str(more)], tmp_path / "c.ckpt")
    assert "more.ckpt has kinds and regions (net.outputs), which the ensemble has not" in text
    assert "more.ckpt has a mask (net.mask_head)" in text
    assert "a.ckpt has" not in text
