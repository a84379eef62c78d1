from __future__ import annotations

import numpy as np
import pytest

from resgat_pl.data.self_blends.edits import EDITS, edited, jpeg, moved, to_bytes

from ...helpers.drawn_faces import drawn_face


@pytest.mark.parametrize("name", EDITS)
def test_each_edit_changes_the_picture_a_little(name: str) -> None:
    image, _ = drawn_face(0)
    changes = []
    for seed in range(6):
        before = image.copy()
        done = EDITS[name](np.random.default_rng(seed), image)
        assert done.shape == image.shape
        assert done.dtype == np.uint8
        assert (image == before).all()  # the crop is used again
        changes.append(np.abs(done.astype(int) - image).mean())
    assert 0.3 < np.median(changes) < 45


def test_edits_are_the_same_for_the_same_seed() -> None:
    image, _ = drawn_face(1)
    one, again, other = (edited(np.random.default_rng(seed), image) for seed in (4, 4, 5))
    assert (one == again).all()
    assert (one != other).any()


def test_moving_is_small() -> None:
    """A bright spot stays within some hundredths of the side."""
    spot = np.zeros((100, 100, 3), np.uint8)
    spot[48:52, 48:52] = 255
    for seed in range(10):
        found = np.array(np.nonzero(moved(np.random.default_rng(seed), spot)[..., 0] > 60)).mean(axis=1)
        assert np.abs(found - 49.5).max() < 5


def test_bytes_are_clipped_and_rounded() -> None:
    assert to_bytes(np.array([[-3.0, 0.6, 254.4, 300.0]], np.float32)).tolist() == [[0, 1, 254, 255]]


def test_jpeg_loses_more_at_a_lower_quality() -> None:
    image, _ = drawn_face(2)
    lost = [np.abs(jpeg(image, quality).astype(int) - image).mean() for quality in (95, 30)]
    assert 0 < lost[0] < lost[1] < 12
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 200
    assert jpeg(red, 95)[8, 8, 0] > 150  # the order of the channels stays
