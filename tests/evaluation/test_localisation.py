"""Localisation scores: against independent implementations, and by their properties."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import ndimage
from sklearn.metrics import roc_auc_score
from torch import Tensor

from resgat_pl.core.errors import ConfigError
from resgat_pl.evaluation.localisation import aupro, mass_accuracy, node_auroc, pointing_game
from resgat_pl.nn.node_geometry import Lattice


def grid_of(maps: Tensor) -> Lattice:
    """Equal cells for maps ``(B, h, w)``."""
    return Lattice.even(*maps.shape[1:])


def some_maps(images: int = 6, side: int = 7, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randn(images, side, side, generator=generator)
    covers = torch.rand(images, side, side, generator=generator) * (
        torch.rand(images, side, side, generator=generator) > 0.5
    )
    return maps, covers


def masks_with_regions(images: int = 4, size: int = 21) -> Tensor:
    masks = torch.zeros(images, size, size)
    for image in range(images):
        masks[image, 2 : 5 + image, 3:9] = 1
        masks[image, 14:20, 11:13] = 1
    return masks


def test_auroc_is_that_of_scikit_learn() -> None:
    maps, covers = some_maps()
    maps = (maps * 2).round()  # many ties
    found = node_auroc(maps, covers)
    for image in range(len(maps)):
        expected = roc_auc_score((covers[image] > 0.2).flatten(), maps[image].flatten())
        assert found[image].item() == pytest.approx(expected, abs=1e-12)


def test_auroc_inside_counts_only_the_nodes_inside() -> None:
    maps, covers = some_maps(seed=1)
    valid = torch.rand(maps.shape, generator=torch.Generator().manual_seed(2)) > 0.4
    found = node_auroc(maps, covers, valid)
    for image in range(len(maps)):
        expected = roc_auc_score((covers[image] > 0.2)[valid[image]], maps[image][valid[image]])
        assert found[image].item() == pytest.approx(expected, abs=1e-12)
    wild = torch.where(valid, maps, 1e6 * torch.randn_like(maps))
    assert node_auroc(wild, covers, valid).equal(found)


def test_a_node_is_positive_above_a_fifth() -> None:
    maps = torch.arange(4.0).reshape(1, 2, 2)
    covers = torch.tensor([[[0.0, 0.2], [0.1, 0.21]]])
    assert node_auroc(maps, covers).item() == 1
    assert node_auroc(-maps, covers).item() == 0
    assert pointing_game(maps, covers).item() == 1


@pytest.mark.parametrize("cover", [0.0, 1.0])
def test_undefined_where_nothing_or_everything_is_manipulated(cover: float) -> None:
    maps, covers = some_maps(2)
    covers[1] = cover
    masks = torch.stack([torch.eye(14), torch.full((14, 14), cover)])
    for found in (
        node_auroc(maps, covers),
        pointing_game(maps, covers),
        mass_accuracy(maps, covers),
        aupro(maps, masks, grid_of(maps)),
    ):
        assert found.isnan().tolist() == [False, True]


def test_a_map_that_is_the_mask_is_perfect_and_its_negative_worst() -> None:
    masks = masks_with_regions()
    covers = Lattice.even(21, 21).cover(masks)
    for maps, best in ((masks, 1.0), (-masks, 0.0)):
        assert node_auroc(maps, covers).tolist() == [best] * 4
        assert pointing_game(maps, covers).tolist() == [best] * 4
        assert mass_accuracy(maps, covers).tolist() == [best] * 4
    assert aupro(masks, masks, grid_of(masks)).tolist() == pytest.approx([1.0] * 4)
    # cut below its middle, the negative finds all clean pixels before any other
    assert aupro(-masks, masks, grid_of(masks)).tolist() == [0.0] * 4


def test_a_constant_map_is_worth_chance() -> None:
    masks = masks_with_regions()
    covers = Lattice.even(7, 7).cover(masks)
    flat = torch.ones(4, 7, 7)
    positive = (covers > 0.2).double().mean(dim=(1, 2))
    assert node_auroc(flat, covers).tolist() == [0.5] * 4
    assert pointing_game(flat, covers).tolist() == pytest.approx(positive.tolist())
    assert mass_accuracy(flat, covers).tolist() == pytest.approx(masks.mean(dim=(1, 2)).tolist())
    assert aupro(flat, masks, grid_of(flat)).tolist() == pytest.approx([0.15] * 4)


def test_a_map_without_positive_values_has_no_mass_inside() -> None:
    _, covers = some_maps(3)
    assert mass_accuracy(-torch.ones(3, 7, 7), covers).tolist() == [0.0] * 3


def test_mass_is_what_lies_inside_of_the_pixels() -> None:
    masks = masks_with_regions()
    maps = torch.randn(4, 7, 7, generator=torch.Generator().manual_seed(3))
    painted = maps.repeat_interleave(3, 1).repeat_interleave(3, 2).clamp(min=0)
    expected = (painted * masks).sum(dim=(1, 2)) / painted.sum(dim=(1, 2))
    assert mass_accuracy(maps, Lattice.even(7, 7).cover(masks)).tolist() == pytest.approx(expected.tolist())


def slow_aupro(heat: np.ndarray, mask: np.ndarray, limit: float) -> float:
    """Bergmann et al., threshold by threshold, with another labelling and another integration."""
    labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
    curve = [(0.0, 0.0)]
    for height in sorted(set(heat.ravel()), reverse=True):
        found = heat >= height
        overlap = np.mean([found[labels == region].mean() for region in range(1, count + 1)])
        curve.append((found[~mask].mean(), overlap))
    area = 0.0
    for (x0, y0), (x1, y1) in itertools.pairwise(curve):
        if x0 >= limit:
            break
        end = min(x1, limit)
        y_end = y0 + (y1 - y0) * ((end - x0) / (x1 - x0) if x1 > x0 else 1.0)
        area += (end - x0) * (y0 + y_end) / 2
    return area / limit


@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
def test_aupro_is_the_one_computed_slowly(limit: float) -> None:
    masks = masks_with_regions()
    maps = torch.randn(4, 21, 21, generator=torch.Generator().manual_seed(4)).mul(3).round()
    found = aupro(maps, masks, grid_of(maps), limit)
    for image in range(4):
        expected = slow_aupro(maps[image].double().numpy(), masks[image].bool().numpy(), limit)
        assert found[image].item() == pytest.approx(expected, abs=1e-9)


def test_aupro_counts_a_small_region_like_a_large_one() -> None:
    mask = torch.zeros(1, 20, 20)
    mask[0, 1:11, 1:11] = 1
    mask[0, 15:17, 15:17] = 1
    large, small = mask.clone(), mask.clone()
    large[0, 12:] = 0
    small[0, :12] = 0
    # What is not found comes with the clean pixels, along a straight line: half of it at 0.3 / 2 on average.
    assert aupro(large, mask, grid_of(large)).item() == pytest.approx(aupro(small, mask, grid_of(small)).item())
    assert aupro(large, mask, grid_of(large)).item() == pytest.approx(0.5 + 0.5 * 0.15)


def test_order_is_all_that_matters_to_the_rank_scores() -> None:
    maps, covers = some_maps(seed=5)
    for score in (node_auroc, pointing_game):
        assert score(maps, covers).equal(score(maps.exp() * 7 + 2, covers))


def test_images_do_not_influence_each_other() -> None:
    maps, covers = some_maps(seed=6)
    masks = masks_with_regions()
    for score in (node_auroc, pointing_game, mass_accuracy):
        alone = torch.cat([score(maps[i : i + 1], covers[i : i + 1]) for i in range(len(maps))])
        assert score(maps, covers).equal(alone)
    together = aupro(maps[:4], masks, grid_of(maps))
    assert together.equal(torch.cat([aupro(maps[i : i + 1], masks[i : i + 1], grid_of(maps)) for i in range(4)]))


@pytest.mark.parametrize(
    ("score", "message"),
    [
        (lambda m, c: node_auroc(m, c[:, :3]), "one and the same"),
        (lambda m, c: node_auroc(m.flatten(1), c.flatten(1)), "one and the same"),
        (lambda m, c: node_auroc(m, c, torch.ones(1, 7, 7, dtype=torch.bool)), "one and the same"),
        (lambda m, c: pointing_game(m * torch.nan, c), "not finite"),
        (lambda m, c: mass_accuracy(m, c / 0), "not finite"),
        (lambda m, c: aupro(m, c[:2], grid_of(m)), "6 maps but 2 masks"),
        (lambda m, c: aupro(m, c, grid_of(m), 0.0), "limit is 0.0"),
    ],
)
def test_what_makes_no_sense_is_refused(score, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match=message):
        score(*some_maps())
