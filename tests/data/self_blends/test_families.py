from __future__ import annotations

import numpy as np
import pytest

from resgat_pl.data.self_blends.families import FAMILIES, SHAPES_OF, change_in, mixed
from resgat_pl.data.self_blends.masks import SHAPES, draw_mask

from ...helpers.drawn_faces import SIDE, drawn_face

DRAWS = 12


@pytest.mark.parametrize("family", FAMILIES)
def test_a_fake_equals_its_target_where_the_mask_is_nothing(family: str) -> None:
    changes = []
    for seed in range(DRAWS):
        image, landmarks = drawn_face(seed % 3)
        before = image.copy()
        rng = np.random.default_rng(seed)
        shape = "part" if seed % 2 else "eyes"
        mask = draw_mask(rng, shape, landmarks * SIDE, SIDE)
        target, fake = FAMILIES[family](rng, image, mask)
        assert (image == before).all()
        assert target.shape == fake.shape == image.shape
        assert fake.dtype == np.uint8
        # Poisson blending takes the pixel beside the rim along, too.
        away = mask == 0 if family != "clone" else np.lib.stride_tricks.sliding_window_view(
            np.pad(mask, 1), (3, 3)
        ).max(axis=(2, 3)) == 0  # fmt: skip
        assert (target[away] == fake[away]).all()
        changes.append(change_in(target, fake, mask))
    assert np.median(changes) > 2, "nobody could find this"
    assert min(changes) > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_a_mask_at_the_edge_or_of_nothing_fails_nobody(family: str) -> None:
    image, _ = drawn_face(0)
    for area in (np.s_[:20, :20], np.s_[-1:, :], np.s_[:, :], np.s_[:0, :0], np.s_[60:61, 60:61]):
        mask = np.zeros((SIDE, SIDE), np.float32)
        mask[area] = 1
        target, fake = FAMILIES[family](np.random.default_rng(0), image, mask)
        assert target.shape == fake.shape == image.shape


def test_mixing() -> None:
    target, source = np.full((1, 3, 3), 10, np.uint8), np.full((1, 3, 3), 110, np.uint8)
    assert mixed(target, source, np.array([[0, 0.5, 1]], np.float32))[0, :, 0].tolist() == [10, 60, 110]


def test_change_inside_the_mask() -> None:
    target, fake = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.uint8)
    fake[:2] = 8
    mask = np.zeros((4, 4), np.float32)
    assert change_in(target, fake, mask) == 0
    mask[:2] = 0.5
    assert change_in(target, fake, mask) == 8
    mask[:] = 0.5
    assert change_in(target, fake, mask) == 4


def test_shapes_of_families_exist() -> None:
    assert set(SHAPES_OF) <= set(FAMILIES)
    assert all(shapes <= set(SHAPES) for shapes in SHAPES_OF.values())
