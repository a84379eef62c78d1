"""Conversion of a decoded frame to what a player shows: whole fields, common brightness, square pixels, upright."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Final

import cv2
import numpy as np
from av import VideoFrame
from av.error import FFmpegError
from av.filter import Graph
from av.video.stream import VideoStream
from numpy.typing import NDArray

from resgat_pl.data.media.images import MOST_PIXELS

_HDR: Final = {16: "PQ", 18: "HLG"}
"""ITU-T H.273, table 3: transfer characteristics of SMPTE ST 2084 and ARIB STD-B67."""

_TO_SDR: Final = "out_transfer=bt709:out_primaries=bt709:out_color_matrix=bt709:out_range=tv:intent=perceptual"

_TONE_MAPS: Final[dict[object, Graph]] = {}
"""The last graph that was used, by all that it depends on."""

_LEAST_STRETCH: Final = 0.01
"""Pixels that are square but for 1 % are left as they are: nobody sees it, and resampling would blur traces."""

_MOST_STRETCH: Final = 8
"""A larger claim is no pixel shape but a fault."""


class Display:
    """Makes pictures of the frames of one stream.

    Args:
        stream: The stream; it must be open while pictures are made.

    Attributes:
        notes: What was done to the frames that is not in their pixels, a sentence each.
    """

    def __init__(self, stream: VideoStream) -> None:
        self.notes: dict[str, None] = {}
        self._aspect = _aspect(stream)

    def picture(self, frame: VideoFrame, before: VideoFrame | None, after: VideoFrame | None) -> NDArray[np.uint8]:
        """``(H, W, 3)`` uint8 RGB.

        Args:
            frame: The frame.
            before: The one decoded before it, for frames of two fields; None at the start.
            after: The one after it.

        Raises:
            ValueError: It is too large.
        """
        _check_size(frame.width, frame.height)  # the header had said otherwise
        turn = _matrix(frame)
        if frame.interlaced_frame:
            frame = self._whole(frame, before, after)
        return self._upright(self._square(self._rgb(frame)), turn)

    def _note(self, text: str) -> None:
        self.notes[text] = None

    def _whole(self, frame: VideoFrame, before: VideoFrame | None, after: VideoFrame | None) -> VideoFrame:
        """Make one picture of two fields that were taken one after the other."""
        frames = [other or frame for other in (before, frame, after)]
        try:
            shown = _filtered(frames, "yadif", "mode=send_frame:deint=interlaced")[1]
        except (FFmpegError, ValueError, IndexError):  # the frame size changes, or a pixel format that yadif lacks
            self._note("The video is interlaced; its fields were not separated, so moving edges are combs.")
            return frame
        self._note("The video is interlaced; it was deinterlaced (yadif).")
        return shown

    def _rgb(self, frame: VideoFrame) -> NDArray[np.uint8]:
        kind = _HDR.get(int(getattr(frame, "color_trc", 0) or 0))
        if kind is not None:
            try:
                frame = _dimmed(frame)
                self._note(f"The video is high dynamic range ({kind}); it was tone-mapped to BT.709.")
            except (FFmpegError, ValueError):  # FFmpeg before 8 has no such option
                self._note(f"The video is high dynamic range ({kind}) and was not tone-mapped: it looks flat and dull.")
        image: NDArray[np.uint8] = frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
        return image

    def _square(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Enlarge the side that is too short, so that nothing is lost."""
        if self._aspect == 1:
            return image
        height, width = image.shape[:2]
        wider, higher = max(self._aspect, Fraction(1)), max(1 / self._aspect, Fraction(1))
        size = round(width * wider), round(height * higher)
        _check_size(*size)
        self._note(
            f"The pixels are stored {self._aspect.numerator}:{self._aspect.denominator} wide to high "
            f"({width}×{height}); the picture was stretched to {size[0]}×{size[1]}, as players do."
        )
        return cv2.resize(image, size, interpolation=cv2.INTER_CUBIC).astype(np.uint8, copy=False)

    def _upright(self, image: NDArray[np.uint8], matrix: NDArray[np.int32] | None) -> NDArray[np.uint8]:
        """Turn and mirror by the display matrix, which maps x, y of the stored picture to a·x + c·y, b·x + d·y."""
        if matrix is None:
            return image
        (a, b), (c, d) = matrix[0, :2].tolist(), matrix[1, :2].tolist()
        if min(abs(a), abs(b)) > 0.02 * max(abs(a), abs(b)):
            self._note("The video is to be shown turned by an odd angle; it was looked at as stored.")
            return image
        lies = abs(b) > abs(a)
        if not lies and a > 0 and d > 0:
            return image
        turned: Any = image
        if lies:
            turned, a, d = turned.transpose(1, 0, 2), c, b
        if d < 0:
            turned = turned[::-1]
        if a < 0:
            turned = turned[:, ::-1]
        self._note("The pictures are stored turned or mirrored; they were turned upright as the file says.")
        upright: NDArray[np.uint8] = np.ascontiguousarray(turned)
        return upright


def _check_size(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise ValueError(f"a frame of {width}x{height} px, at most {MOST_PIXELS:,} pixels are decoded")


def _aspect(stream: VideoStream) -> Fraction:
    """Width to height of a pixel: by the container, else by the codec; 1 where neither says."""
    ratio = stream.sample_aspect_ratio or Fraction(1)
    is_odd = 1 / _MOST_STRETCH <= ratio <= _MOST_STRETCH and abs(ratio - 1) >= _LEAST_STRETCH
    return Fraction(ratio) if is_odd else Fraction(1)


def _matrix(frame: VideoFrame) -> NDArray[np.int32] | None:
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    return None if data is None else np.frombuffer(bytes(data), np.int32)[:9].reshape(3, 3)


def _dimmed(frame: VideoFrame) -> VideoFrame:
    """Tone-map; FFmpeg takes five seconds to make its table, so the graph serves the next video like this one too."""
    key = (frame.width, frame.height, frame.format.name, frame.color_trc, frame.color_primaries, frame.color_range)
    if key not in _TONE_MAPS:
        _TONE_MAPS.clear()
        _TONE_MAPS[key] = _graph(frame, "scale", _TO_SDR)
    graph = _TONE_MAPS[key]
    graph.push(frame)
    return _pulled(graph)[0]


def _graph(frame: VideoFrame, name: str, options: str) -> Graph:
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 25)
    )
    work, sink = graph.add(name, options), graph.add("buffersink")
    source.link_to(work)
    work.link_to(sink)
    graph.configure()
    return graph


def _pulled(graph: Graph) -> list[VideoFrame]:
    found: list[VideoFrame] = []
    while True:
        try:
            pulled = graph.pull()
        except (BlockingIOError, EOFError):  # of PyAV, which are these too: nothing more for now, or at all
            return found
        if isinstance(pulled, VideoFrame):
            found.append(pulled)


def _filtered(frames: list[VideoFrame], name: str, options: str) -> list[VideoFrame]:
    graph = _graph(frames[0], name, options)
    for frame in frames:
        graph.push(frame)
    graph.push(None)
    return _pulled(graph)
