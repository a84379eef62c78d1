"""Regions must lie on the right part of any face, and share every node out completely."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from resgat_pl.core.errors import ConfigError
from resgat_pl.explain.regions import AVERAGE_LANDMARKS, LANDMARKS, REGIONS, inside_face, or_average, region_weights
from resgat_pl.nn.node_geometry import Lattice

OWN = ("left eye", "right eye", "nose", "mouth", "mouth")
"""Region in which each landmark lies."""
MIRRORED = [REGIONS.index(n) for n in ("right eye", "left eye", "nose", "mouth", "right cheek", "left cheek")] + [
    6,
    7,
    8,
]


def posed(
    degrees: float = 0.0, scale: float = 1.0, x: float = 0.5, y: float = 0.5, noise: Tensor | None = None
) -> Tensor:
    """``(1, 5, 2)`` landmarks of the average face, turned in the plane about its middle, scaled and put somewhere."""
    turn = math.radians(degrees)
    rotation = torch.tensor([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    face = AVERAGE_LANDMARKS - AVERAGE_LANDMARKS.mean(dim=0)
    if noise is not None:
        face = face + noise
    return ((face @ rotation) * scale + torch.tensor([x, y]))[None]


poses = st.builds(
    posed,
    degrees=st.floats(-180, 180),
    scale=st.floats(0.2, 1.5),
    x=st.floats(0, 1),
    y=st.floats(0, 1),
    noise=st.lists(st.floats(-0.03, 0.03), min_size=10, max_size=10).map(lambda v: torch.tensor(v).reshape(5, 2)),
)


@settings(deadline=None, max_examples=60)
@given(poses, st.integers(1, 20), st.integers(1, 20))
def test_every_node_is_shared_out_completely(face: Tensor, height: int, width: int) -> None:
    weights = region_weights(face, Lattice.even(height, width))
    assert weights.shape == (1, len(REGIONS), height, width)
    assert weights.dtype == torch.float32
    assert bool((weights >= 0).all())
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(1, height, width), rtol=0, atol=1e-5)


@settings(deadline=None, max_examples=60)
@given(poses)
def test_each_landmark_lies_in_its_region_and_inside_the_face(face: Tensor) -> None:
    weights = region_weights(face, Lattice.even(112, 112))
    inside = inside_face(face, Lattice.even(112, 112))
    for (x, y), region in zip(face[0].tolist(), OWN, strict=True):
        if 0 <= x < 1 and 0 <= y < 1:
            # A pixel's own centre may lie across a border that runs beside the landmark.
            rows, columns = ((round(v * 112 - 0.5) + torch.tensor([-1, 0, 1])).clamp(0, 111) for v in (y, x))
            near = weights[0, :, rows][:, :, columns].flatten(1).sum(dim=1)
            assert near[REGIONS.index(region)] > 0, region
            assert bool(inside[0, rows][:, columns].any())


@settings(deadline=None, max_examples=30)
@given(poses)
def test_the_mirror_image_of_a_face_has_mirrored_regions(face: Tensor) -> None:
    mirrored = face[:, [1, 0, 2, 4, 3]] * torch.tensor([-1.0, 1.0]) + torch.tensor([1.0, 0.0])
    here, there = region_weights(face, Lattice.even(7, 7)), region_weights(mirrored, Lattice.even(7, 7))
    difference = (here[:, MIRRORED].flip(-1) - there).abs()
    assert difference.max() < 0.03  # single sample points lie on a border, and rounding decides


@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_regions_turn_with_the_face(quarter: int) -> None:
    upright, turned = (
        region_weights(posed(), Lattice.even(24, 24)),
        region_weights(posed(-90.0 * quarter), Lattice.even(24, 24)),
    )
    assert (upright.rot90(quarter, dims=(2, 3)) - turned).abs().mean() < 1e-3


def centre(weights: Tensor, region: str) -> tuple[float, float]:
    """Column and row of a region's centre of mass, in [0, 1]."""
    share = weights[0, REGIONS.index(region)]
    steps = (torch.arange(len(share)) + 0.5) / len(share)
    return float((share.sum(0) * steps).sum() / share.sum()), float((share.sum(1) * steps).sum() / share.sum())


def test_regions_of_an_upright_face_lie_where_anatomy_puts_them() -> None:
    weights = region_weights(posed(), Lattice.even(112, 112))
    where = {name: centre(weights, name) for name in REGIONS[:-1]}
    x, y = ({name: place[axis] for name, place in where.items()} for axis in (0, 1))
    assert y["forehead"] < y["left eye"] < y["nose"] < y["mouth"] < y["chin"]
    assert y["left eye"] < y["left cheek"] < y["chin"]
    assert x["left cheek"] < x["left eye"] < x["nose"] < x["right eye"] < x["right cheek"]
    for name in ("forehead", "nose", "mouth", "chin"):
        assert x[name] == pytest.approx(0.5, abs=0.01)
    assert inside_face(posed(), Lattice.even(112, 112)).float().mean() == pytest.approx(0.31, abs=0.05)
    assert not inside_face(posed(), Lattice.even(112, 112))[0, [0, 0, -1, -1], [0, -1, 0, -1]].any()


