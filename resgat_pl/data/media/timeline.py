"""The timeline of a video: its frames and when they are shown, from its packets, without decoding."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from typing import Final, NamedTuple

import av.error
import cv2
import numpy as np
from av import Packet
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from resgat_pl.data.media.images import reason_of

DECODER_ERRORS: Final = (
    av.error.FFmpegError,
    cv2.error,
    OSError,
    MemoryError,
    ValueError,  # of PyAV and numpy: sizes and pixel formats that they cannot represent
    ArithmeticError,  # a frame rate of 1/0
    NotImplementedError,
)
"""Errors that decoders raise on damaged files."""

_JUMP: Final = 10.0
"""Seconds by which the clock of a broadcast jumps where recordings were joined, as FFmpeg holds; less is a gap."""


class Timeline(NamedTuple):
    """The frames that a player shows, by the packets, in the order shown.

    Attributes:
        times: ``(n,)`` float64 seconds from the first one.
        length: Seconds from the first one to the end of the last.
        places: Time stamp → number of the frame; empty where stamps do not identify frames.
        plain: Whether frames that nothing refers to can be left out in decoding.
        start: Seconds at which the file's own clock puts the first one.
        jumps: Whether that clock is set again on the way.
    """

    times: NDArray[np.float64]
    length: float
    places: dict[int, int]
    plain: bool
    start: float
    jumps: bool


class PacketFacts(NamedTuple):
    """Facts of a packet; times are in ticks of its stream."""

    pts: int | None
    dts: int | None
    duration: int
    is_key: bool
    is_corrupt: bool
    is_discard: bool


def packets_of(container: InputContainer, stream: VideoStream) -> tuple[list[PacketFacts], str]:
    """Facts of the packets that give a frame, in the order decoded, and why there are no more of them."""
    hides = stream.codec_context.name in {"vp8", "libvpx"}
    found: list[PacketFacts] = []
    try:
        found.extend(
            PacketFacts(p.pts, p.dts, p.duration or 0, p.is_keyframe, p.is_corrupt, p.is_discard)
            for p in container.demux(stream)
            if p.size and not (hides and _is_hidden(p))
        )
    except DECODER_ERRORS as error:
        return found, decoder_reason(error)
    return found, ""


def _is_hidden(packet: Packet[VideoStream]) -> bool:
    """RFC 6386, 9.1: whether a frame of VP8 is only there to be referred to."""
    return not memoryview(packet)[0] & 0x10


def is_cut(packets: list[PacketFacts]) -> bool:
    """True if frames at the start may refer to what is not there, as where a recording was cut."""
    first = packets[0].pts if packets else None
    return first is not None and (
        not packets[0].is_key or any(packet.pts is not None and packet.pts < first for packet in packets)
    )


def timeline_of(packets: list[PacketFacts], stream: VideoStream, container: InputContainer) -> Timeline:
    """Lay out the frames that packets give, without those that are not shown."""
    rate = float(stream.average_rate or stream.guessed_rate or 25)
    base = stream.time_base or Fraction(1, 1000)
    has_pts = all(packet.pts is not None for packet in packets)
    # Where a container gives no times to show, as AVI with B-frames, those to decode are as many and as far apart.
    stamps = [packet.pts if has_pts else packet.dts for packet in packets]
    if any(stamp is None for stamp in stamps):
        return Timeline(np.arange(len(packets)) / rate, len(packets) / rate, {}, False, 0.0, False)
    jumps = bool(int(container.format.flags) & 0x200)  # AVFMT_TS_DISCONT
    parts = list(_stretches(packets, [int(stamp or 0) for stamp in stamps], base, jumps))
    order, times, length = _laid(parts, base, float(1 / (base * Fraction(rate))))
    places = {stamp: place for place, stamp in enumerate(order)}
    # AVI with B-frames again: times to decode, all moved by as much, that are given out as times to show.
    delays = {packet.pts - packet.dts for packet in packets if packet.pts is not None and packet.dts is not None}
    is_order = has_pts and not (getattr(stream.codec_context, "has_b_frames", True) and len(delays) == 1)
    unique = is_order and len(places) == len(order)
    plain = unique and not any(packet.is_corrupt for packet in packets)
    start = float(order[0] * base) if order else 0.0
    return Timeline(times, length, places if unique else {}, plain, start, len(parts) > 1)


def _laid(
    parts: list[list[tuple[int, int]]], base: Fraction, tick: float
) -> tuple[list[int], NDArray[np.float64], float]:
    """Time stamps in the order shown, their times and the length in s; clocks that were set again go on instead."""
    order: list[int] = []
    ticks: list[int] = []
    offset = 0
    for part in parts:
        ordered = sorted(part)
        order += [stamp for stamp, _ in ordered]
        ticks += [stamp - ordered[0][0] + offset for stamp, _ in ordered]
        offset = ticks[-1] + (ordered[-1][1] or round(tick))
    times = np.array(ticks, np.float64) * base.numerator / base.denominator
    return order, times, float(offset * base)


def _stretches(
    packets: list[PacketFacts], stamps: list[int], base: Fraction, jumps: bool
) -> Iterator[list[tuple[int, int]]]:
    """Stamps and durations, cut where the clock goes back, or jumps in a format in which it does."""
    clock = [packet.dts if packet.dts is not None else stamp for packet, stamp in zip(packets, stamps, strict=True)]
    if any(packet.dts is None for packet in packets):
        clock = list(range(len(packets)))  # nothing to see a jump by
        jumps = False
    most = _JUMP / float(base) if jumps else float("inf")
    cuts = [place for place, (one, other) in enumerate(pairwise(clock), 1) if not one <= other <= one + most]
    for start, stop in pairwise([0, *cuts, len(packets)]):
        if stop > start:
            yield [(stamps[place], packets[place].duration) for place in range(start, stop)]


def decoder_reason(error: Exception) -> str:
    """The words of an error in decoding, on one line."""
    if isinstance(error, av.error.InvalidDataError):
        return "not a video, or cut off: no valid header"
    return reason_of(error)
