from __future__ import annotations

import numpy as np
import pytest

from resgat_pl.data.self_blends.masks import OPACITIES, SHAPES, displaced, draw_mask, wave

from ...helpers.drawn_faces import SIDE, drawn_face

DRAWS = 25


@pytest.mark.parametrize("shape", SHAPES)
def test_masks_are_shares_with_a_core(shape: str) -> None:
    _, landmarks = drawn_face(0)
    for seed in range(DRAWS):
        mask = draw_mask(np.random.default_rng(seed), shape, landmarks * SIDE, SIDE)
        assert mask.shape == (SIDE, SIDE)
        assert mask.dtype == np.float32
        assert mask.min() >= 0
        assert min(OPACITIES) * 0.9 <= mask.max() <= 1
        assert (mask > 0).any()
        assert (mask == 0).any()


@pytest.mark.parametrize(
    ("shape", "least", "most"), [("whole", 0.12, 0.5), ("lower", 0.03, 0.3), ("part", 0.003, 0.15)]
)
def test_shapes_have_their_size(shape: str, least: float, most: float) -> None:
    _, landmarks = drawn_face(1)
    masks = [draw_mask(np.random.default_rng(seed), shape, landmarks * SIDE, SIDE) for seed in range(DRAWS)]
    areas = [float((mask > 0.5 * mask.max()).mean()) for mask in masks]
    assert least < np.median(areas) < most


def test_shapes_lie_on_their_part_of_the_face() -> None:
    _, landmarks = drawn_face(2)
    points = landmarks * SIDE
    for seed in range(DRAWS):
        eyes, lower = (draw_mask(np.random.default_rng(seed), name, points, SIDE) > 0.25 for name in ("eyes", "lower"))
        assert abs(np.nonzero(eyes)[0].mean() - points[:2, 1].mean()) < 0.06 * SIDE
        assert np.nonzero(lower)[0].mean() > points[2, 1]


def test_shapes_move_with_the_face() -> None:
    """A face that lies elsewhere has its mask there; one outside has none."""
    _, landmarks = drawn_face(0)
    here, there = (
        draw_mask(np.random.default_rng(3), "part", landmarks * SIDE / 2 + shift, SIDE) for shift in (0, SIDE / 2)
    )
    moved = [np.array(np.nonzero(mask > 0.3)).mean(axis=1) for mask in (here, there)]
    assert np.allclose(moved[1] - moved[0], SIDE / 2, atol=5)
    assert not draw_mask(np.random.default_rng(3), "part", landmarks * SIDE + 10 * SIDE, SIDE).any()


def test_masks_differ_from_draw_to_draw() -> None:
    _, landmarks = drawn_face(0)
    masks = {draw_mask(np.random.default_rng(seed), "blob", landmarks * SIDE, SIDE).tobytes() for seed in range(DRAWS)}
    assert len(masks) == DRAWS


def test_waves_and_displacement() -> None:
    field = wave(np.random.default_rng(0), 64, 6)
    assert field.shape == (64, 64)
    assert 0.4 < field.std() < 1.6
    picture = np.arange(64, dtype=np.uint8)[None].repeat(64, axis=0)
    shifted = displaced(picture, np.full((64, 64), 3, np.float32), np.zeros((64, 64), np.float32))
    assert (shifted[:, :60] == picture[:, 3:63]).all()
