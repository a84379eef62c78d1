"""The exported computation of every kind of encoder: one convolutional network and one vision transformer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from resgat_pl.core.formats import stamp
from resgat_pl.export.graph import TOLERANCE, compare, trace, write_onnx
from resgat_pl.export.runtime import EXPORT_VERSION, ExportedDetector
from resgat_pl.nn.resgat import ResGAT

pytestmark = pytest.mark.long  # each is compiled: ten seconds


@pytest.mark.parametrize(
    ("encoder", "side", "others"),
    [
        ("timm/test_convnext", 64, {}),
        ("timm/test_vit", 64, {}),
        ("timm/test_vit2", 96, {"train": "lora"}),
        ("mobilenet_v2", 64, {"head": "normalised", "receptive": 65}),
        ("timm/test_convnext", 64, {"head": "normalised", "receptive": 65, "attention": "gatv1"}),
        ("timm/test_resnet", 64, {"head": "capsule", "mask_head": "gate", "two_pass": True}),
        ("timm/test_resnet", 64, {"bottleneck": True, "mask_head": "aux", "attention": "gcn"}),
        ("mobilenet_v2", 96, {"encoder_stage": [3, 4], "mask_head": "gate"}),
        ("timm/test_vit", 64, {"encoder_stage": [3, 4], "attention": "gatv1"}),
    ],
)
def test_onnx_of_other_encoders_agrees(encoder: str, side: int, others: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("timm")
    torch.manual_seed(0)
    options = {"encoder_stage": 3, "heads": 2, "hidden": 8, "image_size": side, **others}
    net = ResGAT(encoder=encoder, **options).eval()
    with torch.no_grad():
        for name, value in net.named_parameters():
            if name.startswith("head") or name.endswith(".up"):
                value.normal_(std=5)
    lattice = net.lattice(side, side)
    properties = {
        **stamp(EXPORT_VERSION),
        "image_size": side,
        "grid": list(lattice.shape),
        "centres": {"rows": lattice.rows, "columns": lattice.columns},
    }
    write_onnx(trace(net), tmp_path / "net.onnx", properties)
    found = compare(net, ExportedDetector.load(tmp_path / "net.onnx"))
    assert found.scale > 1, "a logit of nothing would agree as well"
    assert max(found.logit, found.contribution, found.additivity) <= TOLERANCE * found.scale, str(found)
