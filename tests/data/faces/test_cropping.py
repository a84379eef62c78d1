"""One way to cut a face: training, fakes beside their originals and a user's own media."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from resgat_pl.data.faces.cropping import crop_box, crop_face, square_box, touches
from resgat_pl.data.faces.detection import MTCNN, Face, WholeFrame

boxes = st.tuples(st.floats(-50, 200), st.floats(-50, 200), st.floats(5, 150), st.floats(5, 150))


@given(boxes, st.floats(1, 2))
def test_square_box_is_square_and_centred(box: tuple[float, float, float, float], margin: float) -> None:
    x, y, width, height = box
    square = square_box(np.array([x, y, x + width, y + height], np.float32), margin)
    side = square[2] - square[0]
    assert side == square[3] - square[1]
    assert abs(side - margin * max(width, height)) <= 1.5
    assert abs((square[0] + square[2]) / 2 - (x + width / 2)) <= 1
    assert abs((square[1] + square[3]) / 2 - (y + height / 2)) <= 1


def test_crop_repeats_the_border_beyond_the_frame() -> None:
    image = np.zeros((20, 20, 3), np.uint8)
    image[:, 0] = 200
    cut = crop_face(image, np.array([-10, 0, 10, 20], np.int32), 20)
    assert (cut[:, :11] == 200).all()
    assert (cut[:, 11:] == 0).all()
    assert crop_face(image[..., 0], np.array([0, 0, 20, 20], np.int32), 7).shape == (7, 7)
    with pytest.raises(ValueError, match="outside the 20x20 frame"):
        crop_face(image, np.array([30, 0, 50, 20], np.int32), 20)


def test_a_box_beside_the_frame_touches_nothing() -> None:
    assert touches(np.array([-10, -10, 1, 1], np.int32), (20, 20))
    assert not touches(np.array([-10, -10, 0, 20], np.int32), (20, 20))


def test_landmarks_of_a_crop_and_of_one_made_elsewhere() -> None:
    points = np.tile(np.array([[20, 30]], np.float32), (5, 1))
    face = Face(np.array([10, 20, 30, 60], np.float32), 1.0, points)
    place = crop_box(face, MTCNN(), 1.0)
    assert place.box.tolist() == [0, 20, 40, 60]
    assert place.relative == [0.5, 0.25] * 5
    assert place.relative_landmarks.tolist() == [[0.5, 0.25]] * 5
    whole = crop_box(face._replace(landmarks=np.full((5, 2), np.nan, np.float32)), WholeFrame(), 1.3)
    assert whole.box.tolist() == [10, 20, 30, 60]
    assert whole.relative is None
    assert np.isnan(whole.relative_landmarks).all()
