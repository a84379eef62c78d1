from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.face_regions import FACE_REGIONS
from resgat_pl.data.datamodule import FaceDataModule
from resgat_pl.data.self_blends.blender import SelfBlend
from resgat_pl.explain.regions import AVERAGE_LANDMARKS, region_cover
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.training.losses.base import LossInput
from resgat_pl.training.losses.outputs import MANIPULATED, Kinds, Regions, kinds_of

from ...helpers.loss_steps import loss_step, paired_batch

KINDS = ["Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures"]


def net_with(*outputs: str) -> ResGAT:
    torch.manual_seed(0)
    options: dict[str, Any] = {"encoder": "resnet18", "encoder_stage": 3, "heads": 2, "hidden": 4, "image_size": 64}
    return ResGAT(**options, outputs=list(outputs) or None).eval()


def step_of_regions(net: ResGAT) -> LossInput:
    """Fakes whose mouths are altered, and their partners."""
    batch = paired_batch(2)
    batch["landmarks"] = AVERAGE_LANDMARKS.expand(4, 5, 2).clone()
    batch["mask"].zero_()
    batch["mask"][::2, 40:48, 22:42] = 1
    return loss_step(net, batch)


def test_the_kind_of_a_crop_is_its_method(ffpp_crops: Path) -> None:
    data = FaceDataModule(ffpp_crops)
    net = net_with(*(f"kind:{kind}" for kind in KINDS))
    loss = Kinds()
    loss.prepare(net, data)
    method = data.manifest.column("method")
    rows = [int(np.flatnonzero(method == name)[0]) for name in ("original", "FaceSwap", "DeepFakeDetection")]
    batch = paired_batch(2)
    batch = {name: value[:3] for name, value in batch.items()} | {"row": torch.tensor(rows)}
    step = loss_step(net, batch)
    assert net.outputs is not None
    logits = net.outputs.kind_logits(net.outputs(step.graph))
    expected = F.cross_entropy(logits[:2], torch.tensor([0, 1 + KINDS.index("FaceSwap")]))  # the third is no kind here
    torch.testing.assert_close(loss(step), expected)
    loss(step).backward()
    assert next(net.parameters()).grad is not None


def test_kinds_that_cannot_be_learnt_are_refused(ffpp_crops: Path) -> None:
    data = FaceDataModule(ffpp_crops)
    with pytest.raises(ConfigError, match=r"kind:Faces, and the training split has no fake of that.*kind:Deepfa"):
        Kinds().prepare(net_with("kind:Faces"), data)
    for net in (net_with(), net_with("region:*")):
        with pytest.raises(ConfigError, match=r"net.outputs has no kind"):
            Kinds().prepare(net, data)
    with pytest.raises(ConfigError, match=r"net.outputs has no region"):
        Regions().prepare(net_with("kind:FaceSwap"), data)
    with pytest.raises(ConfigError, match="fakes of no kind"):
        Kinds().prepare(net_with("kind:FaceSwap"), FaceDataModule(ffpp_crops, self_blend=SelfBlend()))
    with pytest.raises(ConfigError, match="not prepared"):
        Kinds()(loss_step(net_with("kind:FaceSwap"), paired_batch()))


def test_a_region_is_manipulated_where_the_mask_covers_it() -> None:
    net = net_with("region:*")
    step = step_of_regions(net)
    assert net.outputs is not None
    logits = net.outputs.region_logits(net.outputs(step.graph))
    wanted = torch.zeros(4, len(FACE_REGIONS))
    wanted[::2, FACE_REGIONS.index("mouth")] = 1
    torch.testing.assert_close(Regions()(step), F.binary_cross_entropy_with_logits(logits, wanted))


def test_faces_of_which_nothing_is_known_take_no_part() -> None:
    net = net_with("region:nose", "region:mouth")
    step = step_of_regions(net)
    step.batch["landmarks"][0, 2, 0] = torch.nan
    step.batch["mask_known"][2] = False
    assert net.outputs is not None
    logits = net.outputs(step.graph)[1::2]  # those that are left are genuine
    expected = F.binary_cross_entropy_with_logits(logits, torch.zeros(2, 2))
    torch.testing.assert_close(Regions()(step), expected)
    step.batch["mask_known"][:] = False
    assert float(Regions()(step).detach()) == 0


def test_a_region_that_is_not_in_the_crop_takes_no_part() -> None:
    """After an enlargement of the eyes nothing is known of the chin, and it must not be learnt as genuine."""
    net = net_with("region:chin", "region:nose")
    step = step_of_regions(net)
    step.batch["landmarks"][:] = (step.batch["landmarks"] - torch.tensor([0.25, 0.2])) / 0.5
    assert net.outputs is not None
    nose = net.outputs(step.graph)[:, net.outputs.regions.index("nose")]
    cover = region_cover(step.batch["mask"], step.batch["landmarks"])
    assert cover[:, FACE_REGIONS.index("chin")].isnan().all()
    wanted = (cover[:, FACE_REGIONS.index("nose")] > MANIPULATED).float()
    torch.testing.assert_close(Regions()(step), F.binary_cross_entropy_with_logits(nose, wanted))


def test_genuine_is_a_class_whatever_its_method_is_called() -> None:
    method = np.array(["original", "youtube", "swap", "other"], object)
    assert kinds_of(method, np.array([0, 0, 1, 1]), ["swap"]).tolist() == [0, 0, 1, -1]
