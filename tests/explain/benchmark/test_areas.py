"""Areas that maps name, and seams: known answers on masks that are drawn by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import jaccard_score, roc_auc_score
from torch import Tensor

from resgat_pl.core.errors import ConfigError
from resgat_pl.explain.benchmark.areas import area_iou, best_threshold, extent, on_seam, pixel_auroc, seam_hits
from resgat_pl.nn.node_geometry import Lattice

GRID = Lattice.even(4, 4)


def square(first: int = 8, last: int = 16, images: int = 1) -> Tensor:
    """A mask of 32 px that covers exactly node (1, 1) of ``GRID``, unless moved."""
    mask = torch.zeros(images, 32, 32)
    mask[:, first:last, first:last] = 1
    return mask


def some_maps(images: int = 5) -> Tensor:
    return torch.randn(images, 4, 4, generator=torch.Generator().manual_seed(0))


def some_masks(images: int = 5) -> Tensor:
    masks = torch.zeros(images, 32, 32)
    for image in range(images):
        masks[image, 3 + image : 20, 5 : 14 + 2 * image] = 0.9
    return masks


def test_pixels_are_ranked_as_scikit_learn_ranks_them() -> None:
    maps, masks = some_maps(), some_masks()
    heat = GRID.heatmap(maps, (32, 32))
    for image, found in enumerate(pixel_auroc(maps, masks, GRID).tolist()):
        expected = roc_auc_score((masks[image] > 0.5).flatten(), heat[image].flatten())
        assert found == pytest.approx(expected, abs=1e-9)


def test_the_area_is_that_of_the_drawn_map() -> None:
    maps, masks = some_maps(), some_masks()
    heat = GRID.heatmap(maps.double(), (32, 32))
    for threshold in (-0.5, 0.0, 0.7):
        for image, found in enumerate(area_iou(maps, masks, GRID, threshold).tolist()):
            expected = jaccard_score((masks[image] > 0.5).flatten(), (heat[image] >= threshold).flatten())
            assert found == pytest.approx(expected)


def test_naming_nothing_everything_or_a_half_has_a_known_area() -> None:
    mask = torch.zeros(1, 32, 32)
    mask[:, :16] = 1
    assert area_iou(torch.zeros(1, 4, 4), mask, GRID, 1.0).item() == 0
    assert area_iou(torch.ones(1, 4, 4), mask, GRID, 0.5).item() == 0.5
    assert area_iou(torch.ones(1, 4, 4), torch.zeros(1, 32, 32), GRID, 0.5).isnan().all()
    assert area_iou(torch.ones(1, 4, 4), mask, GRID, math.nan).isnan().all()
    assert area_iou(torch.ones(1, 4, 4), torch.ones(1, 32, 32), GRID, 0.5).item() == 1  # whole-face masks count


def test_the_threshold_is_the_best_of_all_that_could_be_chosen() -> None:
    maps, masks = some_maps(), some_masks()
    chosen = best_threshold(maps, masks, GRID)
    best = area_iou(maps, masks, GRID, chosen).mean().item()
    heights = torch.cat([maps.flatten(), torch.linspace(-3, 3, 400)])
    reached = [area_iou(maps, masks, GRID, height).mean().item() for height in heights.tolist()]
    assert best >= max(reached) - 0.02  # as fine as a few nodes allow
    assert best > np.mean(reached) + 0.05


def test_images_without_a_mask_choose_no_threshold() -> None:
    maps, masks = some_maps(), some_masks()
    blank = torch.cat([masks, torch.zeros(2, 32, 32)])
    wild = torch.cat([maps, 50 * torch.ones(2, 4, 4)])
    assert best_threshold(wild, blank, GRID) == best_threshold(maps, masks, GRID)
    assert math.isnan(best_threshold(maps, torch.zeros(5, 32, 32), GRID))


def test_a_map_that_is_level_names_everything_or_nothing() -> None:
    threshold = best_threshold(torch.full((3, 4, 4), 0.3), square(images=3), GRID)
    assert threshold < 0.3
    assert area_iou(torch.full((1, 4, 4), 0.3), square(), GRID, threshold).item() == pytest.approx(64 / 1024)


def test_of_equally_good_thresholds_the_highest_names_the_least() -> None:
    maps = torch.tensor([[3.0, 3.0], [1.0, 1.0]]).expand(2, -1, -1)
    masks = torch.tensor([[[1.0, 1.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]])
    # Everything named is .5 and 1, the upper half 1 and .5.
    assert best_threshold(maps, masks, Lattice.even(2, 2)) == 2


def test_genuine_faces_raise_a_threshold_that_would_name_a_part_of_them() -> None:
    masks = torch.zeros(2, 4, 4)
    masks[:, :2] = 1
    maps = torch.tensor([[[3.0, 3.0], [0.0, 0.0]], [[1.0, 1.0], [0.0, 0.0]]])
    grid = Lattice.even(2, 2)
    assert best_threshold(maps, masks, grid) == 0.5
    loud, quiet = torch.full((4, 2, 2), 0.9), torch.full((4, 2, 2), 0.4)
    # At 2 one fake is lost, a half, and four genuine faces are spared; of quiet ones all are spared anyway.
    assert best_threshold(maps, masks, grid, loud) == 2
    assert best_threshold(maps, masks, grid, quiet) == 0.5
    assert best_threshold(maps, masks, grid, torch.zeros(0, 2, 2)) == 0.5


def test_the_seam_touches_the_nodes_on_either_side() -> None:
    touched = on_seam(square(), GRID)[0]
    expected = torch.zeros(4, 4, dtype=torch.bool)
    expected[:3, :3] = True
    assert touched.equal(expected)
    assert on_seam(square(18, 22), GRID)[0].nonzero().tolist() == [[2, 2]]  # inside one cell
    large = on_seam(square(4, 28), GRID)[0]
    assert not large[1:3, 1:3].any()  # the middle of a large mask is far from its seam
    assert large.sum() == 12


def test_the_border_of_the_picture_is_no_seam() -> None:
    mask = torch.zeros(1, 32, 32)
    mask[:, :, :12] = 1
    assert on_seam(mask, GRID)[0].nonzero()[:, 1].unique().tolist() == [1]
    assert not on_seam(torch.ones(1, 32, 32), GRID).any()


def test_hits_are_shares_of_the_top_nodes_and_chance_of_all() -> None:
    maps = torch.zeros(2, 7, 7)
    grid = Lattice.even(7, 7)
    masks = torch.zeros(2, 56, 56)
    masks[:, 16:40, 16:40] = 1  # nodes 2 to 4: rim between nodes 1 | 2 and 4 | 5
    maps[0, 3, 3] = 9
    maps[0, 2, 2:6] = 5
    maps[1, 0, :5] = 5
    hits, chance = seam_hits(maps, masks, grid)
    assert hits.tolist() == pytest.approx([4 / 5, 0])
    assert chance.tolist() == pytest.approx([(25 - 1) / 49] * 2)
    assert all(part.isnan().all() for part in seam_hits(maps, torch.ones(2, 56, 56), grid))


def test_part_and_whole_face_forgeries() -> None:
    inside = torch.zeros(1, 4, 4, dtype=torch.bool)
    inside[:, 1:3] = True  # 8 nodes
    covers = torch.zeros(4, 4, 4)
    covers[0, 1] = 1  # 4 of 8: not more than half
    covers[1, 1:3, :3] = 0.3  # 6 of 8
    covers[2, 0] = 1  # none in the face
    assert extent(covers, inside.expand(4, -1, -1)).tolist() == ["part", "whole", "part", ""]


@pytest.mark.parametrize("score", [pixel_auroc, best_threshold, seam_hits])
def test_what_makes_no_sense_is_refused(score) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match="must be"):
        score(some_maps(), some_masks(4), GRID)
    with pytest.raises(ConfigError, match="of a map are not finite"):
        score(some_maps() * torch.nan, some_masks(), GRID)
