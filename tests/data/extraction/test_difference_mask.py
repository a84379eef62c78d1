from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from resgat_pl.data.extraction.difference_mask import difference_mask
from resgat_pl.data.media.intra_frame import through_h264
from resgat_pl.data.self_blends.blender import SelfBlend
from resgat_pl.data.self_blends.edits import jpeg
from resgat_pl.data.self_blends.held_out_video import problem_of

from ...helpers.drawn_faces import drawn_face

SIDE = 160
BOX = np.array([10, 10, SIDE - 10, SIDE - 10], np.int32)


def forged(person: int, amount: int = 40) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.bool_]]:
    """An original, a fake with another ellipse in it, and the true mask."""
    original = drawn_face(person, SIDE)[0]
    mask = np.zeros((SIDE, SIDE), np.uint8)
    cv2.ellipse(mask, (80, 85), (28, 36), 10, 0, 360, 255, cv2.FILLED)
    fake = original.copy()
    fake[mask > 0] = np.clip(original[mask > 0].astype(int) + amount, 0, 255)
    return original, fake, mask > 0


def iou(found: NDArray[np.uint8] | None, true: NDArray[np.bool_]) -> float:
    mask = np.zeros_like(true) if found is None else found > 0
    return float((mask & true).sum() / max(1, (mask | true).sum()))


@pytest.mark.parametrize("codec", ["none", "jpeg 60", "h264 23", "h264 32"])
def test_the_forged_area_is_found_after_compression(codec: str) -> None:
    for person in range(3):
        pair = forged(person)[:2]
        if codec.startswith("jpeg"):
            pair = tuple(jpeg(image, 60) for image in pair)
        elif codec.startswith("h264"):
            pair = tuple(through_h264(image, int(codec.split()[1])) for image in pair)
        found = difference_mask(pair[1], pair[0], BOX)
        assert iou(found, forged(person)[2]) > 0.75, codec


def test_compression_alone_is_no_forgery() -> None:
    for person in range(4):
        original = drawn_face(person, SIDE)[0]
        for quality in (90, 50):
            assert difference_mask(jpeg(original, quality), original, BOX) is None
        assert difference_mask(through_h264(original, 35), through_h264(original, 20), BOX) is None
        assert difference_mask(original, original, BOX) is None


def test_a_change_of_everything_has_no_mask() -> None:
    original = drawn_face(0, SIDE)[0]
    assert difference_mask(255 - original, original, BOX) is None


def test_holes_are_filled_and_nothing_is_outside_the_box() -> None:
    original, fake, true = forged(0)
    fake[75:90, 72:88] = original[75:90, 72:88]  # an eye that stays the same
    fake[2:8, 2:8] = 0  # beside the box
    found = difference_mask(fake, original, BOX)
    assert found is not None
    assert found[82, 80] == 255
    assert not found[:10].any()
    assert set(np.unique(found)) == {0, 255}
    assert iou(found, true) > 0.8


def test_boxes_that_reach_beyond_the_frame() -> None:
    original, fake, true = forged(1)
    found = difference_mask(fake, original, np.array([-30, -20, 190, 200], np.int32))
    assert found is not None
    assert found.shape == true.shape
    assert iou(found, true) > 0.7


def test_masks_of_self_blends_are_found_again() -> None:
    """Of all families, after one camera each; soft and partly transparent masks among them."""
    scores = []
    for seed in range(24):
        image, landmarks = drawn_face(seed % 4, SIDE)
        pair = SelfBlend()(image, landmarks, seed)
        if not problem_of(pair):
            scores.append(iou(difference_mask(pair.fake, pair.genuine, BOX), pair.mask > pair.mask.max() / 2))
    assert len(scores) > 15
    assert np.median(scores) > 0.6


def test_frames_of_two_sizes() -> None:
    original, fake, _ = forged(0)
    with pytest.raises(ValueError, match="shape"):
        difference_mask(fake[:-2], original, BOX)
