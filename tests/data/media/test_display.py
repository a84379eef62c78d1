"""Shape, turn, fields and brightness of video pictures, as a player shows them."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from resgat_pl.data.media.frames import FrameReader

from ...helpers.clips import GROUPS, write

Image = NDArray[np.uint8]


def first(path: Path) -> tuple[Image, list[str]]:
    media = FrameReader([path], "video")
    image = next(iter(media.read([0]))).image
    return image, media.notes


def corners() -> Image:
    """Four grey levels in the corners of ``(48, 64, 3)``: no turn or mirror image is like another."""
    image = np.full((48, 64, 3), 20, np.uint8)
    image[:24, :32], image[:24, 32:], image[24:, :32] = 80, 140, 200
    return image


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
@pytest.mark.parametrize(
    ("aspect", "size"),
    [
        (Fraction(2, 1), (48, 128)),
        (Fraction(1, 2), (96, 64)),
        (Fraction(16, 15), (48, 68)),
        (Fraction(199, 200), (48, 64)),  # nobody sees so little, and resampling blurs
        (Fraction(1, 1), (48, 64)),
    ],
)
def test_pixels_are_square(aspect: Fraction, size: tuple[int, int], name: str, tmp_path: Path) -> None:
    def shape(stream: Any) -> None:
        stream.codec_context.sample_aspect_ratio = aspect

    image, notes = first(write(tmp_path / name, [corners()] * 6, options={"crf": "5"}, prepare=shape))
    assert image.shape[:2] == size
    quarters = [image[y, x, 0] for y in (5, -5) for x in (5, -5)]
    assert np.abs(np.array(quarters, int) - [80, 140, 200, 20]).max() < 6
    assert len(notes) == (size != (48, 64))


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("turns", range(4))
def test_pictures_are_upright(turns: int, mirrored: bool, tmp_path: Path) -> None:
    """The matrix of an MP4's track header, as phones and editors write it."""
    stored = np.rot90(corners(), turns)  # to be turned clockwise as often
    a, b = ((1, 0), (0, 1), (-1, 0), (0, -1))[turns]
    matrix = [[a, b], [-b, a]]
    if mirrored:
        stored = stored[:, ::-1]
        matrix[0] = [-a, -b]
    path = write(tmp_path / "a.mp4", [np.ascontiguousarray(stored)] * 2, options={"crf": "5"})
    data = bytearray(path.read_bytes())
    values = [value << 16 for row in matrix for value in (*row, 0)]
    struct.pack_into(">9i", data, data.index(b"tkhd") + 44, *values, 0, 0, 1 << 30)
    path.write_bytes(data)
    image, notes = first(path)
    assert image.shape == (48, 64, 3)
    assert np.abs(image.astype(int) - corners()).mean() < 3
    assert bool(notes) == bool(turns or mirrored)


def combs(image: Image) -> float:
    """Mean difference of each line to the two beside it."""
    lines = image[..., 0].astype(int)
    return float(np.abs(2 * lines[1:-1] - lines[:-2] - lines[2:]).mean())


def test_fields_are_put_together(tmp_path: Path) -> None:
    def bar(place: int) -> Image:
        image = np.full((96, 160, 3), 60, np.uint8)
        image[:, 10 + place : 30 + place] = 220
        return image

    frames = []
    for number in range(12):
        frame = bar(8 * number)
        frame[1::2] = bar(8 * number + 4)[1::2]
        frames.append(frame)
    still = write(tmp_path / "a.mp4", frames, options={"crf": "5"})
    fields = write(tmp_path / "b.mp4", frames, options={"crf": "5", "x264-params": "interlaced=1"})
    plain, deinterlaced = FrameReader([still], "video"), FrameReader([fields], "video")
    assert len(deinterlaced.indices) == 12
    for wanted in ([0, 5, 11], range(12), [9]):
        for one, other in zip(plain.read(wanted), deinterlaced.read(wanted), strict=True):
            assert combs(one.image) > 10
            assert combs(other.image) < 1
            assert one.number == other.number
            assert abs(np.flatnonzero(other.image[48, :, 0] > 140).mean() - (21.5 + 8 * one.number)) < 3
    assert plain.notes == []
    assert deinterlaced.notes == ["The video is interlaced; it was deinterlaced (yadif)."]


@pytest.mark.parametrize(("transfer", "name"), [pytest.param(16, "PQ", marks=pytest.mark.long), (18, "HLG")])
def test_high_dynamic_range_is_mapped_or_noted(
    transfer: int, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "HLG":  # once is enough for FFmpeg's table of 5 s, and an old FFmpeg does not know the option
        monkeypatch.setattr("resgat_pl.data.media.display._TO_SDR", "no_such_option=1")

    ramp = np.tile(np.linspace(0, 255, 64).astype(np.uint8)[None, :, None], (48, 1, 3))

    def tag(stream: Any) -> None:
        stream.codec_context.color_trc, stream.codec_context.color_primaries = transfer, 9
        stream.codec_context.colorspace = 9

    path = write(tmp_path / "a.mp4", [ramp] * 2, options={"crf": "5"}, pixels="yuv420p10le", prepare=tag)
    image, notes = first(path)
    (note,) = notes
    assert f"high dynamic range ({name})" in note
    line = image[24, :, 0].astype(int)
    assert (np.diff(line) >= -2).all()
    assert line[0] < 10
    mapped = "was tone-mapped to" in note
    assert mapped == (np.abs(line - ramp[24, :, 0]).max() > 8)
    assert not (mapped and name == "HLG")


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv420p10le", "yuv444p"])
def test_what_is_plain_has_no_note(pixels: str, tmp_path: Path) -> None:
    image, notes = first(write(tmp_path / "a.mp4", [corners()] * 2, options=GROUPS | {"crf": "5"}, pixels=pixels))
    assert notes == []
    assert np.abs(image.astype(int) - corners()).mean() < 3
