from __future__ import annotations

import numpy as np
import pytest

from resgat_pl.data.faces.detection import MTCNN
from resgat_pl.data.synth.clip import Clip, generator
from resgat_pl.data.synth.drawn import draw_clip

PEOPLE, SIZE = 40, 192


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return [
        draw_clip([generator(11, "person", str(n))], generator(11, "clip", str(n)), frames=1, size=SIZE)
        for n in range(PEOPLE)
    ]


def test_detector_finds_the_faces_where_they_were_drawn(clips: list[Clip]) -> None:
    detector = MTCNN()
    errors, heights = [], []
    for clip in clips:
        for frame, landmarks in zip(clip.frames, clip.landmarks[0], strict=True):
            between_eyes = np.linalg.norm(landmarks[1] - landmarks[0])
            for face in detector.detect(frame)[:1]:
                error = np.linalg.norm(face.landmarks - landmarks, axis=1) / between_eyes
                if error.mean() < 0.3:
                    errors.append(error)
                    heights.append((face.box[3] - face.box[1]) / SIZE)
    assert len(errors) >= 0.95 * PEOPLE
    assert np.median(np.array(errors)) < 0.12
    assert 0.42 < np.median(heights) < 0.62


def test_people_differ_and_a_person_stays_the_same() -> None:
    one, again, other = (
        draw_clip([generator(0, "person", who)], generator(0, "clip"), frames=1, size=160).frames[0]
        for who in ("a", "a", "b")
    )
    assert np.array_equal(one, again)
    assert np.abs(one.astype(int) - other).mean() > 8


def test_tones_of_skin_cover_the_range(clips: list[Clip]) -> None:
    tones = []
    for clip in clips:
        left, right = clip.landmarks[0, 0, 0], clip.landmarks[0, 0, 1]
        x, y = ((left + right) / 2 + np.array([0, 0.35]) * np.linalg.norm(right - left)).astype(int)
        tones.append(clip.frames[0, y - 2 : y + 3, x - 2 : x + 3].mean())
    assert np.percentile(tones, 90) - np.percentile(tones, 10) > 70


def test_heads_move_smoothly_and_the_sensor_is_noisy() -> None:
    clip = draw_clip([generator(5, "person")], generator(5, "clip"), frames=20, size=256)
    path = clip.landmarks[0].mean(axis=1)
    steps = np.linalg.norm(np.diff(path, axis=0), axis=1)
    assert np.ptp(path, axis=0).max() > 2
    assert steps.max() < 4
    corner = clip.frames[:, 4:20, 4:20].astype(float)
    assert np.diff(corner, axis=0).std() > 0.5


def test_landmarks_follow_the_picture() -> None:
    """The dark pupil and lashes stay within a fraction of an eye from their landmark through the whole clip."""
    clip = draw_clip([generator(6, "person")], generator(6, "clip"), frames=12, size=256)
    first = clip.landmarks[0, 0].round().astype(int)
    for number, landmarks in enumerate(clip.landmarks[0]):
        for eye in (0, 1):
            before, now = first[eye], landmarks[eye].round().astype(int)
            patch = clip.frames[number, now[1] - 10 : now[1] + 11, now[0] - 10 : now[0] + 11].astype(float).mean(-1)
            start = clip.frames[0, before[1] - 10 : before[1] + 11, before[0] - 10 : before[0] + 11].astype(float)
            assert np.corrcoef(patch.ravel(), start.mean(-1).ravel())[0, 1] > 0.6


def test_two_people_stand_side_by_side() -> None:
    clip = draw_clip([generator(7, "a"), generator(7, "b")], generator(7, "clip"), frames=2, size=256)
    assert clip.landmarks.shape == (2, 2, 5, 2)
    assert clip.landmarks[0, ..., 0].max() < clip.landmarks[1, ..., 0].min()
    assert len(MTCNN().detect(clip.frames[0])) == 2
