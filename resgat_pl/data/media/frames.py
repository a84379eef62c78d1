"""The frames of a video, of an animated picture, or of a folder of images: which to take, and reading them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from resgat_pl.core.storage import is_remote
from resgat_pl.core.types import MediaKind
from resgat_pl.data.media.file_type import HEAD, is_animation, kind_of
from resgat_pl.data.media.images import MOST_PIXELS, Animation, open_picture
from resgat_pl.data.media.video import VideoFile

FrameCount = int | Literal["all"]

_UNEVEN: Final = 0.05
"""The share of the time before a frame may differ by so much from the share of frames before it; where it differs by
more, frames are spread over time. A camera's jitter is far below."""


class Frame(NamedTuple):
    """One decoded frame.

    Attributes:
        number: Number of the frame in its video, from 0.
        time: Seconds from the first frame shown; NaN where the medium has no clock.
        image: ``(H, W, 3)`` uint8 RGB, as a player shows it: upright, of square pixels.

    Example:
        >>> Frame(0, 0.0, np.zeros((2, 4, 3), np.uint8)).image.shape
        (2, 4, 3)
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


def sample_times(times: NDArray[np.float64], length: float, frames: int) -> NDArray[np.int64]:
    """Choose the frames that are shown in the middles of equal stretches of time.

    Where one frame is shown for several stretches, others are taken in its stead, spread evenly over the rest.

    Args:
        times: ``(n,)`` seconds at which each frame is shown, ascending.
        length: Seconds from the first frame to the end of the last.
        frames: So many.

    Returns:
        Ascending int64, ``frames`` of them; all frames if there are fewer.
    """
    if frames >= len(times):
        return np.arange(len(times), dtype=np.int64)
    middles = (np.arange(frames) * 2 + 1) / (2 * frames) * length
    chosen = np.unique(np.searchsorted(times, middles, side="right") - 1).clip(0)
    others = np.setdiff1d(np.arange(len(times)), chosen)
    others = others[sample_indices(len(others), frames - len(chosen))]
    return np.sort(np.concatenate([chosen, others])).astype(np.int64)


class FrameReader:
    """A video file, an animated picture, or a sequence of image files, read frame by frame.

    Args:
        files: The one video, or the image files in frame order.
        kind: See ``VideoRecord.kind``. A picture that is called a video is read as one, of one frame or of those of
            its animation.

    Attributes:
        indices: ``(n,)`` int64, the frame numbers there are: 0 … n-1 for a video; for images the numbers in their
            file names where all are numbers, else their position.

    Raises:
        MediaError: The file is missing, empty, or not a video.

    Example:
        >>> for frame in FrameReader([Path("video.mp4")], "video").read([0, 30]):  # doctest: +SKIP
        ...     print(frame.number, frame.time, frame.image.shape)
    """

    def __init__(self, files: Sequence[Path], kind: MediaKind) -> None:
        self.files = list(files)
        self._source: VideoFile | Animation | None = None
        self._notes: dict[str, None] = {}
        if kind == "video":
            self._source = source = Animation(files[0]) if _is_picture(files[0]) else VideoFile(files[0])
            shown = source if isinstance(source, Animation) else source.timeline
            self._times: NDArray[np.float64] = shown.times
            self._length = shown.length
            self.indices = np.arange(len(self._times), dtype=np.int64)
            return
        numbers = [int(path.stem) if path.stem.isdecimal() else -1 for path in self.files]
        ordered = all(a < b for a, b in pairwise(numbers)) and min(numbers, default=-1) >= 0
        self.indices = np.array(numbers if ordered else range(len(numbers)), np.int64)

    @property
    def notes(self) -> list[str]:
        """Unusual findings in what was read so far, and what was done about them, a sentence each."""
        return [*(self._source.notes if self._source is not None else []), *self._notes]

    def sample(self, frames: FrameCount = 32, every: int | None = None) -> NDArray[np.int64]:
        """Numbers of the frames to take, as ``sample_indices``; spread over time where the frame rate varies much."""
        total = len(self.indices)
        if self._source is None or every is not None or frames == "all" or frames >= total or not self._is_uneven:
            return self.indices[sample_indices(total, frames, every)]
        self._notes["The frame rate varies much: frames were spread over time, not over their number."] = None
        return sample_times(self._times, self._length, frames)

    def read(self, indices: Sequence[int] | NDArray[np.int64]) -> Iterator[Frame]:
        """Yield the frames with these numbers in ascending order, decoding forward once.

        A video that breaks off early yields what can be decoded; numbers that do not exist are passed over.

        Raises:
            MediaError: Nothing can be decoded, or an image is unreadable.
        """
        wanted = {int(index) for index in indices}
        if self._source is not None:
            asked = missing = len(wanted & set(self.indices.tolist()))
            for number, image in self._source.read(wanted):
                missing -= 1
                yield Frame(number, float(self._times[number]), image)
            if missing:
                cause = self._source.trouble or "the file is damaged, or no picture belongs to them"
                self._notes[f"Only {asked - missing} of {asked} frames could be decoded: {cause}."] = None
            return
        for index, path in zip(self.indices.tolist(), self.files, strict=True):
            if index in wanted:
                picture = open_picture(path, MOST_PIXELS)
                self._notes |= dict.fromkeys(picture.notes)
                yield Frame(index, float("nan"), picture.image)

    @property
    def _is_uneven(self) -> bool:
        """Kolmogorov's distance between the frames over time and an even spread."""
        if not self._length > 0:
            return False
        even = np.arange(len(self._times)) / len(self._times)
        return bool(np.abs(self._times / self._length - even).max() > _UNEVEN)


def _is_picture(path: Path) -> bool:
    if is_remote(path) or not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError:  # reported by whatever reads it
        return False
    return kind_of(head) == "image" or is_animation(head)
