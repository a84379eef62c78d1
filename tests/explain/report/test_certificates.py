"""The certificate of a face in its report."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from resgat_pl.explain.methods.subgraph import certify
from resgat_pl.explain.report.certificates import certificate_of, strongest
from resgat_pl.explain.report.document import Document, to_json
from resgat_pl.explain.report.face_records import FaceCertificate
from resgat_pl.nn.pooled import PooledClassifier
from resgat_pl.nn.video.net import VideoResGAT

from ...helpers.nets import IMAGES, make_trained

if TYPE_CHECKING:
    from playwright.sync_api import Page


def test_the_strongest_frame_has_the_verdict_of_the_mean() -> None:
    logits = torch.randn(12, generator=torch.Generator().manual_seed(0)).tolist()
    for threshold in (0.2, 0.5, 0.7):
        fake = torch.tensor(logits).sigmoid().mean() > threshold
        place = strongest(logits, "fake" if fake else "real")
        assert (torch.tensor(logits[place]).sigmoid() > threshold) == fake


@pytest.mark.parametrize("threshold", [0.3, 0.9])
def test_numbers_are_those_of_the_search_at_the_threshold(threshold: float) -> None:
    net = make_trained().train()  # a report finds it in any mode, and leaves it so
    found = certificate_of(net, IMAGES[0], 7, threshold)
    assert net.training
    assert found is not None
    expected = certify(net.eval(), IMAGES[:1], math.log(threshold / (1 - threshold)))[0]
    assert found.frame == 7
    assert found.sentence == f"{expected.sentence} {expected.edge_sentence}"
    assert found.numbers["keeps"]["nodes"] == list(expected.keeps.nodes)
    assert found.numbers["limit"] == expected.limit


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_a_threshold_that_nothing_passes_is_json(threshold: float, document: Callable[..., Document]) -> None:
    given = document()
    found = certificate_of(make_trained(), IMAGES[0], 0, threshold)
    assert found is not None
    assert found.numbers["limit"] is None
    assert found.numbers["verdict"] == ("real" if threshold else "fake")
    assert found.sentence in to_json(replace(given, tracks=[replace(given.tracks[0], certificate=found)]))


def test_a_detector_without_a_graph_has_none() -> None:
    assert certificate_of(PooledClassifier("resnet18", image_size=64), IMAGES[0], 0, 0.5) is None
    clips = VideoResGAT("lstm", encoder="resnet18", encoder_stage=3, heads=1, hidden=4, image_size=64)
    assert certificate_of(clips, IMAGES[0], 0, 0.5) is None, "the head of its graph is not its answer"


def test_the_page_shows_it_with_its_frame(document: Callable[..., Document], visit: Callable[..., Page]) -> None:
    given = document(faces=2)
    said = FaceCertificate(14, "3 of 49 nodes suffice for fake.", dict[str, Any]())
    page = visit(replace(given, tracks=[replace(given.tracks[0], certificate=said), given.tracks[1]]))
    shown = page.locator("#certificate")
    assert shown.inner_text() == "In frame 14, which speaks most for it: 3 of 49 nodes suffice for fake."
    page.locator("#face-picker button").nth(1).click()
    assert not shown.is_visible()
