"""Pictures that belong together, and pictures that only have a name in common."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from resgat_pl.data.extraction.original_match import Agreement, agreement

BOX = np.array([60, 30, 190, 160], np.int32)
Image = NDArray[np.uint8]


def scene(seed: int, size: tuple[int, int] = (320, 240)) -> Image:
    rng = np.random.default_rng(seed)
    return cv2.resize(rng.integers(0, 255, (12, 16, 3), np.uint8), size, interpolation=cv2.INTER_CUBIC)


def swapped(image: Image, seed: int = 9) -> Image:
    """Another face in the same place."""
    fake = image.copy()
    x0, y0, x1, y1 = (int(value) for value in BOX + np.array([15, 15, -15, -15]))
    fake[y0:y1, x0:x1] = scene(seed)[y0:y1, x0:x1]
    return fake


def coded(image: Image, quality: int) -> Image:
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


def seen(fake: Image, original: Image, *boxes: NDArray[np.int32]) -> Agreement:
    return agreement([(fake, original, boxes or [BOX])], 1.3)


@pytest.mark.parametrize("quality", [95, 40, 10])
@pytest.mark.parametrize("seed", range(4))
def test_a_swapped_face_in_the_same_picture_is_a_pair(seed: int, quality: int) -> None:
    found = seen(coded(swapped(scene(seed)), quality), scene(seed))
    assert found.relation == "pair"
    assert not found.refuted
    wide = np.hstack([scene(seed), scene(seed)])
    assert seen(swapped(wide), wide).relation == "pair"


@pytest.mark.parametrize("seed", range(8))
def test_two_pictures_of_one_name_are_strangers(seed: int) -> None:
    found = seen(scene(seed), scene(seed + 100))
    assert found.relation == "unrelated"
    assert found.refuted
    assert seen(scene(seed, (400, 300)), scene(seed + 100)).relation == "unrelated"  # of another size, too


def test_a_face_on_a_plain_wall_elsewhere_is_no_pair() -> None:
    """Most of the pictures agree: they are the same grey."""
    wall = np.full((240, 320, 3), 128, np.uint8)
    real, fake = wall.copy(), wall.copy()
    real[40:110, 20:90] = scene(1)[40:110, 20:90]
    fake[140:210, 220:290] = scene(2)[140:210, 220:290]
    found = seen(fake, real, np.array([15, 35, 95, 115], np.int32))
    assert not found.faces
    assert found.relation == "unrelated"
    assert "no face where the original has one" in str(found)
    assert seen(wall, np.full_like(wall, 60), np.array([0, 0, 9, 9])).relation == "unrelated"


def test_a_picture_scaled_or_turned_is_not_taken_for_the_same() -> None:
    image = scene(3)
    assert seen(cv2.resize(image, (400, 300)), image).relation == "pair"  # but not of one size: see ``cutting``
    assert seen(image[:, ::-1], image).relation != "pair"
    assert seen(np.roll(image, 60, axis=1), image).relation != "pair"


def test_nothing_to_compare_is_doubt() -> None:
    wall = np.full((240, 320, 3), 128, np.uint8)
    assert seen(wall, wall).relation == "doubt"
    nothing = agreement([], 1.3)
    assert nothing.relation == "doubt"
    assert not nothing.refuted
    partly = scene(5)
    partly[:, 180:] = scene(6)[:, 180:]
    assert seen(partly, scene(5)).relation == "doubt"


@pytest.mark.parametrize("how", ["mirrored", "shifted", "scaled"])
def test_what_shows_the_same_at_another_place_is_in_doubt(how: str) -> None:
    """It was made from it, but cannot be cut like it: it must not come to another split."""
    rng = np.random.default_rng(3)
    original = np.full((256, 320, 3), 90, np.uint8)
    for _ in range(150):
        corner, size, colour = rng.integers(0, 300, 2), rng.integers(6, 40, 2), rng.integers(0, 256, 3).tolist()
        cv2.rectangle(original, tuple(corner.tolist()), tuple((corner + size).tolist()), colour, -1)
    face = np.array([120, 80, 184, 144], np.int32)
    fake = original.copy()
    fake[90:130, 130:170] = rng.integers(0, 256, 3)
    fakes = {
        "mirrored": fake[:, ::-1],
        "shifted": np.roll(fake, (40, -50), (0, 1)),
        "scaled": cv2.resize(fake, None, fx=1.5, fy=1.5)[64:320, 80:400],
    }
    found = agreement([(np.ascontiguousarray(fakes[how]), original, [face])], 1.3)
    assert found.copy
    assert found.relation == "doubt"
    strange = np.ascontiguousarray(rng.permutation(fake.reshape(-1, 3)).reshape(fake.shape))
    assert agreement([(strange, original, [face])], 1.3).relation == "unrelated"
