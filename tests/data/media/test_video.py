"""What a decoder yields and a player shows, whatever the header says of it."""

from __future__ import annotations

import os
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from resgat_pl.core.errors import MediaError
from resgat_pl.data.media.frames import Frame, FrameReader, sample_indices, sample_times

from ...helpers.clips import GROUPS, barcode, number_of, remux, write


def read(path: Path, frames: int = 8) -> tuple[FrameReader, list[Frame]]:
    media = FrameReader([path], "video")
    return media, list(media.read(media.sample(frames)))


def shown(path: Path, first: int = 0, total: int = 100) -> list[str]:
    """Check that a clip is read as ``total`` frames that show their numbers from ``first`` on; return the notes."""
    media, some = read(path)
    assert len(media.indices) == total
    assert [frame.number for frame in some] == sample_indices(total, 8).tolist()
    every = list(media.read(media.indices))
    assert len(every) == total
    for frame in (*some, *every):
        assert number_of(frame.image) == frame.number + first
        assert frame.time == pytest.approx(frame.number / 25, abs=0.0011)  # Matroska counts in ms
    return media.notes


@pytest.mark.parametrize("flags", ["", "frag_keyframe", "frag_keyframe+empty_moov", "faststart"])
def test_an_index_in_the_header_need_not_name_all_frames(flags: str, tmp_path: Path) -> None:
    assert shown(write(tmp_path / "a.mp4", flags=flags)) == []


@pytest.mark.parametrize("claim", [7, 0])
@pytest.mark.parametrize("codec", ["mpeg4", "libx264"])
def test_a_wrong_count_is_not_believed(codec: str, claim: int, tmp_path: Path) -> None:
    path = write(tmp_path / "a.avi", codec=codec, options=GROUPS if codec == "libx264" else {"bf": "2", "g": "20"})
    data = bytearray(path.read_bytes())
    for at in (data.index(b"avih") + 24, data.index(b"strh") + 40):
        assert struct.unpack_from("<I", data, at) == (100,)
        struct.pack_into("<I", data, at, claim)
    path.write_bytes(data)
    assert shown(path) == []


def test_a_header_that_says_more_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.avi", codec="mpeg4", options={"g": "20"})
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.index(b"strh") + 40, 700)
    path.write_bytes(data)
    (note,) = shown(path)
    assert "28.0 s, but its pictures end after 4.0 s" in note


@pytest.mark.parametrize("name", ["a.webm", "b.webm", "a.mkv", "a.mpg", "a.flv", "a.ts", "a.mov"])
def test_containers_without_a_count(name: str, tmp_path: Path) -> None:
    codec, options = {
        "a.webm": ("libvpx", {"auto-alt-ref": "1", "lag-in-frames": "16", "g": "30"}),  # packets that show nothing
        "b.webm": ("libvpx-vp9", {"auto-alt-ref": "1", "lag-in-frames": "16", "cpu-used": "8"}),
        "a.mpg": ("mpeg2video", {"bf": "2", "g": "12"}),
    }.get(name, ("libx264", GROUPS))
    assert shown(write(tmp_path / name, codec=codec, options=options)) == []


def test_frames_of_vp8_that_are_only_referred_to(tmp_path: Path) -> None:
    path = write(tmp_path / "a.webm", codec="libvpx", options={"g": "100"})
    with av.open(str(path)) as container:
        packet = next(packet for place, packet in enumerate(container.demux(video=0)) if place == 40)
        content = bytes(packet)
    data = path.read_bytes()
    assert data.count(content) == 1
    path.write_bytes(data.replace(content, bytes([content[0] & ~0x10]) + content[1:]))
    media = FrameReader([path], "video")
    every = list(media.read(media.indices))
    assert [frame.number for frame in every] == list(range(99))
    assert [number_of(frame.image) for frame in every] == [*range(40), *range(41, 100)]
    assert media.notes == []


