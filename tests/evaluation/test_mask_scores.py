from __future__ import annotations

import pytest
import torch
from torch import Tensor

from resgat_pl.evaluation.localisation import aupro
from resgat_pl.evaluation.mask_scores import MaskScores
from resgat_pl.explain.benchmark.areas import area_iou, best_threshold, pixel_auroc
from resgat_pl.nn.node_geometry import Lattice

LATTICE = Lattice.even(4, 4)


def some_faces(fakes: int = 5, genuine: int = 4) -> tuple[Tensor, Tensor]:
    """Masks of nodes that find what is altered, more or less."""
    generator = torch.Generator().manual_seed(0)
    masks = torch.zeros(fakes + genuine, 32, 32)
    for place in range(fakes):
        top, left = torch.randint(0, 20, (2,), generator=generator).tolist()
        masks[place, top : top + 12, left : left + 12] = 1
    noise = torch.rand(fakes + genuine, 4, 4, generator=generator)
    return (0.6 * LATTICE.cover(masks) + 0.4 * noise).clamp(0, 1), masks


def test_scores_are_those_of_other_maps() -> None:
    maps, masks = some_faces()
    found = MaskScores.of(torch.arange(9), maps, masks, LATTICE)
    for threshold in (0.01, 0.2, 0.5, 0.77, 0.99):
        expected = area_iou(maps, masks, LATTICE, threshold)
        torch.testing.assert_close(found.iou[:, round(100 * threshold) - 1].double(), expected, equal_nan=True)
    torch.testing.assert_close(found.auroc, pixel_auroc(maps, masks, LATTICE), equal_nan=True)
    torch.testing.assert_close(found.aupro, aupro(maps, masks, LATTICE), equal_nan=True)
    assert found.forged.tolist() == [True] * 5 + [False] * 4


def test_the_threshold_is_as_good_as_that_of_other_maps() -> None:
    """One rule for all maps; theirs tries other numbers between the nodes."""
    maps, masks = some_faces()
    mine = MaskScores.of(torch.arange(9), maps, masks, LATTICE).best_threshold()
    theirs = best_threshold(maps[:5], masks[:5], LATTICE, maps[5:])

    def worth(threshold: float) -> float:
        spared = (maps[5:].flatten(1).amax(dim=1) < threshold).double().mean()
        return float(area_iou(maps[:5], masks[:5], LATTICE, threshold).mean() + spared)

    assert mine is not None
    assert worth(mine) == pytest.approx(worth(theirs), abs=0.02)
    assert worth(mine) > worth(0.2)


def test_summaries_of_a_perfect_and_of_a_blind_mask() -> None:
    masks = torch.zeros(3, 32, 32)
    masks[:2, :16] = 1
    perfect = MaskScores.of(torch.arange(3), LATTICE.cover(masks), masks, LATTICE).summary(0.5)
    assert perfect["mask_iou"] == perfect["mask_auroc"] == perfect["mask_spared"] == 1
    assert perfect["mask_f1"] == 1
    blind = MaskScores.of(torch.arange(3), torch.full((3, 4, 4), 0.7), masks, LATTICE).summary(0.6)
    assert blind["mask_iou"] == pytest.approx(0.5)
    assert blind["mask_f1"] == pytest.approx(2 / 3)
    assert (blind["mask_auroc"], blind["mask_spared"]) == (0.5, 0)


def test_what_is_not_defined_is_left_out() -> None:
    genuine = MaskScores.of(torch.arange(2), torch.rand(2, 4, 4), torch.zeros(2, 32, 32), LATTICE)
    assert genuine.best_threshold() is None
    assert set(genuine.summary(None)) == {"mask_spared"}
    maps, masks = some_faces(3, 0)
    quick = MaskScores.of(torch.arange(3), maps, masks, LATTICE, regions=False)
    assert set(quick.summary(0.5)) == {"mask_iou", "mask_f1", "mask_iou_half"}


def test_each_face_counts_once_however_the_faces_were_divided() -> None:
    maps, masks = some_faces()
    whole = MaskScores.of(torch.arange(9), maps, masks, LATTICE)
    divided = [8, 0, 3], [1, 2, 4, 5], [6, 7, 0]
    parts = [MaskScores.of(torch.tensor(rows), maps[rows], masks[rows], LATTICE) for rows in divided]
    joined = MaskScores.join(parts)
    assert joined is not None
    for name in MaskScores.__dataclass_fields__:
        assert torch.equal(getattr(joined, name).nan_to_num(), getattr(whole, name).nan_to_num()), name
    assert MaskScores.join([]) is None
