from __future__ import annotations

from itertools import pairwise
from typing import Any, get_args

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from resgat_pl.core.errors import ConfigError
from resgat_pl.data.synth.drawn import draw_clip
from resgat_pl.evaluation.corruptions import STRENGTHS, Corruption, CorruptionKind

KINDS: tuple[CorruptionKind, ...] = get_args(CorruptionKind)
Image = NDArray[np.uint8]


@pytest.fixture(scope="module")
def face() -> Image:
    frame = draw_clip([np.random.default_rng(1)], np.random.default_rng(0), 1, 256).frames[0]
    return np.asarray(frame[16:240, 16:240])


def flat(colour: tuple[int, int, int], height: int = 224, width: int = 224) -> Image:
    return np.full((height, width, 3), colour, np.uint8)


@pytest.mark.parametrize("kind", KINDS)
def test_damage_grows_with_strength(face: Image, kind: CorruptionKind) -> None:
    before = face.copy()
    psnr = [cv2.PSNR(face, Corruption(kind, strength)(face, seed=3)) for strength in range(1, 6)]
    assert all(one > other + 0.5 for one, other in pairwise(psnr)), psnr
    assert psnr[0] < 50, "the mildest can be measured"
    assert psnr[4] > 15, "the face is still there"
    assert np.array_equal(face, before)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strength", [1, 5])
@pytest.mark.parametrize("shape", [(224, 224), (225, 223), (224, 97), (33, 64), (2, 3), (1, 1)])
def test_shape_and_dtype_stay(face: Image, kind: CorruptionKind, strength: int, shape: tuple[int, int]) -> None:
    image = cv2.resize(face, shape[::-1])
    changed = Corruption(kind, strength)(np.asarray(image, np.uint8), seed=0)
    assert changed.shape == (*shape, 3)
    assert changed.dtype == np.uint8


@pytest.mark.parametrize("kind", KINDS)
def test_same_image_and_seed_give_the_same(face: Image, kind: CorruptionKind) -> None:
    corrupt = Corruption(kind, 3)
    results, draws = [], []
    for state in (0, 1):
        np.random.seed(state)  # noqa: NPY002  # the global state is what is tested
        cv2.setRNGSeed(state)
        results.append(corrupt(face, seed=5))
        draws.append(np.random.random())  # noqa: NPY002
    assert np.array_equal(results[0], results[1])
    np.random.seed(1)  # noqa: NPY002
    assert draws[1] == np.random.random(), "the global random state was moved"  # noqa: NPY002
    assert np.array_equal(results[0], corrupt(face, seed=6)) == (kind != "noise")


@pytest.mark.parametrize("kind", ["jpeg", "blur", "resize", "h264"])
@pytest.mark.parametrize("colour", [(220, 30, 30), (30, 30, 220), (200, 160, 140), (0, 0, 0), (255, 255, 255)])
def test_colours_stay_in_their_channels(kind: CorruptionKind, colour: tuple[int, int, int]) -> None:
    changed = Corruption(kind, 1)(flat(colour, 65, 47), seed=0)
    assert np.abs(changed.astype(int) - colour).max() <= 6


def test_bottom_and_right_edge_of_odd_images_are_not_padding() -> None:
    rng = np.random.default_rng(0)
    smooth = cv2.GaussianBlur(rng.integers(0, 255, (63, 65, 3)).astype(np.uint8), (0, 0), 6)
    changed = Corruption("h264", 1)(np.asarray(smooth, np.uint8), seed=0)
    difference = np.abs(changed.astype(int) - smooth)
    assert difference[-1].mean() < 4
    assert difference[:, -1].mean() < 4


def test_noise_has_its_deviation_in_every_channel_and_one_pattern() -> None:
    grey = flat((128, 128, 128))
    noise = [Corruption("noise", strength)(grey, seed=1).astype(float) - 128 for strength in range(1, 5)]
    for pattern, sd in zip(noise, (2, 5, 10, 20), strict=True):
        assert pattern.std(axis=(0, 1)) == pytest.approx(sd, rel=0.03)
        assert abs(pattern.mean()) < sd / 50
    assert np.corrcoef(noise[1].ravel(), noise[3].ravel())[0, 1] > 0.99
    assert abs(np.corrcoef(noise[3][..., 0].ravel(), noise[3][..., 1].ravel())[0, 1]) < 0.05


@pytest.mark.parametrize(("side", "width", "sigma"), [(224, 224, 2.0), (448, 448, 4.0), (112, 224, 2.0)])
def test_blur_is_in_proportion_to_the_longer_side(side: int, width: int, sigma: float) -> None:
    image = flat((0, 0, 0), side, width)
    image[:, width // 2 :] = 255
    edge = Corruption("blur", 3)(image, seed=0)[side // 2, :, 0].astype(float)
    spread = np.diff(edge)  # the derivative of a blurred edge is the kernel
    at = np.arange(spread.size)
    mean = np.average(at, weights=spread)
    assert np.sqrt(np.average((at - mean) ** 2, weights=spread)) == pytest.approx(sigma, rel=0.08)


def test_resizing_takes_away_what_a_smaller_image_cannot_hold() -> None:
    stripes = flat((0, 0, 0))
    stripes[:, ::2] = 255
    assert Corruption("resize", 2)(stripes, seed=0).std() < 10
    steps = np.kron(np.arange(4)[None] * 60, np.ones((224, 56)))[..., None].repeat(3, axis=2).astype(np.uint8)
    assert np.abs(Corruption("resize", 2)(steps, seed=0)[:, 28::56].astype(int) - steps[:, 28::56]).max() == 0


def test_every_strength_has_a_label() -> None:
    assert STRENGTHS.keys() == set(KINDS)
    assert all(len(set(labels)) == 5 for labels in STRENGTHS.values())
    assert STRENGTHS["jpeg"][0] == "quality 90"
    assert STRENGTHS["h264"][4] == "CRF 42"


@pytest.mark.parametrize(
    ("kind", "strength", "message"),
    [
        ("fog", 1, "kind: 'fog'.*jpeg, blur, noise, resize, h264"),
        ("jpeg", 0, "strength: 0 of jpeg.*1 .* to 5"),
        ("jpeg", 6, "strength: 6"),
        ("blur", 2.5, "strength: 2.5"),
        ("blur", "3", "strength: '3'"),
    ],
)
def test_unknown_kinds_and_strengths(kind: Any, strength: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Corruption(kind, strength)
