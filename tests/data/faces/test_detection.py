from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from resgat_pl.core.errors import WeightsError
from resgat_pl.data.faces.detection import MTCNN, WholeFrame, YuNet
from resgat_pl.data.synth.drawn import draw_clip


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


def test_mtcnn_boxes_do_not_depend_on_the_frame_size() -> None:
    image = draw_clip([np.random.default_rng(1)], np.random.default_rng(1), 1, 192).frames[0]
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
