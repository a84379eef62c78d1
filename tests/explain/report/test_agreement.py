"""The agreement of methods that are joined, from the explanation to the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from resgat_pl.explain.methods.consensus import Consensus
from resgat_pl.explain.methods.graph import Contribution
from resgat_pl.explain.regions import AVERAGE_LANDMARKS, region_weights
from resgat_pl.explain.report.document import Document
from resgat_pl.explain.report.node_maps import mean_map, node_maps

from ...helpers.nets import IMAGES, make_trained

if TYPE_CHECKING:
    from playwright.sync_api import Page


def test_it_is_in_every_map_of_the_document() -> None:
    net = make_trained()
    weights = region_weights(AVERAGE_LANDMARKS.expand(3, 5, 2), net.lattice(64, 80))
    found = Consensus(net).attribute(IMAGES)
    assert found.agreement is not None
    maps = node_maps(found, weights)
    torch.testing.assert_close(torch.tensor([each.agreement for each in maps]), found.agreement)
    mean = mean_map(maps, found, slice(0, 3)).agreement
    assert mean is not None
    assert abs(mean - float(found.agreement.mean())) < 1e-6
    assert {each.agreement for each in node_maps(Contribution(net).attribute(IMAGES), weights)} == {None}


def test_the_page_states_it(document: Callable[..., Document], visit: Callable[..., Page]) -> None:
    given = document(frames=0)
    frame = given.tracks[0].frames[0]
    joined = replace(frame, maps={**frame.maps, "GradCam": replace(frame.maps["GradCam"], agreement=0.625)})
    page = visit(replace(given, tracks=[replace(given.tracks[0], frames=[joined])]))
    said = page.locator("#rounding")
    assert "agree" not in said.inner_text()
    page.locator("#method-picker button").nth(1).click()
    assert "agree by 0.63 of 1 (Kendall's W)" in said.inner_text()