def test_shares_of_nodes_are_the_shares_of_their_pixels() -> None:
    coarse, fine = region_weights(posed(12), Lattice.even(7, 7)), region_weights(posed(12), Lattice.even(224, 224))
    pooled = torch.nn.functional.avg_pool2d(fine, 32)
    assert (coarse - pooled).abs().max() < 0.03


def test_eyes_nose_and_mouth_follow_their_landmarks_on_a_face_that_looks_aside() -> None:
    aside = posed()
    aside[0, 2, 0] += 0.1  # the nose goes first
    weights = region_weights(aside, Lattice.even(112, 112))
    column, row = (int(v * 112) for v in aside[0, 2].tolist())
    assert weights[0, REGIONS.index("nose"), row, column] == 1
    straight = region_weights(posed(), Lattice.even(112, 112))
    assert centre(weights, "nose")[0] > centre(straight, "nose")[0] + 0.03
    assert centre(weights, "left eye")[0] == pytest.approx(centre(straight, "left eye")[0], abs=0.01)


def test_the_oval_stays_behind_on_a_face_that_looks_aside() -> None:
    aside = posed()
    aside[0, 2, 0] += 0.1
    before, after = (
        inside_face(face, Lattice.even(112, 112))[0].any(dim=0).nonzero().flatten() for face in (posed(), aside)
    )
    assert int(after.min()) < int(before.min()) - 5
    assert int(after.max()) <= int(before.max()) + 1


def test_a_profile_whose_landmarks_lie_on_a_line_still_has_regions() -> None:
    profile = AVERAGE_LANDMARKS.clone()[None]
    profile[..., 0] = 0.5
    weights = region_weights(profile, Lattice.even(14, 14))
    sizes = dict(zip(REGIONS, weights[0].sum(dim=(1, 2)).tolist(), strict=True))
    assert sizes.pop("left eye") + sizes.pop("right eye") > 0.5  # one hides the other
    assert min(sizes.values()) > 0.5


def test_many_faces_are_done_as_one_by_one() -> None:
    faces = torch.cat([posed(degrees) for degrees in range(-70, 71)])
    together = region_weights(faces, Lattice.even(3, 5))
    torch.testing.assert_close(together[100:101], region_weights(faces[100:101], Lattice.even(3, 5)))
    assert region_weights(faces[:0], Lattice.even(3, 5)).shape == (0, len(REGIONS), 3, 5)


def broken(index: int, value: float) -> Tensor:
    faces = posed().repeat(3, 1, 1)
    faces[1, index, 0] = value
    return faces


@pytest.mark.parametrize(
    ("landmarks", "message"),
    [
        (broken(3, math.nan), "1 of 3 faces are missing, first of face 1"),
        (broken(0, math.inf), "missing"),
        (posed() * 112, "pixels"),
        (torch.full((1, 5, 2), 0.5), "one spot"),
        (torch.full((1, 5, 2), 0.5) + torch.rand(5, 2) * 1e-4, "one spot"),
        (posed()[:, [1, 0, 2, 4, 3]], "order left eye, right eye"),
        (posed()[0], "give floats"),
        (torch.zeros(1, 5, 2, dtype=torch.int64), "give floats"),
        (torch.zeros(1, 10), "give floats"),
    ],
)
def test_landmarks_that_are_none_are_refused(landmarks: Tensor, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        region_weights(landmarks, Lattice.even(7, 7))


def test_unusable_landmarks_become_those_of_the_average_face() -> None:
    faces = torch.cat([posed(20), broken(3, math.nan)[1:2], posed() * 112, torch.full((1, 5, 2), 0.3), posed(-50)])
    usable, replaced = or_average(faces)
    assert replaced.tolist() == [False, True, True, True, False]
    assert torch.equal(usable[~replaced], faces[~replaced])
    assert bool((usable[replaced] == AVERAGE_LANDMARKS).all())
    region_weights(usable, Lattice.even(7, 7))


def test_a_grid_without_nodes_is_refused() -> None:
    with pytest.raises(ConfigError, match="grid is"):
        region_weights(posed(), Lattice.even(7, 0))


def test_there_are_as_many_names_as_points() -> None:
    assert AVERAGE_LANDMARKS.shape == (len(LANDMARKS), 2)
