"""Verdicts: the numbers of the project's metrics per video, with intervals that hold."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray

from resgat_pl.core.types import Level, Validation
from resgat_pl.evaluation.metrics.binary import measure
from resgat_pl.evaluation.metrics.torch_metrics import DetectionMetrics, video_scores
from resgat_pl.explain.report.verdict import Kind, calibration_of, compared, faces_judged, judge
from resgat_pl.explain.sentences import Finding

logit_lists = st.lists(st.lists(st.floats(-8, 8), min_size=1, max_size=20), min_size=1, max_size=4)
THRESHOLDS: dict[Level, float] = {"frame": 0.2, "video": 0.8}


def arrays(faces: list[list[float]]) -> list[NDArray[np.float64]]:
    return [np.array(face) for face in faces]


@given(logit_lists)
@settings(deadline=None, max_examples=40)
def test_the_score_is_that_of_the_metrics(faces: list[list[float]]) -> None:
    flat = torch.tensor([value for face in faces for value in face], dtype=torch.float64)
    track = np.array([number for number, face in enumerate(faces) for _ in face])
    expected = video_scores(flat.sigmoid().numpy(), np.zeros_like(track), track)
    score, by_track = torch.from_numpy(expected.probability), torch.from_numpy(expected.track_probability)
    found = judge(arrays(faces), 3.0, None, "video", video_temperature=2.0)
    assert found.decision.score == pytest.approx(float(score))
    assert [face.score for face in found.faces] == pytest.approx(by_track.tolist())
    assert found.probability == pytest.approx(float((score.logit() / 2).sigmoid()))
    assert [face.probability for face in found.faces] == pytest.approx((by_track.logit() / 2).sigmoid().tolist())
    assert found.verdict == ("fake" if float(score) > 0.5 else "real")


temperatures = st.none() | st.floats(0.01, 100)


@given(
    st.lists(st.lists(st.floats(-30, 30), min_size=1, max_size=12), min_size=1, max_size=4),
    temperatures,
    temperatures,
    st.none() | st.floats(1e-6, 1 - 1e-6),
    st.sampled_from(["image", "video"]),
)
@settings(deadline=None, max_examples=150)
def test_verdict_probability_and_threshold_never_contradict_each_other(
    faces: list[list[float]], frame: float | None, video: float | None, threshold: float | None, kind: Kind
) -> None:
    thresholds: dict[Level, float] | None = None if threshold is None else {"frame": threshold, "video": threshold}
    found = judge(arrays(faces), frame, thresholds, kind, video_temperature=video)
    decision, probability = found.decision, found.probability
    assert probability is not None
    assert decision.score is not None
    assert (decision.score > decision.threshold) == (found.verdict == "fake")
    assert probability >= decision.limit if found.verdict == "fake" else probability <= decision.limit
    assert decision.chosen == (threshold is not None)
    assert found.verdict == ("fake" if "fake" in {face.verdict for face in found.faces} else "real")
    said = compared(probability, decision.limit, found.verdict, found.interval, decision.chosen, calibrated=True)
    shown, limit = (float(number) for number in re.findall(r"(?:fake|threshold) (\d(?:\.\d+)?(?:e-\d+)?)", said))
    if probability != decision.limit:  # beyond float64 two probabilities are one
        assert (shown > limit) == (found.verdict == "fake"), said
    if found.interval is not None:
        assert found.interval[0] - 1e-9 <= probability <= found.interval[1] + 1e-9 or len(faces) > 1
    for face in found.faces:  # a face's sentence says what the verdict is made of
        mean = Finding(0.3, 0.3, {}, mean_probability=face.probability, limit=decision.limit)
        assert mean.verdict == face.verdict or face.probability == decision.limit


def test_without_a_calibration_of_videos_the_number_is_the_score() -> None:
    found = judge([np.array([-1.2, -1.2, 8.0])], 3.0, None, "video")
    assert found.probability == found.decision.score == pytest.approx(0.487, abs=1e-3)
    assert judge([np.array([1.0])], 3.0, None, "image").probability == pytest.approx(1 / (1 + np.exp(-1 / 3)))
    assert judge([np.array([1.0])], 3.0, None, "image", video_temperature=9.0) == judge(
        [np.array([1.0])], 3.0, None, "image"
    )


@pytest.mark.parametrize("noise", [0.5, pytest.param(2.0, marks=pytest.mark.long)])
def test_a_probability_of_a_file_holds_for_files(noise: float) -> None:
    """As in training: a temperature from validation videos, tested on others of one face and 32 frames."""
    rng = np.random.default_rng(0)

    def videos() -> tuple[NDArray[np.int64], list[NDArray[np.float64]]]:
        label = rng.integers(0, 2, 1500)
        return label, [2 * (2.4 * kind - 1.2 + rng.normal(0, 1) + rng.normal(0, noise, 32)) for kind in label]

    label, logits = videos()
    metric = DetectionMetrics("video")
    code = torch.arange(1500).repeat_interleave(32)
    metric.update(torch.tensor(np.concatenate(logits)), torch.tensor(label)[code], torch.arange(len(code)), code, code)
    metric.compute()
    label, logits = videos()
    found = [judge([one], None, None, "video", video_temperature=metric.temperature).probability for one in logits]
    assert measure(np.array(found), label)["ece"] < 0.05  # 0.24 of the mean of calibrated frames


@given(logit_lists, st.integers(0, 3))
@settings(deadline=None, max_examples=40)
def test_intervals_lie_among_the_frames_and_are_the_same_again(faces: list[list[float]], seed: int) -> None:
    found = judge(arrays(faces), None, None, "video", seed)
    assert found == judge(arrays(faces), None, None, "video", seed)
    for face, values in zip(found.faces, faces, strict=True):
        assert (face.interval is None) == (len(values) < 10)
        if face.interval is not None:
            chances = [1 / (1 + np.exp(-value)) for value in values]
            assert min(chances) - 1e-12 <= face.interval[0] <= face.interval[1] <= max(chances) + 1e-12
    lows = [face.interval[0] for face in found.faces if face.interval is not None]
    if found.interval is not None and lows:
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
    default = judge(middling, None, None, "video").decision
    assert (default.threshold, default.chosen) == (0.5, False)
    assert default.source == "0.5 by default: none was chosen, since there was no validation with both classes"
    lone = judge(middling, None, None, "video", validation=Validation(3, 0)).decision
    assert lone.source == "0.5 by default: none was chosen, since validation had no fake videos"
    on = judge(middling, None, THRESHOLDS, "video", validation=Validation(12, 30, 1, 2)).decision.source
    assert on.endswith("validation data: 12 genuine and 30 fake videos of 1 to 2 faces each")
    few = judge(middling, None, THRESHOLDS, "video", validation=Validation(2, 30)).decision.source
    assert few.endswith("2 genuine and 30 fake videos of 1 face each, which are few")
    # calibration changes the probability, not the verdict
    sure = judge([np.array([-3.0, 1])], 0.1, THRESHOLDS, "image")
    assert sure.decision.score == pytest.approx((0.0474 + 0.7311) / 2, abs=1e-4)
    assert sure.verdict == "fake"


def test_more_faces_than_validation_had_are_noted() -> None:
    faces = [np.zeros(3)] * 4
    (note,) = judge(faces, None, THRESHOLDS, "video", validation=Validation(12, 30, 1, 2)).notes
    assert note.startswith("4 faces were judged")
    assert "videos of 1 to 2 faces" in note
    assert not judge(faces[:2], None, THRESHOLDS, "video", validation=Validation(12, 30, 1, 2)).notes
    assert "does not say" in judge(faces[:2], None, THRESHOLDS, "video").notes[0]
    assert "single faces" in judge(faces[:2], None, THRESHOLDS, "image", validation=Validation(9, 9, 1, 4)).notes[0]
    assert not judge(faces[:1], None, THRESHOLDS, "image").notes


def test_borderline_is_what_other_frames_could_turn() -> None:
    assert judge([np.array([-2.0, 2, -1, 1.5])], None, None, "video").decision.borderline
    assert not judge([np.array([2.0, 2.1, 1.9, 2])], None, None, "video").decision.borderline
    assert not judge([np.array([0.01])], None, None, "image").decision.borderline


def test_borderline_is_in_the_notes_also_without_an_interval() -> None:
    few = judge([np.array([-2.0, 2, -1, 1.5])], None, None, "video")
    assert few.interval is None
    assert few.notes[0].startswith("Borderline")  # notes reach console, table, sheet and report alike
    assert not any("interval" in note for note in few.notes)
    assert not judge([np.array([2.0, 2.1, 1.9, 2])], None, None, "video").notes[:1]


def test_without_a_face_there_is_no_verdict() -> None:
    found = judge([], 1.3, THRESHOLDS, "video")
    assert (found.verdict, found.probability, found.interval, found.faces) == ("no face", None, None, [])
    assert found.decision.score is None


def test_calibration_is_said() -> None:
    assert calibration_of(None).statement.startswith("Uncalibrated")
    assert "validation had no genuine videos" in calibration_of(None, validation=Validation(0, 5)).statement
    frames_only = calibration_of(None, frames=2.0)
    assert frames_only.statement.startswith("Uncalibrated at the level of files: the checkpoint's temperature was")
    assert (frames_only.temperature, frames_only.frames) == (None, 2.0)
    assert "12 genuine" in calibration_of(1.5, "video", Validation(12, 30)).statement
    assert "1.37" in calibration_of(1.3712).statement
    assert calibration_of(1.3712).temperature == 1.3712


def test_faces_are_counted() -> None:
    assert [faces_judged(1, 1), faces_judged(2, 2), faces_judged(4, 6), faces_judged(0, 1)] == [
        "1 face judged",
        "2 faces judged",
        "4 of 6 faces judged",
        "0 of 1 faces judged",
    ]


@given(logit_lists)
@settings(deadline=None, max_examples=40)
def test_noisy_or_is_what_all_faces_say_with_exact_shares(faces: list[list[float]]) -> None:
    found = judge(arrays(faces), 3.0, THRESHOLDS, "video", video_temperature=2.0, join="noisy_or")
    highest = judge(arrays(faces), 3.0, THRESHOLDS, "video", video_temperature=2.0)
    scores = np.array([face.score for face in found.faces])
    assert scores.tolist() == [face.score for face in highest.faces], "faces are judged as before"
    assert found.decision.score == pytest.approx(float(1 - np.prod(1 - scores)))
    assert found.decision.score >= (highest.decision.score or 0) - 1e-12
    assert found.verdict == ("fake" if found.decision.score > 0.8 else "real")
    evidence = -np.log1p(-scores)
    shares = np.array([face.share for face in found.faces])
    np.testing.assert_allclose(shares * -np.log1p(-found.decision.score), evidence, rtol=1e-6, atol=1e-9)
    assert [face.share for face in highest.faces].count(1.0) == 1
    said = [note for note in found.notes if "Joined by noisy-or" in note]
    assert len(said) == (len(faces) > 1)
    if len(faces) == 1:
        assert (found.decision.score, found.interval) == (highest.decision.score, highest.interval)


def test_the_interval_of_noisy_or_needs_enough_frames_of_every_face() -> None:
    rng = np.random.default_rng(0)
    many, few = rng.normal(1, 1, 20), rng.normal(0, 1, 3)
    for join in ("maximum", "noisy_or"):
        found = judge([many, many - 1], None, None, "video", join=join)  # type: ignore[arg-type]  # str
        assert found.interval is not None and found.probability is not None
        assert found.interval[0] < found.probability < found.interval[1]
    assert judge([many, few], None, None, "video").interval is not None
    assert judge([many, few], None, None, "video", join="noisy_or").interval is None
