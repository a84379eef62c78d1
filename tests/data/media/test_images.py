"""Pictures as a viewer shows them: upright, in RGB, of any common format, still and animated."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, features
from PIL.PngImagePlugin import PngInfo

from resgat_pl.core.errors import MediaError
from resgat_pl.data.media.file_type import IMAGE_SUFFIXES, VIDEO_SUFFIXES, kind_of
from resgat_pl.data.media.frames import FrameReader
from resgat_pl.data.media.images import Animation, count_gif, open_picture, read_image

from ...helpers.clips import barcode, number_of

XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="{}"/></rdf:RDF></x:xmpmeta>'
)


def picture(seed: int = 0, size: tuple[int, int] = (32, 48)) -> Image.Image:
    """Smooth, so that lossy formats keep it, and like none of its turns."""
    small = np.random.default_rng(seed).integers(0, 255, (2, 3, 3), np.uint8)
    return Image.fromarray(small).resize(size[::-1], Image.Resampling.BICUBIC)


def viewed(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def save(path: Path, form: str, tag: int, where: str) -> None:
    image, options = picture(tag), {"quality": 95} if form in {"JPEG", "AVIF"} else {"lossless": form == "WEBP"}
    if where == "xmp":
        text = XMP.format(tag)
        if form == "PNG":
            info = PngInfo()
            info.add_itxt("XML:com.adobe.xmp", text)
            image.save(path, form, pnginfo=info)
            return
        image.save(path, form, **options, xmp=text.encode())  # type: ignore[arg-type]  # the options of the format
        return
    exif = Image.Exif()
    exif[0x112] = tag
    image.save(path, form, exif=exif, **options)  # type: ignore[arg-type]  # the options of the format


@pytest.mark.parametrize("where", ["exif", "xmp"])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_all_orientations_wherever_the_tag_is(form: str, where: str, tmp_path: Path) -> None:
    if form == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    if form == "TIFF" and where == "xmp":
        pytest.skip("Pillow writes no XMP into a TIFF")
    path = tmp_path / "a"
    for tag in range(1, 9):
        save(path, form, tag, where)
        expected, (image, notes) = viewed(path), open_picture(path)
        assert image.shape == expected.shape
        assert np.abs(image.astype(int) - expected).mean() <= (2 if form in {"JPEG", "AVIF"} else 0)
        assert bool(notes) == (tag > 1 and form != "TIFF")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP", "WEBP", "TIFF"])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK"])
def test_the_bytes_are_those_of_opencv(form: str, mode: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    try:
        picture().convert(mode).save(path, form)
    except OSError:
        pytest.skip(f"there is no {mode} in {form}")
    expected = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR_RGB)
    assert expected is not None
    assert (read_image(path) == expected).all()
    assert open_picture(path).notes == []


@pytest.mark.parametrize(
    ("form", "suffix"), [("GIF", "gif"), ("JPEG2000", "jp2"), ("AVIF", "avif"), ("PPM", "ppm"), ("TIFF", "tif")]
)
def test_formats_beyond_opencv(form: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    picture().save(path, form)
    assert np.abs(read_image(path).astype(int) - np.asarray(picture())).mean() < 4
    assert kind_of(path.read_bytes()[:4096]) == "image"
    assert suffix in IMAGE_SUFFIXES | VIDEO_SUFFIXES


def test_heic_is_read_or_its_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heif = pytest.importorskip("pillow_heif")
    path = tmp_path / "a.heic"
    heif.from_pillow(picture(size=(64, 96))).save(path, quality=95)
    assert kind_of(path.read_bytes()[:4096]) == "image"
    assert np.abs(read_image(path).astype(int) - np.asarray(picture(size=(64, 96)))).mean() < 4
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(MediaError, match=r"a\.heic: HEIC needs a package.*resgat-pl\[heic\]"):
        read_image(path)


@pytest.mark.parametrize("name", ["a.CR2", "a.nef", "a.dng"])
def test_a_raw_picture_is_not_taken_for_its_thumbnail(name: str, tmp_path: Path) -> None:
    picture().save(tmp_path / name, "TIFF")
    with pytest.raises(MediaError, match="camera's raw picture"):
        read_image(tmp_path / name)


def test_what_is_not_shown_is_noted(tmp_path: Path) -> None:
    others = [picture(1), picture(2)]
    picture().save(tmp_path / "a.tif", save_all=True, append_images=others)
    (note,) = open_picture(tmp_path / "a.tif").notes
    assert "3 pictures; only the first" in note
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    picture().save(tmp_path / "b.jpg", icc_profile=profile.tobytes())
    assert open_picture(tmp_path / "b.jpg").notes == []
    wide = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    picture().save(tmp_path / "c.png", icc_profile=wide)
    (note,) = open_picture(tmp_path / "c.png").notes
    assert "read as sRGB, without conversion" in note


def test_grey_levels_of_16_bits_are_not_cut_off(tmp_path: Path) -> None:
    if not features.check("jpg_2000"):
        pytest.skip("this Pillow reads no JPEG 2000")
    levels = np.linspace(0, 65535, 32 * 48).reshape(32, 48).astype(np.uint16)
    Image.fromarray(levels).save(tmp_path / "a.jp2", irreversible=False)
    image = read_image(tmp_path / "a.jp2")
    assert np.abs(image.astype(int) - (levels[..., None] >> 8)).max() <= 1


def test_a_video_behind_a_picture_is_noted(tmp_path: Path) -> None:
    picture(size=(300, 400)).save(tmp_path / "a.jpg", quality=100)
    plain = (tmp_path / "a.jpg").read_bytes()
    plain += bytes(max(0, 5000 - len(plain)))
    film = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(100)
    (tmp_path / "b.jpg").write_bytes(plain + film)
    (note,) = open_picture(tmp_path / "b.jpg").notes
    assert "also holds a video (a motion photo)" in note
    (tmp_path / "c.jpg").write_bytes(plain)
    assert open_picture(tmp_path / "c.jpg").notes == []


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_colours_under_transparent_pixels_are_noted(mode: str, tmp_path: Path) -> None:
    opaque = picture().convert(mode)
    opaque.save(tmp_path / "a.png")
    assert open_picture(tmp_path / "a.png").notes == []
    if mode == "P":
        opaque.save(tmp_path / "b.png", transparency=opaque.getpixel((3, 3)))
    else:
        opaque.putpixel((3, 3), (0,) * len(mode))
        opaque.save(tmp_path / "b.png")
    (note,) = open_picture(tmp_path / "b.png").notes
    assert "transparent" in note


def animated(path: Path, durations: list[int], form: str) -> Path:
    frames = [Image.fromarray(barcode(number)) for number in range(len(durations))]
    options = {"lossless": True} if form == "WEBP" else {}
    frames[0].save(path, form, save_all=True, append_images=frames[1:], duration=durations, loop=0, **options)
    return path


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_an_animation_is_a_video_of_its_pictures(form: str, tmp_path: Path) -> None:
    path = animated(tmp_path / "a.bin", [80] * 20, form)
    media = FrameReader([path], "video")
    frames = list(media.read(media.sample(8)))
    assert media.indices.tolist() == list(range(20))
    assert [number_of(frame.image) for frame in frames] == [1, 3, 6, 8, 11, 13, 16, 18]
    assert [frame.time for frame in frames] == pytest.approx([frame.number * 0.08 for frame in frames])
    assert media.notes == ["An animated picture: 20 pictures, shown for 1.60 s in all."]
    assert Animation(path).length == pytest.approx(1.6)
    if form != "GIF":
        assert kind_of(path.read_bytes()[:4096]) == "video"
    assert "only the first" in open_picture(path).notes[0]


@pytest.mark.parametrize("form", ["WEBP", "PNG"])
def test_animations_are_turned_by_their_tag(form: str, tmp_path: Path) -> None:
    frames = [Image.fromarray(np.rot90(barcode(number))) for number in range(4)]
    exif = Image.Exif()
    exif[0x112] = 6
    options = {"lossless": True} if form == "WEBP" else {}
    frames[0].save(tmp_path / "a", form, save_all=True, append_images=frames[1:], duration=80, exif=exif, **options)
    media = FrameReader([tmp_path / "a"], "video")
    assert [number_of(frame.image) for frame in media.read(media.sample(4))] == [0, 1, 2, 3]
    assert "turned upright by their tag" in media.notes[-1]


def test_durations_are_those_of_a_browser(tmp_path: Path) -> None:
    path = animated(tmp_path / "a.gif", [0, 10, 20, 500], "GIF")
    assert Animation(path).times.tolist() == pytest.approx([0.0, 0.1, 0.2, 0.22])
    uneven = FrameReader([animated(tmp_path / "b.webp", [1000, *[50] * 20], "WEBP")], "video")
    times = [frame.time for frame in uneven.read(uneven.sample(8))]
    assert times[0] == 0
    assert any("rate varies" in note for note in uneven.notes)


def test_pictures_of_a_gif_are_counted_without_decoding(tmp_path: Path) -> None:
    for count in (1, 2, 7):
        data = animated(tmp_path / "a.gif", [50] * count, "GIF").read_bytes()
        assert count_gif(data) == count
        assert count_gif(data[: len(data) // 2]) <= count
    for data in (b"", b"GIF89a", b"GIF89a" + b"\xff" * 40, b"GIF89a" + bytes(4000)):
        assert count_gif(data) in {0, 1}


def test_damaged_animations_give_what_there_is(tmp_path: Path) -> None:
    data = animated(tmp_path / "a.gif", [80] * 20, "GIF").read_bytes()
    (tmp_path / "b.gif").write_bytes(data[: len(data) * 2 // 3])
    media = FrameReader([tmp_path / "b.gif"], "video")
    numbers = [number_of(frame.image) for frame in media.read(media.indices)]
    assert 5 < len(numbers) < 20
    assert numbers == list(range(len(numbers)))
    (tmp_path / "c.gif").write_bytes(b"GIF89a" + bytes(50))
    with pytest.raises(MediaError, match=r"c\.gif: "):
        list(FrameReader([tmp_path / "c.gif"], "video").read([0]))


def test_a_still_picture_called_a_video_is_one_frame(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.mp4", "PNG")
    media = FrameReader([tmp_path / "a.mp4"], "video")
    (frame,) = media.read(media.sample())
    assert (frame.image == np.asarray(picture())).all()


@pytest.mark.parametrize("form", ["EPS", "PDF"])
def test_no_program_is_started_for_a_picture(form: str, tmp_path: Path) -> None:
    target = io.BytesIO()
    picture().save(target, form)
    (tmp_path / "a.png").write_bytes(target.getvalue())
    with pytest.raises(MediaError, match="is not an image that can be decoded"):
        read_image(tmp_path / "a.png")
