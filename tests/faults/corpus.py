"""Some five hundred broken and odd files around a face, made from a seed, in the folder layout."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..helpers.clips import encoded as video

Expected = Literal["good", "odd", "broken", "either"]
"""``good``: the crops of an undamaged set. ``odd``: valid, and the same face upright. ``broken``: named with the cause.
``either``: what the decoder makes of it, crops or a cause."""

Picture = NDArray[np.uint8]


class Case(NamedTuple):
    """One file: its kind of damage, its name, what to expect, its content or how to make it, words of the cause."""

    kind: str
    name: str
    expected: Expected
    content: bytes | Callable[[Path], None]
    cause: str = ""


def cases(face: Picture, copies: int, seed: int = 0) -> list[Case]:
    """The corpus.

    Args:
        face: ``(H, W, 3)`` uint8 RGB with one face; H and W even.
        copies: How often each random damage is drawn; 1 gives a few dozen files, 12 more than 500.
        seed: Of the damage.
    """
    rng = np.random.default_rng(seed)
    made = [*_good(face), *_odd(face), *_sizes(face), *_names(face), *_links()]
    for copy in range(copies):
        made += _random(face, copy, rng)
    assert len({stem(case) for case in made}) == len(made)
    return made


def stem(case: Case) -> str:
    """The name of the video."""
    return case.name.rpartition(".")[0] or case.name


def write(root: Path, made: list[Case]) -> None:
    """Lay the files out as real/ and fake/, by turns; a kind is in both."""
    for label in ("real", "fake"):
        (root / label).mkdir(parents=True)
    for number, case in enumerate(made):
        path = root / ("real", "fake")[number % 2] / case.name
        if isinstance(case.content, bytes):
            path.write_bytes(case.content)
        else:
            case.content(path)


def picture(image: Picture | Image.Image, form: str, **options: object) -> bytes:
    """Encode a picture with Pillow."""
    target = io.BytesIO()
    given = image if isinstance(image, Image.Image) else Image.fromarray(image)
    given.save(target, form, **options)  # type: ignore[arg-type]  # the options of the format
    return target.getvalue()


def turned(clip: bytes, quarter_turns: int) -> bytes:
    """Write into an MP4 that its pictures are to be turned clockwise when shown."""
    one = 1 << 16
    a, b = ((one, 0), (0, one), (-one, 0), (0, -one))[quarter_turns % 4]
    at = clip.index(b"tkhd") + 44  # after version, times, number, duration, layer and volume
    return clip[:at] + struct.pack(">9i", a, b, 0, -b, a, 0, 0, 0, 1 << 30) + clip[at + 36 :]


def flipped(data: bytes, bits: int, rng: np.random.Generator) -> bytes:
    """Turn over some bits."""
    damaged = np.frombuffer(data, np.uint8).copy()
    places = rng.integers(len(data), size=bits)
    damaged[places] ^= np.left_shift(1, rng.integers(8, size=bits)).astype(np.uint8)
    return damaged.tobytes()


def _clip(face: Picture) -> list[Picture]:
    return [np.roll(face, shift, axis=1) for shift in (0, 2, 4)]


def _good(face: Picture) -> Iterator[Case]:
    yield Case("good", "good mp4.mp4", "good", video(_clip(face)))
    yield Case("good", "good mkv.mkv", "good", video(_clip(face), "matroska"))
    yield Case("good", "good png.png", "good", picture(face, "PNG"))
    yield Case("good", "good jpg.jpg", "good", picture(face, "JPEG", quality=95))


def _odd(face: Picture) -> Iterator[Case]:
    clip, image = _clip(face), Image.fromarray(face)
    for turns in (1, 2, 3):
        stored = [np.ascontiguousarray(np.rot90(frame, turns)) for frame in clip]
        yield Case("rotated video", f"turned {90 * turns}.mp4", "odd", turned(video(stored), turns))
    yield Case("variable frame rate", "vfr.mp4", "odd", video(clip, stamps=[0, 40, 1000]))
    yield Case("variable frame rate", "vfr mkv.mkv", "odd", video(clip, "matroska", stamps=[0, 7, 5000]))
    yield Case("10 bit", "ten.mp4", "odd", video(clip, pixels="yuv420p10le"))
    yield Case("10 bit", "sixteen.png", "odd", _sixteen_bits(face))
    yield Case("grey", "grey.mp4", "odd", video(clip, pixels="gray"))
    yield Case("grey", "grey png.png", "odd", picture(image.convert("L"), "PNG"))
    yield Case("alpha", "alpha.mov", "odd", video(clip, "mov", "qtrle", "argb"))
    yield Case("alpha", "alpha png.png", "odd", picture(image.convert("RGBA"), "PNG"))
    yield Case("alpha", "palette.png", "odd", picture(image.quantize(256), "PNG"))
    yield Case("CMYK", "cmyk.jpg", "odd", picture(image.convert("CMYK"), "JPEG", quality=95))
    for tag in range(2, 9):
        exif = Image.Exif()
        exif[0x112] = tag
        yield Case("EXIF rotation", f"exif {tag}.jpg", "odd", picture(_stored(image, tag), "JPEG", exif=exif))
    still = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    for form, suffix in (("WEBP", "webp"), ("PNG", "png")):
        animated = picture(image, form, save_all=True, append_images=[still], duration=40, lossless=True)
        yield Case("animated picture", f"animated {suffix}.{suffix}", "odd", animated)
    yield Case("wrong extension", "a jpeg.png", "odd", picture(face, "JPEG", quality=95))
    yield Case("wrong extension", "a matroska.mp4", "odd", video(clip, "matroska"))
    yield Case("wrong extension", "a png.mp4", "either", picture(face, "PNG"))
    yield Case("wrong extension", "an mp4.jpg", "broken", video(clip), "not an image")
    yield Case("wrong extension", "text.mp4", "broken", b"<html>404</html>\n" * 40, "not a video")
    yield Case("wrong extension", "text png.png", "broken", b"<html>404</html>\n" * 40, "not an image")
    yield Case("wrong extension", "sound.mp4", "broken", _sound(), "no video stream")


def _sizes(face: Picture) -> Iterator[Case]:
    for width, height in ((1, 1), (2, 1), (1, 16384), (16384, 1), (7, 5), (19, 23)):
        noise = np.full((height, width, 3), 90, np.uint8)
        yield Case("odd size", f"{width}x{height}.png", "broken", picture(noise, "PNG"), f"{width}x{height} px")
    yield Case("odd size", "2x2.mp4", "broken", video([np.full((2, 2, 3), 90, np.uint8)] * 3), "2x2 px")
    odd = np.pad(face, ((0, 1), (1, 2), (0, 0)), mode="edge")
    yield Case("odd size", "odd.png", "odd", picture(odd, "PNG"))
    yield Case("odd size", "odd mkv.mkv", "odd", video([odd] * 3, "matroska", "ffv1", "bgr0"))
    large = np.kron(face, np.ones((16, 16, 1), np.uint8))
    yield Case("odd size", "large.png", "odd", picture(large, "PNG", compress_level=1))
    huge = picture(Image.new("1", (16384, 16384)), "PNG", compress_level=1)
    yield Case("odd size", "16k png.png", "broken", huge, "too large")
    yield Case("odd size", "16k.avi", "broken", _claims(15000, 15000), "15000x15000")
    yield Case("odd size", "bomb.png", "broken", _claims_png(200_000, 200_000), "too large")


def _names(face: Picture) -> Iterator[Case]:
    clip = video(_clip(face))
    stems = [
        "spa ce",
        "new\nline",
        "ünïcödé 视频 😀",
        "quo'te\"s",
        "-dash",
        "%41%",
        "back\\slash",
        "a" * 200,
        "dots...",
    ]
    for stem in [*stems, "#?&;$(x)"]:
        yield Case("odd name", f"{stem}.mp4", "good", clip)


def _links() -> Iterator[Case]:
    def loop(path: Path) -> None:
        path.symlink_to(path.name)

    def dangling(path: Path) -> None:
        path.symlink_to("nowhere")

    def pair(path: Path) -> None:
        path.symlink_to(f"{path.name}.2")
        path.with_name(f"{path.name}.2").symlink_to(path.name)

    def folder(path: Path) -> None:
        path.symlink_to("..", target_is_directory=True)

    yield Case("link", "loop.mp4", "broken", loop, "symbolic links")
    yield Case("link", "pair.png", "broken", pair, "symbolic links")
    yield Case("link", "dangling.mp4", "broken", dangling, "No such file")
    yield Case("link", "upwards", "either", folder)
    yield Case("link", "pipe.mp4", "broken", os.mkfifo, "a pipe")
    yield Case("link", "pipe png.png", "broken", os.mkfifo, "a pipe")


def _random(face: Picture, copy: int, rng: np.random.Generator) -> Iterator[Case]:
    clip = _clip(face)
    whole = {
        "mp4": video(clip),
        "mkv": video(clip, "matroska"),
        "avi": video(clip, "avi", "mpeg4"),
        "webm": video(clip, "webm", "libvpx"),
        "jpg": picture(face, "JPEG", quality=90),
        "png": picture(face, "PNG"),
        "webp": picture(face, "WEBP"),
        "tif": picture(face, "TIFF", compression="tiff_lzw"),
        "bmp": picture(face, "BMP"),
    }
    for suffix, data in whole.items():
        for bits in (1, 8, 200):
            yield Case("bit flips", f"flip {bits} {copy} {suffix}.{suffix}", "either", flipped(data, bits, rng))
        cut = data[: int(len(data) * rng.uniform(0.02, 0.9))]
        # an MP4's index is at its end; a picture is whole or none; the others give what there is
        sure = suffix in {"mp4", "jpg", "png", "webp", "bmp"}
        yield Case("truncated", f"cut {copy} {suffix}.{suffix}", "broken" if sure else "either", cut)
    for suffix in ("mp4", "png"):
        yield Case("zero bytes", f"empty {copy} {suffix}.{suffix}", "broken", b"", "empty")
        yield Case("only zeros", f"zeros {copy} {suffix}.{suffix}", "broken", bytes(int(rng.integers(1, 60_000))))
        yield Case("noise", f"noise {copy} {suffix}.{suffix}", "either", rng.bytes(int(rng.integers(1, 60_000))))
    data = whole["mp4"]
    start = int(rng.integers(len(data) // 2))
    hole = data[:start] + bytes(2000) + data[start + 2000 :]
    yield Case("hole of zeros", f"hole {copy}.mp4", "either", hole)
    yield Case("two files in one", f"two {copy}.mp4", "either", data[: len(data) // 2] + whole["mkv"])


def _stored(image: Image.Image, tag: int) -> Image.Image:
    """The picture as a camera stores it that says in the EXIF tag how to turn it."""
    method = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[tag]  # the inverse of what the tag asks for
    return image.transpose(Image.Transpose(method))


def _sixteen_bits(face: Picture) -> bytes:
    import cv2

    return cv2.imencode(".png", face[:, :, ::-1].astype(np.uint16) * 257)[1].tobytes()


def _sound() -> bytes:
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return target.getvalue()


def _claims(width: int, height: int) -> bytes:
    """An AVI of raw pictures, one small one, whose header claims others."""
    data = video([np.zeros((16, 16, 3), np.uint8)], "avi", "rawvideo", "bgr24")
    at = data.index(b"strf") + 12
    return data[:at] + struct.pack("<ii", width, height) + data[at + 8 :]


def _claims_png(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header claims many gigabytes."""
    import zlib

    data = picture(np.zeros((4, 4, 3), np.uint8), "PNG")
    header = b"IHDR" + struct.pack(">II", width, height) + data[24:29]
    return data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:]
