"""Who is who: drawn people, moved, turned, lit and compressed as a video does it, in pictures that stay or change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray

from resgat_pl.core.types import REAL, VideoRecord
from resgat_pl.data.extraction.crop_video import Extraction, Outcome, crop_video
from resgat_pl.data.faces.appearance import look_of, may_be_cut, scene_of, unlikeness
from resgat_pl.data.faces.detection import MTCNN, Face, FaceDetector, turn_of, with_looks
from resgat_pl.data.faces.tracking import follow_faces, is_lasting, presence, track_faces
from resgat_pl.data.synth.drawn import draw_clip
from resgat_pl.data.synth.encode import write_video

WIDE, HIGH = 480, 270
Image = NDArray[np.uint8]
Placed = tuple[int, int, int, int]
"""Number of a person, then x, y and side of their picture."""


class Person(NamedTuple):
    picture: Image
    face: Face


@cache
def person(number: int) -> Person:
    picture = draw_clip([np.random.default_rng(number)], np.random.default_rng(number), 1, 224).frames[0]
    return Person(picture, MTCNN().detect(picture)[0])


@cache
def ground(number: int) -> Image:
    """A room of other colours and furniture."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 255, (4, 7, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(coarse, (WIDE, HIGH), interpolation=cv2.INTER_CUBIC), np.uint8)


def shot(room: int, *people: Placed, light: float = 1.0, quality: int = 90) -> tuple[Image, list[Face]]:
    """A frame, and the faces in it as a detector gives them."""
    frame = ground(room).copy()
    faces = []
    for number, x, y, side in people:
        picture, face = person(number)
        scale = side / len(picture)
        part = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
        frame[y : y + side, x : x + side] = part[: HIGH - y, : WIDE - x]
        corner = np.array([x, y], np.float32)
        box, points = face.box * np.float32(scale) + np.tile(corner, 2), face.landmarks * np.float32(scale) + corner
        faces.append(Face(box.astype(np.float32), 1.0, points.astype(np.float32)))
    frame = np.clip(frame * light, 0, 255).astype(np.uint8)
    frame = np.asarray(cv2.imdecode(cv2.imencode(".jpg", frame, [1, quality])[1], 1), np.uint8)
    return frame, with_looks(frame, faces)


def face(x: float, size: float = 40) -> Face:
    """A face without a look."""
    return Face(np.array([x, 50, x + size, 50 + size], np.float32), 1.0, np.full((5, 2), np.nan, np.float32))


def follow(shots: Sequence[tuple[Image, list[Face]]], step: float = 0.3) -> list[int]:
    """Number of frames of each track."""
    times = [step * number for number in range(len(shots))]
    tracks = follow_faces([faces for _, faces in shots], times, [scene_of(frame) for frame, _ in shots])
    return [presence(track) for track in tracks]


def sway(number: int, frames: int, room: int = 1, x: int = 120, side: int = 200) -> list[tuple[Image, list[Face]]]:
    return [
        shot(room, (number, x + 6 * (i % 3), 20 + 4 * (i % 2), side), light=0.85 + 0.1 * (i % 4), quality=30 + 9 * i)
        for i in range(frames)
    ]


def test_one_person_is_one_track() -> None:
    assert follow(sway(1, 7)) == [7]


@pytest.mark.parametrize("room", [1, 2], ids=["same room", "another room"])
def test_two_people_at_one_place_are_two_tracks(room: int) -> None:
    assert follow(sway(1, 4) + sway(3, 4, room)) == [4, 4]
    assert follow(sway(1, 4) + sway(3, 3, room) + sway(1, 3)) == [7, 3]


def test_one_person_in_two_shots_is_one_track() -> None:
    assert follow(sway(3, 3) + sway(3, 3, room=2, x=300, side=110) + sway(3, 2)) == [8]


@pytest.mark.parametrize("frames", [4, 8, 16, 32])
@pytest.mark.parametrize("side", [60, 110])
def test_who_walks_through_is_one_track_however_few_the_samples(side: int, frames: int) -> None:
    way = np.linspace(0, WIDE - side, frames).astype(int).tolist()
    assert follow([shot(1, (4, x, 60, side)) for x in way], step=8 / frames) == [frames]


