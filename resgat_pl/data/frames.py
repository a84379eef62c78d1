"""Decoding: which frames to take of a video, and reading them in one forward pass.

Seeking to each frame decodes from the preceding key frame every time (2,938 ms against 264 ms for 32 of 300 frames of
640×480 H.264), so frames are decoded in order, those left out that nothing refers to, and only the wanted ones are
converted to RGB.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator, Sequence
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal, NamedTuple
from weakref import finalize

import av
import av.error
import cv2
import numpy as np
from av import VideoFrame
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from resgat_pl.data.locations import is_remote, local_file, read_bytes
from resgat_pl.errors import MediaError
from resgat_pl.types import MediaKind

FrameCount = int | Literal["all"]

MOST_PIXELS: Final = 2**27
"""Larger pictures of unknown origin are not decoded: 134 million pixels are a frame of 16K video (15360×8640), and
0.4 GB once decoded. A file of a few kB can claim a thousand times as many."""

DECODER_ERRORS: Final = (
    av.error.FFmpegError,
    cv2.error,
    OSError,
    MemoryError,
    ValueError,  # of PyAV and numpy: sizes and pixel formats that they cannot represent
    ArithmeticError,  # a frame rate of 1/0
    NotImplementedError,
)
"""What decoders raise on damaged files."""


_NO_FILE: Final = "is no file but a folder, a pipe or a device"  # a pipe would be read for ever


class Frame(NamedTuple):
    """One decoded frame.

    Attributes:
        number: Number of the frame in its video, from 0.
        time: Seconds from the start; NaN where the medium has no clock.
        image: ``(H, W, 3)`` uint8 RGB, upright.
    """

    number: int
    time: float
    image: NDArray[np.uint8]


def sample_indices(total: int, frames: FrameCount = 32, every: int | None = None) -> NDArray[np.int64]:
    """Choose frames of a video.

    Args:
        total: Number of frames there are.
        frames: So many, spread evenly (the middles of equal stretches), or ``"all"``.
        every: Take every k-th frame instead; ``frames`` is then an upper bound if it is a number.

    Returns:
        Ascending ``(n,)`` int64; all frames if there are fewer than asked for.
    """
    if every is not None:
        chosen = np.arange(0, total, every, dtype=np.int64)
        return chosen if frames == "all" else chosen[:frames]
    if frames == "all" or frames >= total:
        return np.arange(total, dtype=np.int64)
    return ((np.arange(frames, dtype=np.int64) * 2 + 1) * total) // (2 * frames)


class Media:
    """A video file, or a sequence of image files, read frame by frame.

    Args:
        files: The one video, or the image files in frame order.
        kind: See ``VideoRecord.kind``.

    Attributes:
        indices: ``(n,)`` int64, the frame numbers there are: 0 … n-1 for a video; for images the numbers in their
            file names where all are numbers, else their position.

    Raises:
        MediaError: The file is missing, empty, or not a video.
    """

    def __init__(self, files: Sequence[Path], kind: MediaKind) -> None:
        self.files = list(files)
        self.is_video = kind == "video"
        if self.is_video:
            self._source = _Source(self.files[0])
            self.indices = np.arange(_count_frames(self._source), dtype=np.int64)
            return
        numbers = [int(path.stem) if path.stem.isdecimal() else -1 for path in self.files]
        ordered = all(a < b for a, b in pairwise(numbers)) and min(numbers, default=-1) >= 0
        self.indices = np.array(numbers if ordered else range(len(numbers)), np.int64)

    def read(self, indices: Sequence[int] | NDArray[np.int64]) -> Iterator[Frame]:
        """Yield the frames with these numbers in ascending order, decoding forward once.

        A video that breaks off early yields what can be decoded; numbers that do not exist are passed over.

        Raises:
            MediaError: Nothing can be decoded, or an image is unreadable.
        """
        wanted = {int(index) for index in indices}
        if self.is_video:
            yield from _decode(self._source, wanted)
            return
        for index, path in zip(self.indices.tolist(), self.files, strict=True):
            if index in wanted:
                yield Frame(index, float("nan"), read_image(path, MOST_PIXELS))


def read_image(path: Path, most_pixels: int | None = None) -> NDArray[np.uint8]:
    """Read an image file as ``(H, W, 3)`` uint8 RGB, turned upright by its EXIF tag; grey and alpha are converted.

    Args:
        path: The file.
        most_pixels: Do not decode a picture that says it has more; for files of unknown origin.

    Raises:
        MediaError: The file is missing, no image, or too large.
    """
    if most_pixels is not None and not is_remote(path) and path.exists() and not path.is_file():
        raise MediaError(f"{path}: {_NO_FILE}")
    try:
        data = read_bytes(path)
    except (OSError, MemoryError) as error:
        raise MediaError(f"{path}: cannot be read ({_reason(error)})") from None
    if most_pixels is not None:
        _check_size(path, *_size_of(data), most_pixels)
    return decode_image(np.frombuffer(data, np.uint8), path)


def _size_of(data: bytes) -> tuple[int, int]:
    """Width and height in an image's header; 0, 0 if it has none."""
    from PIL import Image  # here: videos need none of it

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large pictures, which is what is asked, and of odd metadata
            with Image.open(BytesIO(data)) as image:
                return image.size
    except Image.DecompressionBombError as error:
        return int(re.findall(r"\d+", str(error))[0]), 1
    except Exception:  # whatever it is, the decoder has the last word
        return 0, 0


def _check_size(path: object, width: int, height: int, most: int = MOST_PIXELS) -> None:
    if width * height > most:
        size = f"{width}x{height} px" if height > 1 else f"{width:,} pixels"
        raise MediaError(f"{path}: is too large: {size}, at most {most:,} pixels are decoded. Scale it down.")


