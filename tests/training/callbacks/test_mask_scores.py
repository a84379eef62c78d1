"""The mask head in whole runs: scored, its threshold stored, read again and used."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch

from resgat_pl.core.errors import WeightsError
from resgat_pl.evaluation.detector import Detector
from resgat_pl.nn.checkpoint_file import Checkpoint
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.training.callbacks.mask_scores import MaskHeadScores
from resgat_pl.training.module import ResGATModule

from ...helpers.tiny_runs import TABLE, tiny

CONFIGS = Path(__file__).parents[3] / "configs"


@pytest.mark.long
@pytest.mark.parametrize("overlay", ["mask_aux", "mask_gate"])
def test_a_mask_head_is_trained_scored_and_tested(ffpp_crops: Path, tmp_path: Path, overlay: str) -> None:
    given = ("--config", CONFIGS / f"{overlay}.yaml", "--trainer.max_epochs", 1, *TABLE)
    assert tiny("fit", tmp_path, ffpp_crops, *given).status == 0
    (table,) = tmp_path.rglob("metrics.csv")
    with table.open() as file:
        logged = [row for row in csv.DictReader(file) if row["val/mask_iou"]]
    assert len(logged) == 1
    assert 0 <= float(logged[0]["val/mask_iou"]) <= float(logged[0]["val/mask_f1"]) <= 1
    # The threshold is in the checkpoint, for whoever reads it.
    (path,) = tmp_path.rglob("best.ckpt")
    detector = Detector.load(path)
    assert isinstance(detector.net, ResGAT)
    threshold = detector.checkpoint.mask_threshold
    assert threshold is not None
    assert 0 < threshold < 1
    # A test uses it, and stores what is found at it.
    assert tiny("test", tmp_path / "test", ffpp_crops, *given, "--ckpt_path", path).status == 0
    (results,) = (tmp_path / "test").rglob("results.json")
    masks = json.loads(results.read_text())["masks"]
    assert masks["threshold"] == threshold
    assert min(masks["fakes"], masks["genuine"]) > 0
    assert {"mask_iou", "mask_f1", "mask_iou_half", "mask_auroc", "mask_aupro", "mask_spared"} <= set(masks)


def test_a_fake_without_a_pixel_of_mask_is_no_genuine_face() -> None:
    """At this size nothing of the mask is left: to name its altered part is no false alarm."""
    module = ResGATModule(ResGAT(encoder="resnet18", heads=1, hidden=4, image_size=64, mask_head="gate")).eval()
    callback, trainer = MaskHeadScores(), Mock()
    masks = torch.zeros(3, 64, 64)
    masks[0, :32, :32] = 1
    masks[1, 5, 5] = 0.3
    batch: Any = {
        "row": torch.arange(3),
        "label": torch.tensor([1.0, 1.0, 0.0]),
        "image": torch.rand(3, 3, 64, 64),
        "mask": masks,
        "mask_known": torch.ones(3, dtype=torch.bool),
    }
    callback.on_validation_start(trainer, module)
    module.net(batch["image"])
    callback.on_validation_batch_end(trainer, module, None, batch, 0)
    (found,) = callback._parts
    assert found.row.tolist() == [0, 2] and found.forged.tolist() == [True, False]


def test_a_network_without_a_mask_head_has_no_threshold_and_old_checkpoints_neither() -> None:
    entry = {"version": 1, "net": {}, "mask_threshold": 0.25}
    assert Checkpoint.of({"resgat": entry, "state_dict": {}}, "a").mask_threshold == 0.25
    old = {"version": 1, "net": {}}
    assert Checkpoint.of({"resgat": old, "state_dict": {"net.a": torch.zeros(1)}}, "a").mask_threshold is None
    for wrong in (1.5, "0.3", True):
        content = {"resgat": {**entry, "mask_threshold": wrong}, "state_dict": {}}
        with pytest.raises(WeightsError, match=r"has the mask threshold .*: it must be in"):
            Checkpoint.of(content, "a")