def test_two_people_who_pass_each_other_keep_their_tracks() -> None:
    shots = [shot(1, (1, 30 * i, 10, 110), (2, 360 - 30 * i, 130, 110)) for i in range(12)]
    frames = [faces if i % 2 else faces[::-1] for i, (_, faces) in enumerate(shots)]
    tracks = follow_faces(frames, [0.3 * i for i in range(12)], [scene_of(frame) for frame, _ in shots])
    assert [presence(track) for track in tracks] == [12, 12]
    for track in tracks:
        steps = np.diff([face.box[0] for face in track if face])
        assert (np.sign(steps) == np.sign(steps[0])).all()


def test_a_dissolve_divides_a_track() -> None:
    before, after = shot(1, (1, 120, 20, 200))[0], shot(1, (3, 120, 20, 200))[0]
    faces = shot(1, (1, 120, 20, 200))[1]
    shots = []
    for share in (0, 0, 0, 0, 0.25, 0.5, 0.75, 1, 1, 1, 1):
        frame = cv2.addWeighted(before, 1 - share, after, share, 0).astype(np.uint8)
        shots.append((frame, with_looks(frame, faces)))
    assert len([count for count in follow(shots) if count >= 4]) == 2


def test_a_place_left_long_ago_is_not_continued_by_another() -> None:
    """Without looks: after seconds without anybody, whoever appears is somebody else."""
    here = [face(10)]
    frames: list[list[Face]] = [here, here, *[[]] * 6, here, here]
    assert [presence(track) for track in follow_faces(frames, list(range(10)))] == [2, 2]
    assert [presence(track) for track in follow_faces([here, here, [], here], list(range(4)))] == [3]


@pytest.mark.parametrize(("step", "tracks"), [(1.0, 1), (0.1, 2)])
def test_how_far_a_head_can_get_depends_on_the_time(step: float, tracks: int) -> None:
    """Without looks: to and fro by 2.5 face widths, which takes some time."""
    frames = [[face(x, size=80)] for x in (0, 0, 200, 200, 0, 0, 200, 200, 0, 0)]
    assert len(follow_faces(frames, [step * i for i in range(10)])) == tracks


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.tuples(st.floats(0, 600), st.floats(10, 120)), max_size=4), max_size=12))
def test_every_detection_is_in_one_track_once(given_: list[list[tuple[float, float]]]) -> None:
    frames = [[face(x, size=side) for x, side in row] for row in given_]
    tracks = follow_faces(frames)
    for now, faces in enumerate(frames):
        found = [id(track[now]) for track in tracks if track[now] is not None]
        assert sorted(found) == sorted(map(id, faces))


def test_presence_is_measured_by_the_frames_with_faces() -> None:
    alone = [shot(1, (1, 120, 20, 200))[1]] * 3
    other = [shot(1, (3, 300, 20, 100))[1]]
    frames: list[list[Face]] = [*alone, *other, *[[]] * 28]
    assert [presence(track) for track in track_faces(frames, 4)] == [3]  # 3 of 32, but of 4 with a face
    assert track_faces(other + [[]] * 31, 4) == []
    assert len(track_faces(other + [[]] * 3, 4)) == 1  # of few frames one is enough
    many = [shot(number, (number, 120, 20, 200)) for number in (1, 3, 5, 6, 7) for _ in range(2)]
    scenes = [scene_of(frame) for frame, _ in many]
    assert len(track_faces([faces for _, faces in many], 9, scenes=scenes)) == 5  # none has a quarter of the frames
    assert is_lasting([None] * 7 + other) is False


