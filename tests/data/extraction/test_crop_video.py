"""What is known of each crop of a fake: small videos in which squares stand for faces."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from resgat_pl.core.types import FAKE, REAL, VideoRecord
from resgat_pl.data.extraction.alignment import Original, Recent
from resgat_pl.data.extraction.crop_video import Extraction, Outcome, crop_video
from resgat_pl.data.faces.detection import Face, FaceDetector, RGBImage
from resgat_pl.data.synth.encode import write_mask, write_video

LARGE, SMALL = (20, 30, 84, 94), (130, 40, 182, 92)
Frames = NDArray[np.uint8]


class Squares(FaceDetector):
    """Finds textured squares at two places: the mean of a plain grey frame is 128 there."""

    spec: dict[str, Any] = {"detector": "squares"}  # noqa: RUF012 - as the property that it stands for

    def detect(self, image: RGBImage) -> list[Face]:
        boxes = [box for box in (LARGE, SMALL) if image[box[1] : box[3], box[0] : box[2]].std() > 12]
        return [Face(np.array(box, np.float32), 1.0, np.full((5, 2), np.nan, np.float32)) for box in boxes]


def film(seed: int, count: int = 16, faces: tuple[tuple[int, ...], ...] = (LARGE, SMALL)) -> Frames:
    """A still scene with faces that tremble in their texture."""
    rng = np.random.default_rng(seed)
    scene = cv2.resize(rng.integers(100, 156, (9, 14, 3), np.uint8), (208, 128), interpolation=cv2.INTER_CUBIC)
    scene = cv2.GaussianBlur(scene, (0, 0), 6)
    for x0, y0, x1, y1 in faces:
        skin = cv2.resize(rng.integers(40, 220, (8, 8, 3), np.uint8), (x1 - x0, y1 - y0), interpolation=cv2.INTER_CUBIC)
        scene[y0:y1, x0:x1] = skin
    grain = rng.integers(0, 4, (count, 128, 208, 1), np.uint8)
    return np.stack([cv2.add(scene, cv2.merge([noise] * 3)) for noise in grain])


def altered(frames: Frames, box: tuple[int, ...], seed: int = 5) -> Frames:
    x0, y0, x1, y1 = np.array(box) + np.array([10, 10, -10, -10])
    fake = frames.copy()
    fake[:, y0:y1, x0:x1] = film(seed)[0, y0:y1, x0:x1]
    return fake


def record(folder: Path, name: str, frames: Frames, label: int = FAKE, **more: Any) -> VideoRecord:
    path = folder / f"{name}.mp4"
    write_video(path, frames)
    method = "swap" if label == FAKE else "original"
    more = {"original": "ffpp/original/-/o" if label == FAKE else None, "dataset": "ffpp", **more}
    return VideoRecord(
        method=method, compression="", video=name, label=label, kind="video", files=(path,), identities=(name,), **more
    )


def cut(video: VideoRecord, original: Original | None = None, recent: Recent | None = None, **more: Any) -> Outcome:
    extraction = Extraction(**{"frames": 8, "size": 32, "detector": Squares(), "max_faces": 2, **more})
    outcome = list(crop_video(video, extraction, original, recent))[-1]
    assert isinstance(outcome, Outcome)
    return outcome


def made(video: VideoRecord, **more: Any) -> Original:
    """The original after it was cut."""
    rows, report = cut(video, **more)
    return Original(rows, report["frame_size"], report.get("others", ()), video)


def known(outcome: Outcome) -> dict[int, set[bool | None]]:
    return {
        track: {row["altered"] for row in outcome.rows if row["track"] == track}
        for track in sorted({row["track"] for row in outcome.rows})
    }


@pytest.mark.parametrize("frames", [8, "all"])
def test_the_untouched_face_of_a_fake_is_known(tmp_path: Path, frames: Any) -> None:
    real = record(tmp_path, "o", film(1), REAL)
    original = made(real, frames=frames)
    assert {row["altered"] for row in original.rows} == {False}
    for name, box, expected in (("a", LARGE, {0: {True}, 1: {False}}), ("b", SMALL, {0: {False}, 1: {True}})):
        fake = record(tmp_path, name, altered(film(1), box))
        assert known(cut(fake, original, frames=frames)) == expected
    assert known(cut(record(tmp_path, "same", film(1)), original)) == {0: {None}, 1: {None}}
    alone = cut(record(tmp_path, "alone", altered(film(1), LARGE)))
    assert known(alone) == {0: {None}, 1: {None}}  # without its original


def test_frames_in_memory_change_nothing(tmp_path: Path) -> None:
    recent = Recent()
    real, fake = record(tmp_path, "o", film(1), REAL), record(tmp_path, "a", altered(film(1), SMALL))
    rows, report = cut(real, recent=recent)
    original = Original(rows, report["frame_size"], (), real)
    assert cut(fake, original, recent) == cut(fake, original)


def test_where_one_face_is_cut_it_is_the_altered_one(tmp_path: Path) -> None:
    real = record(tmp_path, "o", film(1), REAL)
    original = made(real, max_faces=1)
    assert {row["track"] for row in original.rows} == {0}
    assert {other["track"] for other in original.others} == {1}
    fake = record(tmp_path, "b", altered(film(1), SMALL))
    assert known(cut(fake, original, max_faces=1)) == {1: {True}}
    assert known(cut(record(tmp_path, "a", altered(film(1), LARGE)), original, max_faces=1)) == {0: {True}}
    assert known(cut(record(tmp_path, "same", film(1)), original, max_faces=1)) == {0: {None}}
    mask = tmp_path / "mask.mp4"
    write_mask(mask, square(SMALL))
    masked = record(tmp_path, "m", altered(film(1), SMALL), mask=mask)
    for given in (original, None):  # by the mask alone, too
        outcome = cut(masked, given, max_faces=1)
        assert known(outcome) == {1: {True}}
        assert all(row["mask_path"] for row in outcome.rows)


def square(box: tuple[int, ...], size: tuple[int, int] = (128, 208)) -> NDArray[np.bool_]:
    mask = np.zeros((16, *size), bool)
    x0, y0, x1, y1 = np.array(box) + np.array([8, 8, -8, -8])
    mask[:, y0:y1, x0:x1] = True
    return mask


def test_masks_that_cannot_be_right(tmp_path: Path) -> None:
    real = record(tmp_path, "o", film(1), REAL)
    original = made(real)
    fake = altered(film(1), SMALL)
    for name, mask, words, expected in (
        ("other", square(LARGE), "as in the original", {0: {None}, 1: {None}}),
        ("empty", np.zeros((16, 128, 208), bool), "covers no face", {0: {False}, 1: {True}}),
        ("shape", square(SMALL, (208, 128)), "of another video: 128x208 px", {0: {False}, 1: {True}}),
        ("short", square(SMALL)[:9], "shorter than the video", {0: {False}, 1: {True}}),
    ):
        path = tmp_path / f"{name}_mask.mp4"
        write_mask(path, mask)
        outcome = cut(record(tmp_path, name, fake, mask=path), original)
        assert words in outcome.report["note"]
        assert known(outcome) == expected


def test_a_shorter_fake_gives_as_many_crops(tmp_path: Path) -> None:
    real = record(tmp_path, "o", film(1, 48), REAL)
    original = made(real)
    outcome = cut(record(tmp_path, "short", altered(film(1, 48), LARGE)[:16]), original)
    assert "note" not in outcome.report
    assert known(outcome) == {0: {True}, 1: {False}}
    numbers = sorted({row["frame_index"] for row in outcome.rows})
    assert len(numbers) == 8
    assert {3, 9, 15} <= set(numbers)  # which the original has as well
    assert max(np.diff([-1, *numbers, 16])) <= 4


def test_faces_have_one_number_in_a_fake_and_its_original(tmp_path: Path) -> None:
    """The fake ends before the larger face comes."""
    both = film(1, 48)
    x0, y0, x1, y1 = LARGE
    both[:12, y0:y1, x0:x1] = 128
    original = made(record(tmp_path, "o", both, REAL))
    boxes = {row["track"]: row["box"] for row in original.rows}
    assert boxes[0][0] < boxes[1][0]
    outcome = cut(record(tmp_path, "short", both[:10]), original)
    assert {row["track"]: row["box"] for row in outcome.rows} == {1: boxes[1]}


@pytest.mark.parametrize("pairing", ["given", "name"])
def test_a_fake_of_another_scene_is_cut_by_its_own_faces(tmp_path: Path, pairing: Any) -> None:
    original = made(record(tmp_path, "o", film(1, faces=(LARGE,)), REAL))
    fake = record(tmp_path, "x", film(7, faces=(SMALL,)), pairing=pairing)
    outcome = cut(fake, original)
    assert {row["box"][0] > 100 for row in outcome.rows} == {True}  # where its face is
    assert known(outcome) == {0: {None}}
    if pairing == "given":  # what the data set says of people stands
        assert "not aligned with its original" in outcome.report["note"]
        assert {(row["source_video"], *row["identities"]) for row in outcome.rows} == {("ffpp/original/-/o", "x")}
    else:
        assert outcome.report["relation"] == "unrelated"
        assert {(row["source_video"], *row["identities"]) for row in outcome.rows} == {(None, "fake/x")}


def test_a_fake_that_is_its_original_is_noted(tmp_path: Path) -> None:
    original = made(record(tmp_path, "o", film(1), REAL))
    fake = record(tmp_path, "x", film(1))
    shutil.copy(tmp_path / "o.mp4", fake.files[0])  # encoding in threads need not give the same bytes twice
    outcome = cut(fake, original)
    assert "is the same as its original in every pixel" in outcome.report["note"]
    assert known(outcome) == {0: {None}, 1: {None}}
    assert "note" not in cut(record(tmp_path, "y", altered(film(1), LARGE)), original).report


def test_names_hold_where_the_pixels_agree_or_the_user_asks(tmp_path: Path) -> None:
    original = made(record(tmp_path, "o", film(1), REAL))
    pair = cut(record(tmp_path, "pair", altered(film(1), LARGE), pairing="name"), original)
    assert pair.report["relation"] == "pair"
    assert {row["source_video"] for row in pair.rows} == {"ffpp/original/-/o"}
    assert known(pair) == {0: {True}, 1: {False}}
    asked = cut(record(tmp_path, "asked", film(7, faces=(SMALL,)), pairing="asked"), original)
    assert {row["track"]: row["box"] for row in asked.rows} == {row["track"]: row["box"] for row in original.rows}
    assert "relation" not in asked.report
    assert "paired by its name as asked, although" in asked.report["note"]
    larger = np.stack([cv2.resize(frame, (312, 192)) for frame in altered(film(1), LARGE)])
    other = cut(record(tmp_path, "larger", larger, pairing="name"), original)
    assert other.report["relation"] == "pair"  # made from it, but it cannot be cut like it
    assert "it has frames of [208, 128] px" in other.report["note"]
    assert not any(row["altered"] for row in other.rows)
