"""Verdicts: the numbers of the project's metrics per video, with intervals that hold."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from resgat_pl.metrics.detection import video_scores
from resgat_pl.report.verdict import calibration_of, judge
from resgat_pl.types import Level

logit_lists = st.lists(st.lists(st.floats(-8, 8), min_size=1, max_size=12), min_size=1, max_size=4)
THRESHOLDS: dict[Level, float] = {"frame": 0.2, "video": 0.8}


def arrays(faces: list[list[float]]) -> list[NDArray[np.float64]]:
    return [np.array(face) for face in faces]


@given(logit_lists)
@settings(deadline=None, max_examples=40)
def test_the_score_is_that_of_the_metrics(faces: list[list[float]]) -> None:
    flat = torch.tensor([value for face in faces for value in face], dtype=torch.float64)
    track = torch.tensor([number for number, face in enumerate(faces) for _ in face])
    expected = video_scores(flat.sigmoid(), torch.ones_like(track), torch.zeros_like(track), track)
    found = judge(arrays(faces), 2.0, None, "video")
    assert found.decision.score == pytest.approx(float(expected[0][0]))
    assert [face.score for face in found.faces] == pytest.approx(expected[3].tolist())
    calibrated = video_scores((flat / 2).sigmoid(), torch.ones_like(track), torch.zeros_like(track), track)
    assert found.probability == pytest.approx(float(calibrated[0][0]))
    assert found.verdict == ("fake" if float(expected[0][0]) > 0.5 else "real")


@given(logit_lists, st.integers(0, 3))
@settings(deadline=None, max_examples=40)
def test_intervals_lie_among_the_frames_and_are_the_same_again(faces: list[list[float]], seed: int) -> None:
    found = judge(arrays(faces), None, None, "video", seed)
    assert found == judge(arrays(faces), None, None, "video", seed)
    for face, values in zip(found.faces, faces, strict=True):
        assert (face.interval is None) == (len(values) == 1)
        if face.interval is not None:
            chances = [1 / (1 + np.exp(-value)) for value in values]
            assert min(chances) - 1e-12 <= face.interval[0] <= face.interval[1] <= max(chances) + 1e-12
    if found.interval is not None:
        lows = [face.interval[0] if face.interval else face.probability for face in found.faces]
        assert found.interval[0] >= max(lows) - 0.05  # the maximum of the faces is above each of them


def test_an_interval_covers_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    truth = float((1 / (1 + np.exp(-rng.normal(0, 1.5, 100_000)))).mean())
    hits = 0
    for repeat in range(200):
        found = judge([rng.normal(0, 1.5, 32)], None, None, "video", repeat)
        assert found.interval is not None
        hits += found.interval[0] <= truth <= found.interval[1]
    assert 0.88 <= hits / 200 <= 0.99


def test_the_threshold_is_that_of_the_medium() -> None:
    middling = [np.zeros(3)]
    assert judge(middling, None, THRESHOLDS, "image").verdict == "fake"
    video = judge(middling, None, THRESHOLDS, "video")
    assert video.verdict == "real"
    assert (video.decision.threshold, video.decision.score) == (0.8, 0.5)
    assert "validation" in video.decision.source
    assert judge(middling, None, None, "video").decision.threshold == 0.5
    # calibration changes the probability, not the verdict
    sure = judge([np.array([-3.0, 1])], 0.1, THRESHOLDS, "image")
    assert sure.decision.score == pytest.approx((0.0474 + 0.7311) / 2, abs=1e-4)
    assert sure.verdict == "fake"


def test_borderline_is_what_other_frames_could_turn() -> None:
    assert judge([np.array([-2.0, 2, -1, 1.5])], None, None, "video").decision.borderline
    assert not judge([np.array([2.0, 2.1, 1.9, 2])], None, None, "video").decision.borderline
    assert not judge([np.array([0.01])], None, None, "image").decision.borderline


def test_without_a_face_there_is_no_verdict() -> None:
    found = judge([], 1.3, THRESHOLDS, "video")
    assert (found.verdict, found.probability, found.interval, found.faces) == ("no face", None, None, [])
    assert found.decision.score is None


def test_calibration_is_said() -> None:
    assert calibration_of(None).statement.startswith("Uncalibrated")
    assert "1.37" in calibration_of(1.3712).statement
    assert calibration_of(1.3712).temperature == 1.3712
