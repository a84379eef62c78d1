"""Notes beside a verdict: faces that were not judged, and faces unlike the training faces."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pytest

from resgat_pl.explain.report.limits import limits, rests_on
from resgat_pl.explain.report.media import FoundFaces, Shot, Unjudged
from resgat_pl.explain.report.media_search import Medium

FRONT = np.array([[0.34, 0.4], [0.66, 0.4], [0.5, 0.58], [0.38, 0.74], [0.62, 0.74]], np.float32)
MANY = 10**9  # bytes


def aside(by: float) -> np.ndarray[Any, Any]:
    """The nose moved, as a share of the crop; the eyes are 0.32 apart."""
    return FRONT + np.outer([0, 0, 1, 0, 0], [by, 0])


def picture(grey: int = 130, grain: float = 20, size: int = 112) -> np.ndarray[Any, np.dtype[np.uint8]]:
    noise = np.random.default_rng(0).normal(grey, grain, (size, size, 1))
    return np.clip(np.repeat(noise, 3, axis=2), 0, 255).astype(np.uint8)


def track(
    frames: int = 20, side: int = 130, points: np.ndarray[Any, Any] = FRONT, grey: int = 130, grain: float = 20
) -> list[Shot]:
    image = picture(grey, grain)
    box = np.array([0, 0, side, side], np.int32)
    return [Shot(i, i / 10, box, points.astype(np.float32), image) for i in range(frames)]


def said(
    *tracks: list[Shot],
    unjudged: tuple[Unjudged, ...] = (),
    kind: Literal["image", "video"] = "video",
    sampled: int = 20,
    size: int = MANY,
    **known: float,
) -> str:
    found = FoundFaces((640, 360), 200 if kind == "video" else 1, sampled, list(tracks), [], list(unjudged))
    return " ".join(limits(Medium(Path("a"), "a", kind), found, 1.3, known, size))


def test_nothing_is_said_of_a_good_face() -> None:
    assert said(track()) == ""
    assert said(track(), side=95, sharpness=10, roll=5, turn=0.1) == ""


@pytest.mark.parametrize(
    ("face", "known", "words"),
    [
        (track(side=65), {}, "small, 50 px (below 64)"),
        (track(side=65), {"side": 90}, "small, 50 px (training faces: from 90 px)"),
        (track(grey=20, grain=5), {}, "dark, mean grey level 20 of 255"),
        (track(grain=1), {"sharpness": 400}, "blurred or strongly compressed"),
        (track(points=aside(0.2)), {}, "turned aside, nose 0.62 eye"),
        (
            track(points=aside(0.1)),
            {"turn": 0.1},
            "(training faces: up to 0.1)",
        ),
        (track(points=FRONT[:, ::-1]), {}, "tilted by 90°"),
        (track(points=FRONT * np.nan), {}, "no landmarks, so whether it is turned is unknown"),
    ],
)
def test_a_face_unlike_the_training_faces_is_named_with_its_number(
    face: list[Shot], known: dict[str, float], words: str
) -> None:
    assert words in said(face, **known)
    assert words.partition(",")[0] in said(track(), face, **known)
    assert "Face 1 is" not in said(track(), face, **known)


def test_training_with_such_faces_makes_them_usual() -> None:
    assert said(track(side=65), side=40) == ""
    assert said(track(points=aside(0.2)), turn=0.7) == ""


def test_who_is_not_judged_is_named() -> None:
    smaller = (Unjudged(3, 7.2, 8.0, 38.4, "larger"), Unjudged(9, 0.1, 4.0, 20, "larger"))
    note = said(track(), track(), unjudged=smaller)
    assert "2 of 4 faces are judged, the largest (--faces 2)" in note
    assert "one of 38 px in 3 of 20 frames from 7.2 to 8.0 s" in note
    glimpse = said(track(), unjudged=(Unjudged(1, 3.2, 3.2, 40, "glimpse"),))
    assert "A face was found in a single frame of 20 and not judged" in glimpse
    assert "one of 40 px at 3.2 s" in glimpse
    assert "Give more --frames" in glimpse
    all_seen = said(track(200), unjudged=(Unjudged(1, 3.2, 3.2, 40, "glimpse"),), sampled=200)
    assert "Every frame was searched" in all_seen
    assert "--frames" not in all_seen
    many = said(track(), unjudged=(Unjudged(1, None, None, 40, "glimpse"),) * 7)
    assert "7 faces were found in a single frame" in many
    assert "4 more" in many
    tiny = said(track(), unjudged=(Unjudged(1, 2.0, 2.0, 22, "tiny"), Unjudged(1, 2.0, 2.0, 18, "tiny")))
    assert "2 faces are too small" in tiny
    assert "one of 22 px at 2.0 s, one of 18 px at 2.0 s" in tiny
    both = (Unjudged(3, 7.2, 8.0, 38, "larger"), Unjudged(1, 2.0, 2.0, 18, "tiny"))
    assert "2 of 4 faces are judged" in said(track(), track(), unjudged=both)  # as faces_found counts
    image = said(track(1), unjudged=(Unjudged(1, None, None, 40, "larger"),), kind="image", sampled=1)
    assert "Not judged: one of 40 px." in image


def test_a_brief_face_is_named() -> None:
    assert "Face 2 was found in 3 of 20 frames from 0.0 to 0.2 s" in said(track(), track(3))
    assert "found in 5" not in said(track(5))  # a quarter is no longer brief


def test_a_verdict_that_rests_on_brief_faces_says_what_the_others_are() -> None:
    def of(fakes: list[int], *frames: int) -> str:
        return " ".join(rests_on(fakes, FoundFaces((640, 360), 200, 32, [track(n) for n in frames], [])))

    assert (
        of([1], 29, 3)
        == "Fake rests on face 2 (3 of 32 frames) alone; the faces that are seen for longer are judged real."
    )
    assert of([0, 2, 3], 6, 5, 6, 5).startswith(
        "Fake rests on face 1 (6 of 32 frames), face 3 (6 of 32 frames) and face 4 (5 of 32 frames) alone; the others"
    )
    assert of([0], 29, 3) == of([0, 1], 3, 3) == of([], 3, 3) == ""


def test_frames_far_apart_are_named() -> None:
    def of(total: int, step: float | None) -> str:
        found = FoundFaces((640, 360), total, 20, [track()], [], step=step)
        return " ".join(limits(Medium(Path("a"), "a", "video"), found, 1.3, {}, MANY))

    assert "20 of 9000 frames were searched, up to 18.0 s apart" in of(9000, 18.0)
    assert [of(20, 2.0), of(200, 0.2), of(200, None)] == [""] * 3


def test_strong_compression_is_named() -> None:
    assert "0.01 bits a pixel" in said(track(), size=640 * 360 * 200 // 800)
    assert said(track(), size=640 * 360 * 200 // 80) == ""
    assert "bits a pixel" in said(track(1), kind="image", sampled=1, size=3000)
    assert said(track(), size=0) == ""  # unknown


def test_blur_is_what_lowers_sharpness() -> None:
    shots = [shot._replace(image=cv2.GaussianBlur(shot.image, (0, 0), 3).astype(np.uint8)) for shot in track()]
    assert "blurred" in said(shots, sharpness=500)
    assert "blurred" not in said(shots)  # what is sharp depends on the training crops
