"""Scores without a Trainer are those of ``resgat test``."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from resgat_pl.core.errors import SplitError
from resgat_pl.core.types import Level
from resgat_pl.data.loading.crop_loader import CropLoader, CropRequest
from resgat_pl.data.loading.dataset import Draw, FaceCrops
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.evaluation.corruptions import Corruption
from resgat_pl.evaluation.detector import Detector
from resgat_pl.evaluation.metrics.scores import Predictions, read_predictions
from resgat_pl.evaluation.predict import predictions, score

from ..helpers.tiny_runs import tiny


@pytest.fixture(scope="module")
def clean(checkpoint: Path, ffpp_crops: Path) -> dict[Level, Predictions]:
    detector = Detector.load(checkpoint)
    return score(detector, detector.manifest(ffpp_crops))


def same(one: dict[Level, Predictions], other: dict[Level, Predictions]) -> bool:
    return all(np.allclose(one[level].probability, other[level].probability, rtol=0, atol=1e-6) for level in one)


@pytest.mark.long
def test_scores_are_those_of_the_command(
    checkpoint: Path, clean: dict[Level, Predictions], ffpp_crops: Path, tmp_path: Path
) -> None:
    assert tiny("test", tmp_path, ffpp_crops, "--ckpt_path", checkpoint).status == 0
    written = read_predictions(tmp_path / "predictions")
    assert list(clean) == ["frame", "video"]
    for level, found in clean.items():
        expected = written[level]
        assert found.probability == pytest.approx(expected.probability, abs=1e-6)
        assert len(set(found.probability.round(5))) > len(found.label) / 2  # they tell crops apart
        assert found.probability.dtype == np.float64
        assert (found.label == expected.label).all()
        assert (found.method == expected.method).all()
        # the same groups, whatever their numbers
        assert (
            np.unique(found.video, return_inverse=True)[1] == np.unique(expected.video, return_inverse=True)[1]
        ).all()


@pytest.mark.parametrize("batch", [1, 5, 18])
def test_the_batch_size_does_not_matter(
    batch: int, checkpoint: Path, clean: dict[Level, Predictions], ffpp_crops: Path
) -> None:
    detector = Detector.load(checkpoint)
    assert same(score(detector, detector.manifest(ffpp_crops), batch_size=batch), clean)


def test_what_loading_processes_are_sent_can_be_sent(checkpoint: Path, ffpp_crops: Path) -> None:
    manifest = Detector.load(checkpoint).manifest(ffpp_crops)
    faces = FaceCrops(manifest, np.arange(3), 64, Corruption("noise", 3))
    again = pickle.loads(pickle.dumps(faces))  # noqa: S301 - our own
    assert torch.equal(again[Draw(1, 7)]["image"], faces[Draw(1, 7)]["image"])


def test_damage_is_done_to_the_stored_crop_and_the_same_every_time(
    checkpoint: Path, clean: dict[Level, Predictions], ffpp_crops: Path
) -> None:
    detector = Detector.load(checkpoint)
    manifest = detector.manifest(ffpp_crops)
    noise = Corruption("noise", 5)
    first = score(detector, manifest, noise)
    assert not same(first, clean)
    assert same(score(detector, manifest, noise, batch_size=5), first)
    # each crop is seeded by its row, not by its place: in a test set of half the size it is damaged alike
    rows = np.flatnonzero(manifest.column("split") == "test")
    splits = manifest.column("split").copy()
    splits[rows[: len(rows) // 2]] = "val"
    half = score(detector, manifest.with_splits(splits), noise)["frame"]
    assert half.probability == pytest.approx(first["frame"].probability[len(rows) // 2 :], abs=1e-6)
    seeds: list[tuple[int, tuple[int, ...]]] = []
    detector.net.config["image_size"] = 32

    def note(image: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], seed: int) -> np.ndarray[..., np.dtype[np.uint8]]:
        seeds.append((seed, image.shape))
        return image

    score(detector, manifest, note)
    assert seeds == [(row, (64, 64, 3)) for row in rows]


def test_pictures_have_the_size_that_the_network_was_trained_with(
    checkpoint: Path, ffpp_crops: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = Detector.load(checkpoint)
    detector.net.config["image_size"] = 48
    sizes = set()
    original = CropLoader.__getitem__

    def note(self: CropLoader, request: CropRequest) -> object:
        sample = original(self, request)
        sizes.add(tuple(sample["image"].shape))
        return sample

    monkeypatch.setattr(CropLoader, "__getitem__", note)
    score(detector, detector.manifest(ffpp_crops))
    assert sizes == {(3, 48, 48)}


def test_no_test_split_or_one_class_in_it(checkpoint: Path, ffpp_crops: Path) -> None:
    manifest, detector = Manifest.read(ffpp_crops), Detector.load(checkpoint)
    with pytest.raises(SplitError, match=r"has no test split.*--split"):
        score(detector, manifest.with_splits(["train"] * len(manifest)))
    splits = ["test" if label else "train" for label in manifest.column("label")]
    with pytest.raises(SplitError, match="no real"):
        score(detector, manifest.with_splits(splits))


def test_two_faces_make_a_video_as_fake_as_the_worse(ffpp_crops: Path) -> None:
    manifest = Manifest.read(ffpp_crops)
    rows = np.arange(6)
    found = predictions(manifest, rows, torch.tensor([0.0, 0.0, 0.0, 2.0, 2.0, 2.0]))
    assert found["frame"].probability == pytest.approx([0.5] * 3 + [1 / (1 + np.exp(-2))] * 3)
    assert found["video"].probability == pytest.approx(found["frame"].probability[[0, 3]])
    assert found["video"].method.tolist() == manifest.column("method")[[0, 3]].tolist()
    manifest.track_codes = np.array([0, 0, 1, 2, 3, 3])  # as if the first two videos had two faces each
    found = predictions(manifest, rows, torch.tensor([0.0, 2.0, -3.0, 1.0, -1.0, -1.0]))
    sigmoid = 1 / (1 + np.exp(-np.array([0.0, 2.0, 1.0])))
    assert found["video"].probability == pytest.approx([sigmoid[:2].mean(), sigmoid[2]])
