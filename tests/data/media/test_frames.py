from __future__ import annotations

import os
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, strategies as st

from resgat_pl.core.errors import MediaError
from resgat_pl.data.media.frames import FrameReader, sample_indices
from resgat_pl.data.media.images import read_image
from resgat_pl.data.media.video import VideoFile

from ...helpers.clips import write


def write_video(path: Path, frames: int = 30) -> None:
    """A grey level per frame: 7 × its number."""
    write(path, [np.full((64, 96, 3), 7 * number % 256, np.uint8) for number in range(frames)], options={"crf": "10"})


@given(st.integers(1, 500), st.integers(1, 80))
def test_samples_are_even_and_unique(total: int, frames: int) -> None:
    chosen = sample_indices(total, frames)
    assert len(chosen) == min(total, frames)
    assert (np.diff(chosen) > 0).all()
    assert chosen[0] >= 0
    assert chosen[-1] < total
    if len(chosen) > 1:
        assert np.ptp(np.diff(chosen)) <= 1


def test_all_and_every() -> None:
    assert sample_indices(5, "all").tolist() == [0, 1, 2, 3, 4]
    assert sample_indices(10, "all", every=4).tolist() == [0, 4, 8]
    assert sample_indices(10, 2, every=4).tolist() == [0, 4]


def test_reads_the_frames_asked_for(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4")
    media = FrameReader([tmp_path / "a.mp4"], "video")
    assert len(media.indices) == 30
    frames = list(media.read([3, 17, 29, 40]))
    assert [frame.number for frame in frames] == [3, 17, 29]
    for frame in frames:
        assert abs(int(frame.image.mean()) - 7 * frame.number) <= 2
        assert frame.image.shape == (64, 96, 3)
        assert frame.time == pytest.approx(frame.number / 25)


def test_opens_the_file_once_per_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(tmp_path / "a.mp4")
    opened = []
    real = av.open

    def counting(*args: object, **kwargs: object) -> object:
        container = real(*args, **kwargs)  # type: ignore[call-overload]  # passed through
        opened.append(container)
        return container

    monkeypatch.setattr(av, "open", counting)
    media = FrameReader([tmp_path / "a.mp4"], "video")
    assert len(opened) == 1  # for the time stamps
    for times in (2, 3):
        list(media.read(range(0, 30, 3)))
        assert len(opened) == times  # to decode; not once a frame


def test_a_video_that_breaks_off_gives_what_there_is(tmp_path: Path) -> None:
    write_video(tmp_path / "whole.mkv", frames=60)
    data = (tmp_path / "whole.mkv").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) * 2 // 3])
    media = FrameReader([tmp_path / "cut.mkv"], "video")
    numbers = [frame.number for frame in media.read(range(60))]
    assert 0 < len(numbers) < 60
    assert numbers == list(range(len(numbers)))


def test_broken_videos(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4")
    data = (tmp_path / "a.mp4").read_bytes()
    contents = {"empty": b"", "not a video": b"just text\n" * 50, "cut off": data[: len(data) // 2]}
    contents |= {"decoder": data.replace(b"avc1", b"zzz9")}
    path = tmp_path / "broken.mp4"
    with pytest.raises(MediaError, match=r"broken\.mp4.*cannot be opened"):
        FrameReader([path], "video")
    for message, content in contents.items():
        path.write_bytes(content)
        with pytest.raises(MediaError, match=rf"broken\.mp4.*{message}"):
            next(FrameReader([path], "video").read([0]))


def test_image_files_keep_their_numbers(tmp_path: Path) -> None:
    for number in (2, 5, 9):
        cv2.imwrite(str(tmp_path / f"{number:04d}.png"), np.full((8, 8, 3), number, np.uint8))
    media = FrameReader(sorted(tmp_path.iterdir()), "frames")
    assert media.indices.tolist() == [2, 5, 9]
    frames = list(media.read([5, 9]))
    assert [frame.number for frame in frames] == [5, 9]
    assert [int(frame.image[0, 0, 0]) for frame in frames] == [5, 9]
    assert FrameReader([tmp_path / "0009.png", tmp_path / "0002.png"], "frames").indices.tolist() == [0, 1]


def test_images_come_as_rgb(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "red ünïcode.png"), np.full((4, 4, 3), (0, 0, 255), np.uint8))
    assert read_image(tmp_path / "red ünïcode.png")[0, 0].tolist() == [255, 0, 0]
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((4, 4), 9, np.uint8))
    assert read_image(tmp_path / "grey.png").shape == (4, 4, 3)
    cv2.imwrite(str(tmp_path / "alpha.png"), np.zeros((4, 4, 4), np.uint8))
    assert read_image(tmp_path / "alpha.png").shape == (4, 4, 3)
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(MediaError, match="not an image"):
        read_image(tmp_path / "text.png")


@pytest.mark.parametrize(
    "options", [{}, {"bf": "0"}, {"x264-params": "b-pyramid=none:bframes=8"}, {"tune": "zerolatency"}]
)
def test_leaving_frames_out_changes_nothing(options: dict[str, str], tmp_path: Path) -> None:
    texture = np.random.default_rng(0).integers(0, 255, (64, 200, 3), np.uint8)
    images = [np.ascontiguousarray(texture[:, number : number + 64]) for number in range(90)]
    media = FrameReader([write(tmp_path / "a.mp4", images, options=options)], "video")
    every = {frame.number: frame for frame in media.read(range(90))}
    assert len(every) == 90
    for wanted in ([5], [0, 89], list(range(1, 90, 7)), [44, 45, 46], [80, 200]):
        frames = list(media.read(wanted))
        assert [frame.number for frame in frames] == [number for number in wanted if number < 90]
        for frame in frames:
            assert (frame.image == every[frame.number].image).all()
            assert frame.time == every[frame.number].time


def test_fewer_frames_are_decoded_than_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shortcut is taken at all: without it, nothing is left to read the frames."""
    path = write(tmp_path / "a.mp4", [np.full((64, 64, 3), 5 * number, np.uint8) for number in range(40)], options={})
    monkeypatch.setattr(VideoFile, "_decode_all", lambda file, wanted: iter(()))
    assert [frame.number for frame in FrameReader([path], "video").read([3, 20, 37])] == [3, 20, 37]


def test_what_is_too_large_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((30, 40, 3), np.uint8))
    assert read_image(tmp_path / "a.png", 1200).shape == (30, 40, 3)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(MediaError, match=r"a\.png: is too large: 40x30 px, at most 1,199 pixels"):
        read_image(tmp_path / "a.png", 1199)
    write_video(tmp_path / "a.mp4", frames=2)
    monkeypatch.setattr("resgat_pl.data.media.images.check_size.__defaults__", (96 * 64 - 1,))
    with pytest.raises(MediaError, match=r"a\.mp4: is too large: 96x64 px"):
        FrameReader([tmp_path / "a.mp4"], "video")


@pytest.mark.parametrize("name", ["a.mp4", "a.png"])
def test_a_pipe_is_not_waited_for(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(MediaError, match=f"{name}: is no file"):
        next(FrameReader([tmp_path / name], "video" if name == "a.mp4" else "frames").read([0]))
