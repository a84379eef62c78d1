from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest

from resgat_pl.core.errors import ConfigError
from resgat_pl.data.faces.detection import MTCNN
from resgat_pl.data.synth.clip import generator
from resgat_pl.data.synth.drawn import draw_clip
from resgat_pl.data.synth.generate import synthesize
from resgat_pl.data.synth.portraits import Portrait, film_clip, find_face, fingerprint, list_images


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn people as portraits, one image without a face, one that is no image, and a file to ignore."""
    folder = tmp_path_factory.mktemp("portraits")
    for number in range(10):
        clip = draw_clip([generator(number, "person")], generator(number, "clip"), frames=1, size=400)
        cv2.imwrite(str(folder / f"{number:02d}.png"), clip.frames[0, :, :, ::-1])
    cv2.imwrite(str(folder / "empty.png"), np.full((300, 300, 3), 90, np.uint8))
    (folder / "broken.jpg").write_bytes(b"no image")
    (folder / "notes.txt").write_text("not an image")
    return folder


@pytest.fixture(scope="module")
def portraits(folder: Path) -> list[Portrait]:
    return [found for path in list_images(folder)[:4] if (found := find_face(path))]


@pytest.mark.parametrize("people", [1, 2])
def test_landmarks_move_with_the_portrait(portraits: list[Portrait], people: int) -> None:
    clip = film_clip(portraits[:people], generator(0, "film"), frames=10, size=256)
    assert clip.frames.shape == (10, 256, 256, 3)
    assert np.ptp(clip.landmarks, axis=1).max() > 1, "the camera moves"
    detector = MTCNN()
    for number in (0, 9):
        found = sorted(detector.detect(clip.frames[number])[:people], key=lambda face: face.box[0])
        assert len(found) == people
        for face, landmarks in zip(found, clip.landmarks[:, number], strict=True):
            between_eyes = np.linalg.norm(landmarks[1] - landmarks[0])
            assert np.linalg.norm(face.landmarks - landmarks, axis=1).mean() < 0.12 * between_eyes
            assert 0.4 < (face.box[3] - face.box[1]) / 256 < 0.68


def test_images_without_a_face_are_skipped_with_a_line(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert find_face(folder / "empty.png") is None
        assert find_face(folder / "broken.jpg") is None
    assert "empty.png skipped: no face" in caplog.text
    assert "broken.jpg skipped: it cannot be read" in caplog.text


def test_a_set_of_portraits(folder: Path, tmp_path: Path) -> None:
    request = {"layout": "dfdc", "videos": 8, "fakes_per_real": 1, "frames": 2, "size": 160, "faces": folder}
    assert synthesize(tmp_path / "out", jobs=1, **request).made  # type: ignore[arg-type]  # one dict for all arguments
    assert len(list((tmp_path / "out").rglob("*.mp4"))) == 16
    assert not synthesize(tmp_path / "out", jobs=1, **request).made  # type: ignore[arg-type]  # as above


def test_fingerprint_follows_content_not_place(folder: Path, tmp_path: Path) -> None:
    images = list_images(folder)
    for path in images:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert fingerprint(images) == fingerprint(list_images(tmp_path))
    (tmp_path / "00.png").write_bytes((tmp_path / "01.png").read_bytes())
    assert fingerprint(images) != fingerprint(list_images(tmp_path))


def test_too_few_portraits(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"10 of the 12 images .* 20 people are needed. Lower videos"):
        synthesize(tmp_path / "out", videos=20, frames=1, size=128, faces=folder, jobs=1)
    assert not (tmp_path / "out").exists(), "nothing is left behind"


def test_a_folder_without_portraits(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a folder"):
        synthesize(tmp_path / "out", faces=tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="no image"):
        synthesize(tmp_path / "out", faces=tmp_path / "empty")
    cv2.imwrite(str(tmp_path / "empty" / "wall.png"), np.full((300, 300, 3), 90, np.uint8))
    with pytest.raises(ConfigError, match="0 of the 1 images"):
        synthesize(tmp_path / "out", videos=8, faces=tmp_path / "empty", jobs=1)