def test_an_edit_list_leaves_out_frames(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4")
    cut = remux(path, tmp_path / "b.mp4", Fraction(-1), options={"avoid_negative_ts": "disabled"})
    assert shown(cut, first=25, total=75) == []


@pytest.mark.parametrize("name", ["b.ts", "b.mkv"])
@pytest.mark.parametrize("gop", ["0", "1"])
def test_a_recording_that_begins_between_key_frames(name: str, gop: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.ts", options={**GROUPS, "x264-params": f"open-gop={gop}"})
    media = read(remux(path, tmp_path / name, first=27))[0]
    first = number_of(next(iter(media.read([0]))).image)
    assert shown(tmp_path / name, first, 100 - first) == []
    assert first >= 39


@pytest.mark.parametrize(("start", "note"), [(0, ""), (36000, "10:00:00"), (95442, ""), (-3, "")])
def test_times_count_from_the_first_picture(start: int, note: str, tmp_path: Path) -> None:
    """95,443.7 s is where the clock of 33 bits begins again."""
    path = write(tmp_path / "a.mp4", options={**GROUPS, "bf": "0"})
    notes = shown(remux(path, tmp_path / "b.ts", Fraction(start), "mpegts"))
    assert note in "".join(notes)
    assert len(notes) == (1 if note else 0)


@pytest.mark.parametrize("later", [0, 30000])
def test_joined_recordings_go_on_where_their_clock_does_not(later: int, tmp_path: Path) -> None:
    one = write(tmp_path / "a.ts", 50)
    two = remux(one, tmp_path / "b.ts", Fraction(later), "mpegts")
    (tmp_path / "c.ts").write_bytes(one.read_bytes() + two.read_bytes())
    media, frames = read(tmp_path / "c.ts")
    assert len(media.indices) == 100
    assert [number_of(frame.image) for frame in frames] == [frame.number % 50 for frame in frames]
    assert [frame.time for frame in frames] == pytest.approx([frame.number / 25 for frame in frames])
    assert media.notes == []


def test_a_varying_rate_is_sampled_over_time(tmp_path: Path) -> None:
    stamps = [40 * n for n in range(50)] + [2000 + 200 * n for n in range(50)]
    media, frames = read(write(tmp_path / "a.mkv", stamps=stamps), 12)
    times = [frame.time for frame in frames]
    assert times == pytest.approx([0.5 + n for n in range(12)], abs=0.31)  # shown for 0.2 s, the last for less
    assert [number_of(frame.image) for frame in frames] == [frame.number for frame in frames]
    assert any("rate varies" in note for note in media.notes)
    jitter = np.random.default_rng(0).integers(0, 15, 100)
    media = FrameReader([write(tmp_path / "b.mkv", stamps=[40 * n + int(jitter[n]) for n in range(100)])], "video")
    assert media.sample(8).tolist() == sample_indices(100, 8).tolist()


def test_a_long_still_does_not_use_up_the_sample() -> None:
    times = np.concatenate([[0.0], 10 + np.arange(100) / 100])
    chosen = sample_times(times, 11.0, 32)
    assert len(np.unique(chosen)) == 32
    assert chosen[0] == 0
    even = np.arange(180) / 25
    assert sample_times(even, 180 / 25 + 1e-9, 32).tolist() == sample_indices(180, 32).tolist()


def test_damage_costs_what_is_damaged(tmp_path: Path) -> None:
    data = bytearray(write(tmp_path / "a.ts").read_bytes())
    place = len(data) // 3
    data[place : place + 2000] = np.random.default_rng(0).bytes(2000)
    (tmp_path / "b.ts").write_bytes(data)
    media = FrameReader([tmp_path / "b.ts"], "video")
    every = list(media.read(media.indices))
    assert len(every) >= 85
    assert number_of(every[0].image) == 0
    assert number_of(every[-1].image) == 99  # what comes behind the damage is not lost
    assert every[-1].time == pytest.approx(99 / 25)
    noise = list(np.random.default_rng(1).integers(0, 255, (60, 96, 128, 3), np.uint8))
    data = bytearray(write(tmp_path / "c.mp4", noise, flags="faststart").read_bytes())
    (tmp_path / "d.mp4").write_bytes(data[: len(data) // 2])
    media, _ = read(tmp_path / "d.mp4")
    assert 20 < len(media.indices) < 40
    assert any("2.4 s, but its pictures end after" in note for note in media.notes)


def test_a_packet_that_cannot_be_decoded_costs_only_itself(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", options={"g": "20", "bf": "0", "sc_threshold": "0"})
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    start, size = places[50]
    data[start : start + size] = b"\xff" * size
    path.write_bytes(data)
    media = FrameReader([path], "video")
    every = list(media.read(media.indices))
    assert len(media.indices) == 100
    assert {frame.number for frame in every} >= {*range(50), *range(60, 100)}
    assert all(number_of(frame.image) == frame.number for frame in every if not 50 <= frame.number < 60)
    some = list(media.read([10, 50, 90]))
    assert [frame.number for frame in some] == [10, 90]
    assert "Only 2 of 3 frames could be decoded: 1 of its packets cannot be decoded." in media.notes


def two_streams(path: Path, defaults: tuple[int, int], sizes: tuple[int, int] = (32, 64)) -> Path:
    with av.open(str(path), "w") as file:
        streams = [file.add_stream("libx264", rate=25, options=GROUPS) for _ in range(2)]
        for stream, default, size in zip(streams, defaults, sizes, strict=True):
            stream.width, stream.height, stream.pix_fmt, stream.disposition = size, 48, "yuv420p", default
        for number in range(10):
            for stream in streams:
                image = np.full((48, stream.width, 3), 20 if stream is streams[0] else 200, np.uint8)
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts = number
                file.mux(stream.encode(frame))
        for stream in streams:
            file.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    ("defaults", "sizes", "level"),
    [((0, 1), (32, 64), 200), ((0, 1), (64, 32), 200), ((1, 0), (32, 64), 20), ((0, 0), (32, 64), 200)],
)
def test_the_stream_that_a_player_shows(
    defaults: tuple[int, int], sizes: tuple[int, int], level: int, tmp_path: Path
) -> None:
    media, frames = read(two_streams(tmp_path / "a.mkv", defaults, sizes))
    assert abs(int(frames[0].image.mean()) - level) < 5
    assert any("2 video streams" in note for note in media.notes)


def test_a_single_picture_beside_a_video_is_not_taken_for_it(tmp_path: Path) -> None:
    """Covers in Matroska, and the still picture of an AVIF sequence, are streams like others."""
    with av.open(str(tmp_path / "a.mkv"), "w") as file:
        cover, video = file.add_stream("mjpeg", rate=25), file.add_stream("libx264", rate=25, options=GROUPS)
        cover.width, cover.height, cover.pix_fmt = 128, 96, "yuvj420p"
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        file.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((96, 128, 3), np.uint8), format="rgb24")))
        for number in range(20):
            file.mux(video.encode(av.VideoFrame.from_ndarray(barcode(number), format="rgb24")))
        for stream in (cover, video):
            file.mux(stream.encode())
    media, frames = read(tmp_path / "a.mkv")
    assert len(media.indices) == 20
    assert [number_of(frame.image) for frame in frames] == [frame.number for frame in frames]


def test_a_cover_picture_is_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as file:
        sound, cover = file.add_stream("aac", rate=8000), file.add_stream("mjpeg", rate=25)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        file.mux(cover.encode(av.VideoFrame.from_ndarray(barcode(3), format="rgb24")))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        file.mux(sound.encode(frame))
        file.mux(sound.encode())
        file.mux(cover.encode())
    with av.open(str(tmp_path / "a.mp4")) as file:
        covers = [bool(s.disposition & av.stream.Disposition.attached_pic) for s in file.streams.video]
    if covers != [True]:
        pytest.skip("this FFmpeg writes no covers")
    with pytest.raises(MediaError, match="no video stream but a cover picture"):
        FrameReader([tmp_path / "a.mp4"], "video")


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.mkv"])
def test_tags_in_any_encoding(name: str, tmp_path: Path) -> None:
    plain = write(tmp_path / f"plain_{name}", codec="mpeg4", options={"g": "20"})

    def title(container: object) -> None:
        container.metadata["title"] = "XQZTITLE"  # type: ignore[attr-defined]  # a container

    path = remux(plain, tmp_path / name, prepare=title)
    path.write_bytes(path.read_bytes().replace(b"XQZTITLE", b"Caf\xe9 n\xb02"))
    assert shown(path) == []


@pytest.mark.parametrize("name", [b"a:b.mp4", b"-x.mp4", b"img%03d.mp4", b"concat:a|b.mp4", b"caf\xe9.mp4", b"a.png"])
def test_names_are_names(name: bytes, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(name)
    try:
        (write(tmp_path / "plain.mp4")).rename(path)
    except OSError:
        pytest.skip("this file system wants Unicode")
    assert shown(path) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{}\n#EXT-X-ENDLIST\n"),
        ("a.ffconcat", "ffconcat version 1.0\nfile {}\n"),
        ("a.mp4", "ffconcat version 1.0\nfile {}\n"),
    ],
)
def test_a_playlist_opens_nothing(name: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "plain.ts", 10)
    (tmp_path / name).write_text(text.format("plain.ts"))
    with pytest.raises(MediaError, match="a playlist, which names other files"):
        FrameReader([tmp_path / name], "video")