def test_looks_of_one_person_are_alike_and_of_two_are_not() -> None:
    first = person(1)
    turned = cv2.warpAffine(first.picture, cv2.getRotationMatrix2D((112, 112), 15, 0.6), (224, 224))
    matrix = cv2.getRotationMatrix2D((112, 112), 15, 0.6)
    points = (first.face.landmarks @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
    looks = [look_of(first.picture, first.face.box, first.face.landmarks), look_of(turned, first.face.box, points)]
    other = look_of(person(2).picture, person(2).face.box, person(2).face.landmarks)
    assert looks[0] and looks[1] and other
    assert unlikeness(looks[:1], looks[:1]) < 1e-3
    assert unlikeness(looks[:1], looks[1:]) < 0.7
    assert unlikeness(looks[:1], [other]) > 0.95


def test_a_look_needs_an_extent() -> None:
    image = np.zeros((40, 40, 3), np.uint8)
    nowhere: NDArray[np.float32] = np.full((5, 2), np.nan, np.float32)
    assert look_of(image, np.array([5, 5, 5, 5], np.float32), nowhere) is None
    assert look_of(image, np.array([90, 90, 99, 99], np.float32), nowhere) is None
    assert look_of(image, np.array([5, 5, 35, 35], np.float32), np.zeros((5, 2), np.float32)) is None
    assert look_of(image, np.array([-5, -5, 35, 35], np.float32), nowhere) is not None


def test_a_walk_a_pan_and_light_are_no_cuts() -> None:
    frame, _ = shot(1, (1, 20, 20, 110))
    here = scene_of(frame)
    assert not may_be_cut(here, scene_of(shot(1, (1, 250, 60, 110))[0]))
    assert not may_be_cut(here, scene_of(shot(1, (1, 20, 20, 110), light=0.8, quality=20)[0]))
    assert not may_be_cut(here, scene_of(np.roll(frame, 12, axis=1)))
    assert may_be_cut(here, scene_of(shot(2, (1, 20, 20, 110))[0]))


@pytest.mark.parametrize("angle", [-50, 0, 20])
def test_turn_does_not_depend_on_roll(angle: float) -> None:
    points = np.array([[-1, 0], [1, 0], [0.8, 1.2], [-0.7, 2], [0.9, 2]])
    a = np.radians(angle)
    turned = points @ np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])
    roll, turn = turn_of(turned[None])
    assert roll[0] == pytest.approx(abs(angle))
    assert turn[0] == pytest.approx(0.4)


class Brightest(FaceDetector):
    """What is bright is a face: for videos of a patch."""

    @property
    def spec(self) -> dict[str, str]:
        return {"detector": "Brightest"}

    def detect(self, image: Image) -> list[Face]:
        rows, columns = np.where(image[:, :, 0] > 180)
        if not len(rows):
            return []
        box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], np.float32)
        return [Face(box, 1.0, np.full((5, 2), np.nan, np.float32))]


def patch(path: Path, where: Callable[[int], int | None], frames: int = 96) -> VideoRecord:
    film = np.full((frames, 180, 640, 3), 90, np.uint8)
    for number in range(frames):
        if (x := where(number)) is not None:
            film[number, 70:110, x : x + 30] = 220
    write_video(path, film)
    return VideoRecord("folder", "original", "", "walk", REAL, "video", (path,), ("walk",))


def cut(video: VideoRecord, frames: int) -> Outcome:
    outcome = list(crop_video(video, Extraction(frames=frames, size=64, detector=Brightest())))[-1]
    assert isinstance(outcome, Outcome)
    return outcome


@pytest.mark.parametrize("frames", [4, 8, 16, 32])
def test_a_walk_is_cut_out_in_each_frame(frames: int, tmp_path: Path) -> None:
    outcome = cut(patch(tmp_path / "walk.mp4", lambda number: 20 + 6 * number), frames)
    assert len(outcome.rows) == frames
    assert {row["track"] for row in outcome.rows} == {0}
    assert "note" not in outcome.report


def test_the_reason_for_no_crops_is_the_true_one(tmp_path: Path) -> None:
    brief = cut(patch(tmp_path / "brief.mp4", lambda number: 100 if 40 <= number < 46 else None), 8)
    assert "faces in 1 of 8 frames of 640x180 px, none of them in two frames" in brief.report["skipped"]
    assert "no face found in 8 frames" in cut(patch(tmp_path / "empty.mp4", lambda _: None), 8).report["skipped"]


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