def decode_image(data: NDArray[np.uint8], path: object) -> NDArray[np.uint8]:
    """Decode the bytes ``(n,)`` of an image file as ``read_image`` does.

    Args:
        data: The bytes.
        path: Where they come from, for the message.

    Raises:
        MediaError: They are no image.
    """
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB) if data.size else None
    except (cv2.error, MemoryError) as error:  # larger than OpenCV will decode, or than the memory
        raise MediaError(f"{path}: cannot be decoded ({_reason(error)})") from None
    if image is None:
        raise MediaError(f"{path}: {'is empty (0 bytes)' if not data.size else 'is not an image that can be decoded'}")
    return image.astype(np.uint8, copy=False)


class _Source:
    """A video file to open, more than once; what lies behind a URL is fetched at the first time.

    Raises:
        MediaError: It is missing, unreadable or empty.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._copy = local_file(path)
            size = path.stat().st_size if self._copy is None else os.fstat(self._copy.fileno()).st_size
        except OSError as error:
            raise MediaError(f"{path}: cannot be opened as a video ({_reason(error)})") from None
        if self._copy is not None:
            finalize(self, self._copy.close)
        if self._copy is None and not path.is_file():
            raise MediaError(f"{path}: {_NO_FILE}")
        if size == 0:
            raise MediaError(f"{path}: is empty (0 bytes)")

    def open(self) -> InputContainer:
        if self._copy is None:
            return av.open(str(self.path), "r")
        self._copy.seek(0)
        return av.open(self._copy, "r")


def _count_frames(source: _Source) -> int:
    path = source.path
    try:
        with source.open() as container:
            if not container.streams.video:
                raise MediaError(f"{path}: holds no video stream")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise MediaError(f"{path}: there is no decoder here for the codec it names")
            _check_size(path, stream.codec_context.width, stream.codec_context.height)
            if stream.frames > 0:
                return stream.frames
            return sum(packet.size > 0 for packet in container.demux(stream))
    except DECODER_ERRORS as error:
        raise MediaError(f"{path}: cannot be opened as a video ({_reason(error)})") from None


def _decode(source: _Source, wanted: set[int]) -> Iterator[Frame]:
    if not wanted:
        return
    found: set[int] = set()
    problem = ""
    # Few frames: leave out what they do not need. Many, or where that came to a halt: every frame, as it stands.
    for decode in (_decode_needed, _decode_all) if 2 * len(wanted) <= max(wanted) else (_decode_all,):
        try:
            for frame in decode(source, wanted - found):
                found.add(frame.number)
                yield frame
        except DECODER_ERRORS as error:
            problem = _reason(error)
        if found == wanted:
            return
    if not found:
        reason = problem or "the stream ends before the first frame"
        raise MediaError(f"{source.path}: no frame can be decoded ({reason})")


def _decode_all(source: _Source, wanted: set[int]) -> Iterator[Frame]:
    last = max(wanted)
    with source.open() as container:
        stream = container.streams.video[0]
        # Slices: parallel within a frame, so that no frames are decoded ahead of the last one wanted.
        stream.thread_type = "SLICE"
        rate = _rate(stream)
        for index, frame in enumerate(container.decode(stream)):
            if index in wanted:
                yield _frame(index, frame, rate)
            if index >= last:
                return


def _decode_needed(source: _Source, wanted: set[int]) -> Iterator[Frame]:
    """Like ``_decode_all`` without decoding unwanted frames that no other frame refers to: half of them in x264's.

    A first pass over the packets, which decodes nothing, tells the numbers by the order of the time stamps. Ends early
    where these are not plain, or a frame does not come when its turn is.
    """
    with source.open() as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        stamps = {packet.pts for packet in packets}
        if None in stamps or len(stamps) < len(packets) or any(p.is_discard or p.is_corrupt for p in packets):
            return
        del packets
    order = sorted(stamp for stamp in stamps if stamp is not None)
    turns = iter(sorted(number for number in wanted if number < len(order)))
    needed = {order[number] for number in wanted if number < len(order)}
    number = next(turns, None)
    with source.open() as container:  # again rather than back to the start: not every container can
        stream = container.streams.video[0]
        stream.thread_type = "SLICE"
        rate = _rate(stream)
        for packet in container.demux(stream):
            stream.codec_context.skip_frame = "DEFAULT" if packet.pts in needed else "NONREF"
            for frame in packet.decode():
                if number is None or frame.pts is None or frame.pts > order[number]:
                    return
                if frame.pts == order[number]:
                    yield _frame(number, frame, rate)
                    number = next(turns, None)
            if number is None:
                return


def _rate(stream: VideoStream) -> float:
    return float(stream.average_rate or stream.guessed_rate or 25)


def _frame(number: int, frame: VideoFrame, rate: float) -> Frame:
    if frame.width * frame.height > MOST_PIXELS:  # the header had said otherwise
        raise ValueError(f"a frame of {frame.width}x{frame.height} px, at most {MOST_PIXELS:,} pixels are decoded")
    image: NDArray[np.uint8] = frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
    if frame.rotation:
        # PyAV gives the stored pixels; phones store sideways pictures and say so.
        image = np.ascontiguousarray(np.rot90(image, round(frame.rotation / 90)))
    return Frame(number, frame.time if frame.time is not None else number / rate, image)


def _reason(error: Exception) -> str:
    if isinstance(error, av.error.InvalidDataError):
        return "not a video, or cut off: no valid header"
    if isinstance(error, MemoryError):
        return "not enough memory"
    text = getattr(error, "err", None) or getattr(error, "strerror", None) or str(error)
    return " ".join(str(text).split()) or type(error).__name__
