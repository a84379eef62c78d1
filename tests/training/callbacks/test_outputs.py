from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from resgat_pl.core.face_regions import FACE_REGIONS
from resgat_pl.data.loading.dataset import FaceCrops
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.nn.checkpoint_file import Checkpoint
from resgat_pl.training.callbacks.outputs import RESULTS, manipulated_regions

from ...helpers.tiny_runs import tiny

LOSSES = json.dumps([{"class_path": f"resgat_pl.training.losses.{name}"} for name in ("Kinds", "Regions")])


@pytest.mark.long
def test_a_run_with_kinds_and_regions(ffpp_crops: Path, tmp_path: Path) -> None:
    options = ("--net.outputs", '["kind:*", "region:*"]', "--model.losses", LOSSES)
    done = tiny("fit", tmp_path, ffpp_crops, *options, "--trainer.max_epochs", 1, "--trainer.num_sanity_val_steps", 1)
    assert done.status == 0, done.errors
    found = Checkpoint.read(tmp_path / "checkpoints" / "best.ckpt")
    methods = set(Manifest.read(ffpp_crops).column("method").tolist()) - {"original"}
    assert found.net_config["outputs"] == [*(f"kind:{name}" for name in sorted(methods)), "region:*"]
    assert set(found.limits) == {"unknown_kind"}
    # a later test, without the losses, has the checkpoint's kinds and limit
    outputs = ("--net.outputs", json.dumps(found.net_config["outputs"]))
    assert (
        tiny("test", tmp_path, ffpp_crops, *outputs, "--ckpt_path", tmp_path / "checkpoints" / "best.ckpt").status == 0
    )
    written = json.loads(next(tmp_path.rglob(RESULTS)).read_text())
    assert written["limits"] == found.limits
    assert {"kind_f1", "region_map"} <= written["scores"].keys()
    # kinds without a loss for them would be reported untrained
    assert tiny("fit", tmp_path / "other", ffpp_crops, "--net.outputs", '["kind:FaceSwap"]').status != 0


def test_regions_by_masks_and_landmarks(ffpp_crops: Path) -> None:
    manifest = Manifest.read(ffpp_crops)
    faces = FaceCrops(manifest, np.arange(len(manifest)), 64)
    manipulated, known = manipulated_regions(faces)
    fake = faces.labels == 1
    assert not manipulated[~fake].any() and known[~fake].all()
    assert known.mean() > 0.9
    assert manipulated[known & fake].any(axis=0).sum() >= 4  # all over the face
    assert 0 < manipulated[known & fake].sum(axis=1).mean() < len(FACE_REGIONS) / 2
