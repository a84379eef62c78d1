"""What a detector knows of its checkpoint, and the splits it is tested under."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from resgat_pl.core.errors import WeightsError
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.data.splits.protocols import IdentitySplit, divide
from resgat_pl.evaluation.detector import Detector
from resgat_pl.nn.checkpoint_file import read_file
from resgat_pl.nn.checkpoint_keys import PROVENANCE

from ..helpers.tiny_runs import untrained, variant
from .conftest import THRESHOLDS


def test_a_detector_is_tested_under_its_own_protocol(ffpp_crops: Path, tmp_path: Path) -> None:
    manifest = Manifest.read(ffpp_crops)
    own, other = IdentitySplit(0.2, 0.2, seed=5), IdentitySplit(seed=1)
    detector = Detector.load(untrained(tmp_path / "a.ckpt", ffpp_crops, own))
    expected = divide(manifest, own).split_fingerprint()
    assert expected != manifest.split_fingerprint()
    assert detector.manifest(ffpp_crops).split_fingerprint() == expected
    assert detector.leaks_on(detector.manifest(ffpp_crops), allow_leakage=False) == []
    # asked for another one, it is under that
    assert detector.manifest(ffpp_crops, other).split_fingerprint() == divide(manifest, other).split_fingerprint()
    # on other crops, the splits are those of their manifest
    elsewhere = variant(ffpp_crops, tmp_path / "celebdf", dataset="celebdf")
    found = detector.manifest(elsewhere).split_fingerprint()
    assert found == Manifest.read(elsewhere).split_fingerprint()
    # and these very crops are known wherever they lie, whatever their manifest's splits
    content = Manifest.read(ffpp_crops)
    (tmp_path / "copy").mkdir()
    Manifest(tmp_path / "copy", content.table, content.info).with_splits(["test"] * len(content)).write()
    assert detector.manifest(tmp_path / "copy").split_fingerprint() == expected


def test_what_a_detector_knows_of_itself(checkpoint: Path, ffpp_crops: Path, tmp_path: Path) -> None:
    detector = Detector.load(checkpoint)
    assert detector.thresholds == THRESHOLDS
    assert not detector.net.training
    assert detector.data["crops"] == str(ffpp_crops)
    content = read_file(checkpoint)
    del content[PROVENANCE], content["resgat"]["thresholds"]
    torch.save(content, tmp_path / "old.ckpt")
    old = Detector.load(tmp_path / "old.ckpt")
    assert old.thresholds is None
    with pytest.raises(WeightsError, match=r"old\.ckpt carries no provenance.*Name the crops"):
        _ = old.data
    assert old.manifest(ffpp_crops).split_fingerprint() == Manifest.read(ffpp_crops).split_fingerprint()
    with pytest.raises(WeightsError, match=r"absent\.ckpt"):
        Detector.load(tmp_path / "absent.ckpt")
