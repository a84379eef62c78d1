"""Validation, test and prediction compute logits in 32 bits, whatever precision the training has."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from resgat_pl.nn.resgat import ResGAT
from resgat_pl.training.module import ResGATModule


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_validated_logits_are_those_that_explain_and_cross_compute(head: str) -> None:
    torch.manual_seed(0)
    net = ResGAT("gatv2", "resnet18", encoder_stage=3, heads=2, hidden=8, image_size=64, head=head).eval()
    module = ResGATModule(net)
    images = torch.rand(6, 3, 64, 64)
    labels = torch.tensor([0.0, 1, 0, 1, 0, 1])
    batch: Any = {"image": images, "label": labels, **{name: torch.arange(6) for name in ("row", "video", "track")}}
    with torch.inference_mode():
        expected = net(images).logit
        with torch.autocast("cpu", dtype=torch.bfloat16):  # as Lightning does for bf16-mixed
            assert not torch.equal(net(images).logit.float(), expected)
            found = [
                module.predict_step(batch, 0)["logit"],
                module.test_step(batch, 1)["logit"],
                module.validation_step(batch, 1)["logit"],
            ]
    for logit in found:
        assert logit.dtype == torch.float32
        assert torch.equal(logit, expected)
    (frames,) = [metric for metric in module.test_metrics.values() if metric.level == "frame"]
    assert torch.equal(torch.cat(frames.logit), expected)
