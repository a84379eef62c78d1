"""Small clips in which every frame shows its own number."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import av
import numpy as np
from numpy.typing import NDArray

Target = TypeVar("Target", Path, BytesIO)
WIDTH, HEIGHT = 64, 48
GROUPS = {"g": "20", "sc_threshold": "0", "bf": "3"}


def barcode(number: int) -> NDArray[np.uint8]:
    """``(48, 64, 3)`` uint8: eight bars, white where the bit is set."""
    bits = [255 * (number >> bit & 1) for bit in range(8)]
    return np.tile(np.repeat(bits, WIDTH // 8).astype(np.uint8)[None, :, None], (HEIGHT, 1, 3))


def number_of(image: NDArray[np.uint8]) -> int:
    bars = image.shape[1] // 8
    lit = [image[:, bit * bars + bars // 4 : bit * bars + 3 * bars // 4].mean() > 127 for bit in range(8)]
    return sum(1 << bit for bit, on in enumerate(lit) if on)


def write(
    path: Target,
    frames: int | list[NDArray[np.uint8]] = 100,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    form: str | None = None,
    flags: str = "",
    stamps: list[int] | None = None,
    pixels: str = "yuv420p",
    prepare: Callable[[Any], None] = lambda stream: None,
) -> Target:
    """Encode; ``stamps`` are times in 1/1000 s, ``flags`` those of MP4's writer."""
    images = [barcode(number) for number in range(frames)] if isinstance(frames, int) else frames
    target = str(path) if isinstance(path, Path) else path
    with av.open(target, "w", format=form, options={"movflags": flags} if flags else {}) as container:
        stream = container.add_stream(codec, rate=25, options=GROUPS if options is None else options)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pixels
        if stamps is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        prepare(stream)
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            if stamps is not None:
                frame.pts, frame.time_base = stamps[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def encoded(
    frames: list[NDArray[np.uint8]],
    form: str = "mp4",
    codec: str = "libx264",
    pixels: str = "yuv420p",
    stamps: list[int] | None = None,
) -> bytes:
    """The bytes of a clip."""
    return write(BytesIO(), frames, codec, {}, form, stamps=stamps, pixels=pixels).getvalue()


def remux(
    source: Path,
    path: Path,
    shift: Fraction = Fraction(0),
    form: str | None = None,
    options: dict[str, str] | None = None,
    first: int = 0,
    prepare: Callable[[Any], None] = lambda container: None,
) -> Path:
    """Copy the packets from ``first`` on; ``shift`` seconds are added to their times."""
    with av.open(str(source)) as old, av.open(str(path), "w", format=form, options=options or {}) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        prepare(new)
        for place, packet in enumerate(old.demux(video=0)):
            if packet.dts is None or packet.pts is None or place < first:
                continue
            ticks = int(shift / packet.time_base)
            packet.pts, packet.dts, packet.stream = packet.pts + ticks, packet.dts + ticks, stream
            new.mux(packet)
    return path
