"""The outline of a detector's own mask, and the share of a face, on the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from resgat_pl.explain.methods.graph import Contribution
from resgat_pl.explain.methods.variants import PredictedMask
from resgat_pl.explain.regions import AVERAGE_LANDMARKS, region_weights
from resgat_pl.explain.report.document import Document, Method
from resgat_pl.explain.report.node_maps import node_maps
from resgat_pl.explain.report.verdict_records import Centres
from resgat_pl.nn.node_geometry import Lattice

from ...helpers.nets import IMAGES, make_net
from .browser_page import colour, pixels, settled

if TYPE_CHECKING:
    from playwright.sync_api import Page


@pytest.mark.parametrize("threshold", [0.2, 0.55, 0.99])
def test_it_is_where_the_map_crosses_the_threshold(
    document: Callable[..., Document], visit: Callable[..., Page], threshold: float
) -> None:
    page = visit(document(frames=0))
    nodes = np.random.default_rng(0).random((4, 5)) * 0.9
    lattice = Lattice(1, 1, (0.1, 0.35, 0.6, 0.85), (0.02, 0.27, 0.52, 0.77, 0.98))
    given = {"rows": list(lattice.rows), "columns": list(lattice.columns)}
    lines = page.evaluate("([n, c, t]) => draw.crossings(n, c, t)", [nodes.tolist(), given, threshold])
    side = 960  # ten pixels a step of the outline
    heat = lattice.heatmap(torch.from_numpy(nodes)[None], (side, side))[0].numpy()
    inside = heat >= threshold
    points = np.array(lines).reshape(-1, 2)
    assert bool(len(points)) == bool(inside.any())
    places = np.clip((points * side).astype(int), 0, side - 1)
    assert np.abs(heat[places[:, 1], places[:, 0]] - threshold).max(initial=0) < 0.03
    # and it is around all of it: along any row as many crossings as changes of side
    for row in (101, 333, 555, 777):
        changes = int((inside[row, 1:] != inside[row, :-1]).sum())
        y = (row + 0.5) / side
        crossed = sum((one[1] <= y) != (other[1] <= y) for one, other in lines)
        assert abs(changes - crossed) <= 1 if changes else crossed <= 1


def test_the_page_draws_and_names_it_for_the_mask_alone(
    document: Callable[..., Document], visit: Callable[..., Page]
) -> None:
    given = document(frames=0)
    nodes = [[1.0 if 2 <= row < 5 else 0.0] * 7 for row in range(7)]  # a band
    frame = given.tracks[0].frames[0]
    maps = {**frame.maps, "PredictedMask": replace(frame.maps["Attention"], nodes=nodes)}
    methods = [
        *given.methods,
        Method("PredictedMask", "probability", False, False, "The mask.", 1.0, 1, 0, 0, 1.0, True, threshold=0.5),
    ]
    track = replace(given.tracks[0], frames=[replace(frame, maps=maps)], maps=maps)
    centres = Centres([(i + 0.5) / 7 for i in range(7)], [(i + 0.5) / 7 for i in range(7)])
    page = visit(replace(given, methods=methods, tracks=[track], centres=centres))
    before = pixels(page)
    assert "threshold" not in page.locator("#cell").inner_text()
    page.locator("#method-picker button", has_text="The detector's own mask").click()
    settled(page, before)
    assert "Outline: where the map reaches the threshold 0.50." in page.locator("#cell").inner_text()
    assert page.locator("#regions tfoot tr").count() == 0, "a sum of probabilities means nothing"
    assert page.locator("#rounding").inner_text().startswith("The mean over the nodes of each region.")
    # half-way between the rows of the band and those beside it: dark, with white on both sides
    assert max(colour(page, "#face", 0.5, 2 / 7)[:3]) < 90
    assert max(colour(page, "#face", 0.5, 5 / 7)[:3]) < 90


def test_a_region_has_the_mean_of_a_mask_and_the_sum_of_contributions() -> None:
    net = make_net(mask_head="aux")
    weights = region_weights(AVERAGE_LANDMARKS.expand(3, 5, 2), net.lattice(64, 80))
    mask, shares = PredictedMask(net).attribute(IMAGES), Contribution(net).attribute(IMAGES)
    for place, found in enumerate(node_maps(mask, weights)):
        expected = (weights[place] * mask.node_map[place]).sum((1, 2)) / weights[place].sum((1, 2))
        torch.testing.assert_close(torch.tensor(found.regions), expected, atol=1e-5, rtol=1e-5)
        assert all(0 <= value <= 1 for value in found.regions)
    for found, total in zip(node_maps(shares, weights), shares.node_map.sum((1, 2)).tolist(), strict=True):
        assert sum(found.regions) == pytest.approx(total, abs=1e-5)


def test_shares_are_shown_where_faces_are_joined_by_noisy_or(
    document: Callable[..., Document], visit: Callable[..., Page]
) -> None:
    given = document(faces=2)
    tracks = [replace(track, share=share) for track, share in zip(given.tracks, (0.375, 0.625), strict=True)]
    page = visit(replace(given, tracks=tracks, decision=replace(given.decision, join="noisy_or")))
    assert [text.rpartition(", ")[2] for text in page.locator("#face-picker button").all_inner_texts()] == [
        "share 0.38",
        "share 0.63",
    ]
    page = visit(replace(given, tracks=tracks))
    assert "share" not in "".join(page.locator("#face-picker button").all_inner_texts())
