from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from resgat_pl.data.extraction.registration import shift_between
from resgat_pl.data.media.intra_frame import through_h264

from ...helpers.drawn_faces import drawn_face

BOX = np.array([20, 20, 140, 140], np.int32)


@pytest.fixture(scope="module")
def original() -> NDArray[np.uint8]:
    return drawn_face(0, 160)[0]


def moved(image: NDArray[np.uint8], x: float, y: float) -> NDArray[np.uint8]:
    size = image.shape[1::-1]
    done = cv2.warpAffine(image, np.array([[1.0, 0, x], [0, 1, y]]), size, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(done, np.uint8)


@pytest.mark.parametrize("shift", [(3, 0), (-5, 4), (0, 12), (1.5, 1.5)])
def test_shifts_are_measured(original: NDArray[np.uint8], shift: tuple[float, float]) -> None:
    found = shift_between(through_h264(moved(original, *shift), 23), original, [BOX], 1.3)
    assert found is not None
    assert np.abs(np.subtract(found, shift)).max() < 0.6
    assert f"{found.x:.1f} px to the right" in str(found)


def test_aligned_pairs_are_not_shifted(original: NDArray[np.uint8]) -> None:
    fake = original.copy()
    fake[50:110, 50:110] = moved(original, 6, 0)[50:110, 50:110]  # what happens inside the face does not count
    for crf in (0, 23, 40):
        assert shift_between(through_h264(fake, crf), through_h264(original, crf), [BOX], 1.3) is None


def test_other_pictures_are_not_explained_by_a_shift(original: NDArray[np.uint8]) -> None:
    other = np.random.default_rng(0).integers(0, 255, original.shape, np.uint8)
    assert shift_between(other, original, [BOX], 1.3) is None


def test_nothing_around_the_face(original: NDArray[np.uint8]) -> None:
    everything = np.array([-60, -60, 220, 220], np.int32)
    assert shift_between(moved(original, 9, 0), original, [everything], 1.0) is None
