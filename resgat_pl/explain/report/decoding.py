"""Frames and length of a file, decoded in processes of their own; these import this module, and with it no torch."""

from __future__ import annotations

from collections.abc import Iterator

import av
import cv2

from resgat_pl.core.errors import MediaError
from resgat_pl.core.types import MediaKind
from resgat_pl.data.media.frames import FrameReader
from resgat_pl.data.media.timeline import DECODER_ERRORS
from resgat_pl.explain.report.media_search import Medium


def read_frames(request: tuple[Medium, list[int]]) -> Iterator[tuple[int, bytes]]:
    """Yield number and PNG file of each frame asked for; an image is number 0.

    Args:
        request: The file, and the numbers of its frames.

    Raises:
        MediaError: It cannot be decoded.
    """
    medium, numbers = request
    kind: MediaKind = "video" if medium.kind == "video" else "frames"
    try:
        reader = FrameReader([medium.path], kind)
        for frame in reader.read(numbers if kind == "video" else reader.indices):
            png = cv2.imencode(".png", cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))[1].tobytes()
            yield (frame.number if kind == "video" else 0), png
    except DECODER_ERRORS as error:
        raise MediaError(f"{medium.path}: cannot be decoded ({str(error).strip() or type(error).__name__})") from None


def read_length(path: str) -> Iterator[float]:
    """Yield the seconds of a video as its header gives them; 0 where it does not, or cannot be read."""
    try:
        with av.open(path) as container:
            yield (container.duration or 0) / av.time_base
    except (av.FFmpegError, OSError, ValueError):
        yield 0.0
