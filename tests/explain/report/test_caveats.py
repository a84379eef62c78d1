"""Sentences on the limits of maps, by what the network is."""

from __future__ import annotations

from typing import Any

import pytest

from resgat_pl.evaluation.detector import Detector
from resgat_pl.explain.report.caveats import caveats
from resgat_pl.nn.checkpoint_file import Checkpoint
from resgat_pl.nn.detector_net import DetectorNet
from resgat_pl.nn.pooled import PooledClassifier
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.nn.video.net import VideoResGAT


def said(net: DetectorNet) -> str:
    content = {"resgat": {"version": 1, "net": net.spec}, "state_dict": {}}
    return "\n".join(caveats(Detector(net.eval(), Checkpoint.of(content, "a.ckpt"), None), calibrated=True))


def small(**arguments: Any) -> ResGAT:
    return ResGAT(
        **{"encoder": "resnet18", "encoder_stage": 3, "heads": 1, "hidden": 2, "image_size": 160, **arguments}
    )


@pytest.mark.parametrize(("receptive", "field"), [(None, 211), (65, 51)])
def test_the_receptive_field_is_the_one_in_use(receptive: int | None, field: int) -> None:
    assert f"it sees {field} px around its place, and the whole crop has 160" in said(small(receptive=receptive))


@pytest.mark.parametrize(
    ("head", "words"),
    [("linear", None), ("mlp", "its local linear form at this face"), ("normalised", "those at this face's length")],
)
def test_a_head_that_is_not_linear_has_its_sentence(head: str, words: str | None) -> None:
    found = said(small(head=head))
    for one in ("its local linear form at this face", "those at this face's length"):
        assert (one in found) == (one == words)
    assert "add up" not in said(PooledClassifier("resnet18", image_size=64, head=head))


@pytest.mark.parametrize(
    ("temporal", "words"),
    [("spacetime", "attention within and between frames"), ("lstm", "names no part of the face")],
)
def test_a_detector_of_clips_is_no_black_box(temporal: Any, words: str) -> None:
    options: dict[str, Any] = {"encoder": "resnet18", "encoder_stage": 3, "heads": 1, "hidden": 2, "image_size": 64}
    found = said(VideoResGAT(temporal, **options))
    assert words in found
    assert "black box" not in found
