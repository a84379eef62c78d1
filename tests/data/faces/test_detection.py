from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

from resgat_pl.core.errors import WeightsError
from resgat_pl.data.faces.detection import MTCNN, Face, WholeFrame, YuNet, crop, square_box
from resgat_pl.data.faces.tracking import track_faces


def face(x: float, y: float = 50, size: float = 40) -> Face:
    return Face(np.array([x, y, x + size, y + size], np.float32), 1.0, np.zeros((5, 2), np.float32))


def test_two_faces_that_cross_the_frame_stay_two_tracks() -> None:
    frames = [[face(10 + 8 * t), face(300 - 8 * t, size=60)] for t in range(10)]
    frames = [faces if t % 2 else faces[::-1] for t, faces in enumerate(frames)]
    tracks = track_faces(frames, max_tracks=2)
    assert len(tracks) == 2
    widths = [{float(f.box[2] - f.box[0]) for f in track if f} for track in tracks]
    assert widths == [{60.0}, {40.0}]  # the larger face first


def test_false_alarms_and_gaps() -> None:
    frames = [[face(10)] for _ in range(8)]
    frames[3] = []
    frames[5].append(face(500))
    tracks = track_faces(frames, max_tracks=3)
    assert len(tracks) == 1
    assert tracks[0][3] is None
    assert sum(found is not None for found in tracks[0]) == 7


def test_keeps_only_as_many_as_asked() -> None:
    frames = [[face(10), face(200, size=80), face(400, size=20)] for _ in range(4)]
    (track,) = track_faces(frames, max_tracks=1)
    assert track[0] is not None
    assert track[0].box[2] - track[0].box[0] == 80


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
    cut = crop(image, np.array([-10, 0, 10, 20], np.int32), 20)
    assert (cut[:, :11] == 200).all()
    assert (cut[:, 11:] == 0).all()
    assert crop(image[..., 0], np.array([0, 0, 20, 20], np.int32), 7).shape == (7, 7)


def test_whole_frame() -> None:
    (found,) = WholeFrame().detect(np.zeros((30, 50, 3), np.uint8))
    assert found.box.tolist() == [0, 0, 50, 30]
    assert np.isnan(found.landmarks).all()


def test_mtcnn_finds_nothing_in_noise_and_can_be_sent_to_a_process() -> None:
    detector = MTCNN()
    noise = np.random.default_rng(0).integers(0, 255, (80, 120, 3), np.uint8)
    assert detector.detect(noise) == []
    again = pickle.loads(pickle.dumps(detector))  # noqa: S301 - our own bytes
    assert again.spec == detector.spec
    assert again.detect(noise) == []


def test_mtcnn_boxes_do_not_depend_on_the_frame_size(ffpp_root: Path) -> None:
    import cv2

    from resgat_pl.data.media.frames import FrameReader

    video = next((ffpp_root / "original_sequences" / "youtube").rglob("*.mp4"))
    image = next(FrameReader([video], "video").read([0])).image
    (small,) = MTCNN().detect(image)[:1]
    large = cv2.resize(image, None, fx=6, fy=6, interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    (scaled,) = MTCNN().detect(large)[:1]
    assert np.abs(scaled.box / 6 - small.box).max() < 0.15 * (small.box[2] - small.box[0])
    left_eye, right_eye, nose, left_mouth, _ = small.landmarks
    assert left_eye[0] < right_eye[0]
    assert left_eye[1] < nose[1] < left_mouth[1]


def test_yunet_needs_its_file(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="does not exist"):
        YuNet(tmp_path / "absent.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"not onnx")
    with pytest.raises(WeightsError, match=r"bad\.onnx is not a YuNet"):
        YuNet(tmp_path / "bad.onnx").detect(np.zeros((64, 64, 3), np.uint8))
