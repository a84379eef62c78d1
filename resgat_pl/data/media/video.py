"""Decoding a video file: which stream, which frames a player shows and when, and reading them in one forward pass.

What a header says of length, count and clock is a claim. One pass over the packets, which decodes nothing, shows what
is there. Seeking to each frame decodes from the preceding key frame every time (2,938 ms against 264 ms for 32 of 300
frames of 640×480 H.264), so frames are decoded in order, those left out that nothing refers to, and only the wanted
ones are converted to RGB.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final
from weakref import finalize

import av
import av.error
import numpy as np
from av import VideoFrame
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from resgat_pl.core.errors import MediaError
from resgat_pl.core.storage import local_file
from resgat_pl.data.media.display import Display
from resgat_pl.data.media.file_type import HEAD, NO_MEDIA, kind_of, why_not
from resgat_pl.data.media.images import NO_FILE, check_size
from resgat_pl.data.media.timeline import DECODER_ERRORS, decoder_reason, is_cut, packets_of, timeline_of

_OPTIONS: Final = {"protocol_whitelist": "none"}
"""A playlist names other files, of this machine or of others; nothing but the file itself is opened."""

_OWN_CLOCK: Final = 2.0
"""Seconds; a start that is later is reported. Transport streams begin at 1.4 for no reason."""


class VideoFile:
    """A video file, opened more than once; what lies behind a URL is fetched at the first time.

    Args:
        path: The file.

    Attributes:
        timeline: Its frames.
        notes: What was unusual, a sentence each; grows while frames are read.
        trouble: Why frames that should be there could not be decoded; empty before that is known.

    Raises:
        MediaError: It is missing, unreadable, empty, no video, or holds no frame.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trouble = ""
        self._notes: dict[str, None] = {}
        self._copy = _fetched(path)
        if self._copy is not None:
            finalize(self, self._copy.close)
        try:
            with self._open() as container:
                stream = self._choose(_readable(container, path))
                self._index = stream.index
                check_size(path, stream.codec_context.width, stream.codec_context.height)
                packets, self.trouble = packets_of(container, stream)
                if is_cut(packets):
                    first = self._first_shown()
                    packets = [packet for packet in packets if first is None or (packet.pts or 0) >= first]
                packets = [packet for packet in packets if not packet.is_discard]  # by an edit list
                self.timeline = timeline_of(packets, stream, container)
                if not packets:
                    raise MediaError(f"{path}: no frame can be decoded ({self.trouble or 'it holds none'})")
                self._note_claims(container, stream)
        except DECODER_ERRORS as error:
            raise MediaError(
                f"{path}: cannot be opened as a video ({self._what_it_is() or decoder_reason(error)})"
            ) from None

    @property
    def notes(self) -> list[str]:
        """Unusual findings, a sentence each."""
        return list(self._notes)

    def read(self, wanted: set[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Yield number and picture of the frames with these numbers, in ascending order.

        What cannot be decoded is passed over; ``trouble`` says why.

        Raises:
            MediaError: Nothing can be decoded.
        """
        wanted = {number for number in wanted if number < len(self.timeline.times)}
        if not wanted:
            return
        found: set[int] = set()
        # Few frames: leave out what they do not need. Many, or where that came to a halt: every frame, as it stands.
        few = self.timeline.plain and 2 * len(wanted) <= max(wanted)
        for decode in (self._decode_needed, self._decode_all) if few else (self._decode_all,):
            try:
                for number, image in decode(wanted - found):
                    found.add(number)
                    yield number, image
            except DECODER_ERRORS as error:
                self.trouble = decoder_reason(error)
            if found == wanted:
                return
        if not found:
            reason = self.trouble or "the stream ends before the first frame"
            raise MediaError(f"{self.path}: no frame can be decoded ({reason})")

    @contextmanager
    def _bytes(self) -> Iterator[IO[bytes]]:
        if self._copy is None:
            with self.path.open("rb", buffering=0) as file:
                yield file
        else:
            self._copy.seek(0)
            yield self._copy

    @contextmanager
    def _open(self) -> Iterator[InputContainer]:
        # Not by its name, which FFmpeg may take for a protocol (a:b.mp4), a pattern (%03d.png) or a hint at a format.
        # Tags need not be UTF-8.
        with (
            self._bytes() as file,
            av.open(_Unnamed(file), "r", metadata_errors="replace", options=_OPTIONS) as container,
        ):
            yield container

    def _what_it_is(self) -> str:
        """A kind of file that is no video; empty if it is none that is known."""
        try:
            with self._bytes() as file:
                head = file.read(HEAD)
        except OSError:
            return ""
        words = why_not(head, "") if kind_of(head) is None else NO_MEDIA
        return "" if words == NO_MEDIA else f"it is {words}"

    def _note(self, text: str) -> None:
        self._notes[text] = None

    def _choose(self, streams: list[VideoStream]) -> VideoStream:
        """The stream that a player shows: the default one; of several, or of none, the largest that moves."""
        if len(streams) == 1:
            return streams[0]
        with self._open() as container:
            packets = container.demux([container.streams[stream.index] for stream in streams])
            counts = Counter(packet.stream.index for packet in packets if packet.size)
        moving = [stream for stream in streams if counts[stream.index] > 1] or streams
        chosen = max([stream for stream in moving if _has(stream, "default")] or moving, key=_size)
        self._note(
            f"The file holds {len(streams)} video streams; number {streams.index(chosen) + 1} "
            f"({chosen.codec_context.width}×{chosen.codec_context.height} px) was looked at: the default, else the "
            "largest."
        )
        return chosen

    def _note_claims(self, container: InputContainer, stream: VideoStream) -> None:
        timeline = self.timeline
        if timeline.start >= _OWN_CLOCK:
            hours, seconds = divmod(round(timeline.start), 3600)
            own = f"{hours}:{seconds // 60:02}:{seconds % 60:02}"
            self._note(f"Times count from the first picture; the file's own clock says {own} there.")
        claimed = (
            float(stream.duration * stream.time_base)
            if stream.duration and stream.time_base
            else (container.duration or 0) / av.time_base
        )
        # Some count from the first picture, others from where the clock is 0. One that is set again says nothing.
        missing = 0.0 if timeline.jumps else claimed - timeline.length - max(timeline.start, 0.0)
        if missing > max(1.0, 0.05 * claimed):
            self._note(
                f"The file says that it lasts {claimed:.1f} s, but its pictures end after {timeline.length:.1f} s: it "
                "breaks off, its header is wrong, or only its sound goes on."
            )

    def _first_shown(self) -> int | None:
        """Time stamp of the first frame that the decoder gives."""
        with self._open() as container:
            stream = self._stream(container)
            for packet in container.demux(stream):
                try:
                    for frame in packet.decode():
                        return frame.pts
                except av.error.FFmpegError:
                    continue
        return None

    def _decode_all(self, wanted: set[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        last = max(wanted)
        with self._open() as container:
            stream = self._stream(container)
            show = Display(stream)
            before: VideoFrame | None = None
            waiting: tuple[int, VideoFrame | None, VideoFrame] | None = None
            try:
                for number, frame in self._numbered(container, stream):
                    if waiting is not None:  # for the fields of the next one
                        yield waiting[0], show.picture(waiting[2], waiting[1], frame)
                        waiting = None
                    if number in wanted and frame.interlaced_frame:
                        waiting = number, before, frame
                    elif number in wanted:
                        yield number, show.picture(frame, None, None)
                    if number >= last and waiting is None:
                        return
                    before = frame
                if waiting is not None:
                    yield waiting[0], show.picture(waiting[2], waiting[1], None)
            finally:
                self._notes |= show.notes

    def _numbered(self, container: InputContainer, stream: VideoStream) -> Iterator[tuple[int, VideoFrame]]:
        """All frames, by their time stamps where these identify them, so that a lost one does not move the others."""
        number, broken = -1, 0
        places = self.timeline.places
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.error.FFmpegError as error:
                if isinstance(error, av.error.EOFError):
                    break
                broken += 1  # players go on
                self.trouble = f"{broken} of its packets cannot be decoded"
                continue
            for frame in frames:
                place = places.get(frame.pts, -1) if places and frame.pts is not None else number + 1
                if place > number:
                    number = place
                    yield number, frame

    def _decode_needed(self, wanted: set[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Like ``_decode_all`` without decoding unwanted frames that no other frame refers to: half of them in x264's.

        Ends early where a frame does not come when its turn is, or fields have to be put together.
        """
        places = self.timeline.places
        turns = iter(sorted(wanted))
        number = next(turns, None)
        with self._open() as container:
            stream = self._stream(container)
            show = Display(stream)
            try:
                for packet in container.demux(stream):
                    needed = packet.pts is not None and places.get(packet.pts) in wanted
                    stream.codec_context.skip_frame = "DEFAULT" if needed else "NONREF"
                    for frame in packet.decode():
                        place = None if frame.pts is None else places.get(frame.pts)
                        if number is None or place is None or place > number or frame.interlaced_frame:
                            return
                        if place == number:
                            yield number, show.picture(frame, None, None)
                            number = next(turns, None)
                    if number is None:
                        return
            finally:
                self._notes |= show.notes

    def _stream(self, container: InputContainer) -> VideoStream:
        stream = container.streams[self._index]
        if not isinstance(stream, VideoStream):
            raise ValueError("its streams have changed")
        # Slices: parallel within a frame, so that no frames are decoded ahead of the last one wanted.
        stream.thread_type = "SLICE"
        return stream


class _Unnamed:
    """An open file without its name."""

    def __init__(self, file: IO[bytes]) -> None:
        self.read, self.seek, self.tell = file.read, file.seek, file.tell


def _fetched(path: Path) -> IO[bytes] | None:
    try:
        copy = local_file(path)
        size = path.stat().st_size if copy is None else os.fstat(copy.fileno()).st_size
    except OSError as error:
        raise MediaError(f"{path}: cannot be opened as a video ({decoder_reason(error)})") from None
    if copy is None and not path.is_file():
        raise MediaError(f"{path}: {NO_FILE}")
    if size == 0:
        if copy is not None:
            copy.close()
        raise MediaError(f"{path}: is empty (0 bytes)")
    return copy


def _has(stream: VideoStream, *names: str) -> bool:
    return any(bool(stream.disposition & flag) for name in names if (flag := getattr(av.stream.Disposition, name, 0)))


def _readable(container: InputContainer, path: Path) -> list[VideoStream]:
    """The streams of which one can be looked at."""
    covers = ("attached_pic", "timed_thumbnails")
    streams = [stream for stream in container.streams.video if not _has(stream, *covers)]
    if not streams:
        cover = " but a cover picture" if container.streams.video else ""
        raise MediaError(f"{path}: holds no video stream{cover}")
    readable = [stream for stream in streams if stream.codec_context is not None]
    if not readable:
        raise MediaError(f"{path}: there is no decoder here for the codec it names")
    return readable


def _size(stream: VideoStream) -> int:
    return stream.codec_context.width * stream.codec_context.height
