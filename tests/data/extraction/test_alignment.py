"""The boxes of an original in a fake: as many frames, spread over its length, and the same faces under one number."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, strategies as st
from numpy.typing import NDArray

from resgat_pl.core.errors import MediaError
from resgat_pl.core.types import REAL, VideoRecord
from resgat_pl.data.extraction.alignment import Original, Plan, Recent, SideBySide, planned, rows_of, tracks_of
from resgat_pl.data.media.frames import Frame, FrameReader


def row(track: int, frame: int, box: list[int], points: list[float] | None = None) -> dict[str, Any]:
    return {"track": track, "frame_index": frame, "box": box, "landmarks": points}


def still(track: int, frames: range, left: int = 0) -> list[dict[str, Any]]:
    return [row(track, frame, [left, 0, left + 50, 50]) for frame in frames]


def plan(rows: list[dict[str, Any]], length: int, fill: bool = True, others: tuple[dict[str, Any], ...] = ()) -> Plan:
    media = SimpleNamespace(indices=np.arange(length))
    return planned(Original(rows, [200, 100], others), cast("FrameReader", media), fill)


@given(st.integers(1, 40), st.integers(2, 12), st.integers(1, 400))
def test_a_shorter_fake_gets_as_many_frames_over_its_length(count: int, step: int, length: int) -> None:
    sampled = range(step // 2, count * step, step)
    found = plan(still(0, sampled), length)
    numbers = found.wanted
    assert len(numbers) == found.asked == min(len(sampled), length)
    assert {number for number in sampled if number < length} <= set(numbers)  # those stay aligned
    assert numbers[-1] < length
    if length <= sampled[-1]:
        assert max(np.diff([-1, *numbers, length])) <= 2 * np.ceil(length / len(numbers)) + 1
    assert {tuple(cut.box) for cut in found.tracks[0].values()} == {(0, 0, 50, 50)}


def test_a_third_of_the_length() -> None:
    found = plan(still(0, range(4, 300, 9)), 100)
    assert len(found.wanted) == 33
    assert np.diff(found.wanted).max() <= 6
    assert found.numbers == list(range(4, 100, 9))  # what can be compared with the original
    assert plan(still(0, range(4, 300, 9)), 100, fill=False).wanted == list(range(4, 100, 9))


def test_boxes_in_between_move_along() -> None:
    rows = [row(0, 0, [0, 10, 40, 50], [0.5] * 10), row(0, 10, [5, 10, 55, 60], [0.5] * 10)]
    rows += [row(0, 20, [10, 10, 60, 60], [0.5] * 10)]
    found = plan([*rows, row(0, 30, [10, 10, 60, 60])], 12)
    assert len(found.wanted) == 4
    for number, cut in found.tracks[0].items():
        assert cut.box[0] == round(number / 2)
        assert cut.box[2] - cut.box[0] == cut.box[3] - cut.box[1]


def test_frames_between_which_a_face_jumps_are_not_taken() -> None:
    rows = [row(0, frame, [60 * (frame // 10), 0, 60 * (frame // 10) + 50, 50]) for frame in range(0, 50, 10)]
    found = plan(rows, 15)
    assert found.wanted == [0, 10]
    assert found.asked == 5  # and the shortfall is reported
    far = plan(still(0, range(0, 1000, 100)), 150)
    assert len(far.wanted) < far.asked


def test_faces_keep_the_numbers_of_the_original() -> None:
    """The first face is in none of the fake's frames."""
    found = plan([*still(0, range(50, 100, 5)), *still(1, range(0, 100, 5), 100)], 40, fill=False)
    assert {number: cuts[0].box.tolist() for number, cuts in found.tracks.items()} == {1: [100, 0, 150, 50]}


def test_faces_that_the_original_was_not_cut_by_are_remembered() -> None:
    points = np.arange(10, dtype=np.float32) / 10
    others = tuple(rows_of(tracks_of([row(2, 5, [7, 8, 27, 28], points.tolist())])))
    found = plan(still(0, range(0, 30, 5)), 30, others=others)
    assert sorted(found.tracks) == [0, 2]
    cut = found.tracks[2][5]
    assert cut.box.tolist() == [7, 8, 27, 28]
    np.testing.assert_allclose(cut.relative, points, atol=1e-6)
    assert tracks_of(still(0, range(2)))[0][1].relative is None


def frames(*numbers: int) -> list[Frame]:
    return [Frame(number, 0.0, np.full((4, 4, 3), number, np.uint8)) for number in numbers]


def value(image: NDArray[np.uint8] | None) -> int | None:
    return None if image is None else int(image[0, 0, 0])


def test_frames_beside() -> None:
    beside = SideBySide(frames(2, 4, 6))
    assert [value(beside.get(number)) for number in (1, 2, 3, 4, 4, 7, 8)] == [None, 2, None, 4, 4, None, None]

    def breaks() -> Any:
        yield from frames(1)
        raise MediaError("cut off")

    beside = SideBySide(breaks())
    assert [value(beside.get(number)) for number in (1, 2, 3)] == [1, None, None]


def test_frames_stay_in_memory_for_the_next_fake(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[list[int]] = []

    class Counted:
        def __init__(self, files: tuple[Path, ...], kind: str) -> None:
            if files == (Path("broken"),):
                raise MediaError("broken")

        def read(self, numbers: list[int]) -> Any:
            read.append(numbers)
            return iter(frames(*numbers))

    monkeypatch.setattr("resgat_pl.data.extraction.alignment.FrameReader", Counted)
    one, other, broken = (
        VideoRecord("ffpp", "original", "", name, REAL, "video", (Path(name),), (name,))
        for name in ("a", "b", "broken")
    )
    recent = Recent()
    for _ in range(2):
        assert value(recent.beside(one, [1, 3]).get(3)) == 3
    assert read == [[1, 3]]
    recent.keep(other, frames(5))
    assert value(recent.beside(other, [5]).get(5)) == 5
    assert read == [[1, 3]]
    assert value(recent.beside(broken, [1]).get(1)) is None
    assert value(recent.beside(None, [1]).get(1)) is None
