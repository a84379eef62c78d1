"""Genuine faces and validation fakes: which are chosen, and from where."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from resgat_pl.core.types import REAL
from resgat_pl.data.loading.dataset import FaceCrops
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.explain.benchmark.beside import choose_genuine, choose_validation, load_genuine, load_validation
from resgat_pl.explain.benchmark.faces import choose_detected_fakes, counterparts
from resgat_pl.nn.pooled import PooledClassifier

from ...helpers.tiny_runs import variant


@pytest.fixture(scope="module")
def crops(ffpp_crops: Path) -> FaceCrops:
    manifest = Manifest.read(ffpp_crops)
    return FaceCrops(manifest, np.arange(len(manifest)), 64)


@pytest.fixture(scope="module")
def net() -> PooledClassifier:
    torch.manual_seed(0)
    return PooledClassifier("resnet18", encoder_stage=3, image_size=64).eval()


def test_genuine_faces_are_counterparts_and_others_in_turn(crops: FaceCrops) -> None:
    fakes = choose_detected_fakes(crops, np.ones(len(crops), bool), 8, 0)
    chosen = choose_genuine(crops, fakes, 5, 0)
    partner = counterparts(crops)
    mine = {partner[fake] for fake in fakes.tolist()}
    assert (crops.labels[chosen] == REAL).all()
    assert len(set(chosen.tolist())) == len(chosen) == len(mine) + 5
    assert mine <= set(chosen.tolist())
    assert [position in mine for position in chosen[:6].tolist()] == [True, False] * 3
    assert chosen.tolist() == choose_genuine(crops, fakes, 5, 0).tolist()
    assert chosen.tolist() != choose_genuine(crops, fakes, 5, 1).tolist()
    loaded = load_genuine(crops, fakes, chosen)
    for fake, place in zip(fakes.tolist(), loaded.partner.tolist(), strict=True):
        assert loaded.images[place].equal(crops[partner[fake]]["image"])
    assert loaded.group[0].endswith(crops.manifest.column("video")[crops.rows[chosen[0]]])


def test_fakes_without_a_counterpart_have_no_partner(ffpp_crops: Path, tmp_path: Path) -> None:
    manifest = Manifest.read(variant(ffpp_crops, tmp_path / "apart", source_video=None))
    crops = FaceCrops(manifest, np.arange(len(manifest)), 64)
    fakes = choose_detected_fakes(crops, np.ones(len(crops), bool), 4, 0)
    chosen = choose_genuine(crops, fakes, 3, 0)
    assert len(chosen) == 3
    assert load_genuine(crops, fakes, chosen).partner.tolist() == [-1] * 4


def test_validation_fakes_are_detected_and_have_masks(crops: FaceCrops, net: PooledClassifier) -> None:
    with torch.no_grad():
        logit = torch.cat([net(crops[place]["image"][None].float() / 255).logit for place in range(len(crops))])
    cut = float(logit.median())
    chosen = choose_validation(net, crops, 10, cut, 0, 7)
    assert 0 < len(chosen) <= 10
    assert (crops.labels[chosen] != REAL).all()
    assert (logit[torch.from_numpy(chosen)] > cut - 1e-5).all()
    genuine = choose_genuine(crops, chosen, 2, 0)
    loaded = load_validation(crops, chosen, genuine)
    assert loaded.genuine.equal(torch.stack([crops[place]["image"] for place in genuine.tolist()]))
    assert len(loaded) == len(loaded.masks) == len(chosen)
    assert (loaded.masks.amax(dim=(1, 2)) > 0.5).all()


def test_without_masks_or_detections_there_is_none(ffpp_crops: Path, tmp_path: Path, net: PooledClassifier) -> None:
    manifest = Manifest.read(variant(ffpp_crops, tmp_path / "bare", mask_path=None))
    bare = FaceCrops(manifest, np.arange(len(manifest)), 64)
    assert len(choose_validation(net, bare, 10, -100.0, 0, 8)) == 0
    assert load_validation(bare, *[np.zeros(0, np.int64)] * 2).masks.shape == (0, 64, 64)
    manifest = Manifest.read(ffpp_crops)
    crops = FaceCrops(manifest, np.arange(len(manifest)), 64)
    assert len(choose_validation(net, crops, 3, 100.0, 0, 8)) == 0
