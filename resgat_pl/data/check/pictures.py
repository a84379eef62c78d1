"""Fingerprints of pictures, read in isolated processes: by them ``check`` finds unreadable files and copies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from tqdm import tqdm

from resgat_pl.core.errors import MediaError, ResGATError
from resgat_pl.core.executors import open_executor, run_all
from resgat_pl.core.isolated_process import IsolatedProcess, ProcessDiedError, ProcessTimeoutError
from resgat_pl.core.types import MediaKind
from resgat_pl.data.crop_store.reader import Member, picture
from resgat_pl.data.media.frames import FrameReader
from resgat_pl.data.media.images import MOST_PIXELS, read_image
from resgat_pl.data.splits.fingerprints import FINGERPRINT, Fingerprints, contrast, fingerprint

_FILE_SECONDS: Final = 300
"""A file of which one frame cannot be decoded within so long is reported as unreadable."""
_GLANCES: Final = (0, 12, 25, 50, 100, 200, 400)
"""Frames of a video that are looked at until one has detail. A later one for every video would double the time."""
_ENOUGH_CONTRAST: Final = 12.0  # standard deviation of the picture, grey levels; a dark room has 15


class PictureSource(NamedTuple):
    """The files of the pictures of a video, or a single crop.

    Attributes:
        files: The files.
        kind: What they hold.
        stored: Whether an extraction has written them.
        compared: Whether fingerprints are needed; otherwise the pictures are decoded, and the result has no rows.
    """

    files: tuple[Path | Member, ...]
    kind: MediaKind
    stored: bool = False
    compared: bool = True


def read_fingerprints(source: PictureSource) -> Fingerprints | str:
    """Decode the pictures that are compared, and compute their fingerprints; or return why there are none."""
    try:
        if source.kind == "video":
            return _fingerprint_video(
                FrameReader([file for file in source.files if not isinstance(file, Member)], source.kind),
                source.compared,
            )
        # Other people's pictures may end as they like, as long as they can be decoded.
        images = (
            picture(file) if source.stored or isinstance(file, Member) else read_image(file, MOST_PIXELS)
            for file in (source.files[place] for place in places(len(source.files)))
        )
        return np.concatenate([np.empty(0, FINGERPRINT), *(fingerprint(each) for each in images if source.compared)])
    except ResGATError as error:
        return str(error)


def places(count: int) -> list[int]:
    """Places of the pictures of a video that are compared: the middle, and a later one for copies that begin elsewhere.

    Args:
        count: Number of its pictures.
    """
    return sorted({count // 2, count * 5 // 6})


def _fingerprint_video(media: FrameReader, compared: bool) -> Fingerprints | str:
    """The first frame with detail: many videos begin black, or fade in."""
    best: Fingerprints | None = None
    last = max(0, len(media.indices) - 1)
    for place in sorted({min(place, last) for place in _GLANCES}):
        try:
            frame = next(iter(media.read([place])), None)
        except MediaError:
            if best is None:
                raise
            break  # it has fewer frames than it claims
        if frame is not None:
            if not compared:
                return np.empty(0, FINGERPRINT)
            found = fingerprint(frame.image)
            best = found if best is None or contrast(found) > contrast(best) else best
            if contrast(best) >= _ENOUGH_CONTRAST:
                break
    return "no frame can be decoded" if best is None else best


def _yield_fingerprints(source: PictureSource) -> Iterator[Fingerprints | str]:
    yield read_fingerprints(source)


class _IsolatedReader:
    """Reads fingerprints in an isolated process: a file may kill its decoder."""

    def __init__(self) -> None:
        self.process: IsolatedProcess[PictureSource, Fingerprints | str] = IsolatedProcess(
            _yield_fingerprints, threads=1
        )

    def __reduce__(self) -> tuple[type[_IsolatedReader], tuple[()]]:
        return _IsolatedReader, ()

    def __call__(self, numbered: Sequence[tuple[int, PictureSource]]) -> list[tuple[int, Fingerprints | str]]:
        return [(number, self._read(source)) for number, source in numbered]

    def _read(self, source: PictureSource) -> Fingerprints | str:
        try:
            (found,) = self.process.run(source, _FILE_SECONDS)
        except (ProcessDiedError, ProcessTimeoutError) as error:
            return f"{source.files[0]}: {error}"
        return found

    def close(self) -> None:
        self.process.close()


def read_all(sources: Sequence[PictureSource], jobs: int, title: str, unit: str) -> list[Fingerprints | str]:
    """Read the fingerprints of many sources, in their order; see ``read_fingerprints``.

    Args:
        sources: The sources.
        jobs: Processes to read with.
        title: Of the progress bar.
        unit: Of the progress bar.
    """
    bar = tqdm(total=len(sources), desc=title, unit=unit)
    found: dict[int, Fingerprints | str] = {}
    with bar:
        if all(source.stored for source in sources) and (jobs <= 1 or len(sources) < 200):
            # This program's own crops; starting processes takes longer.
            for number, source in enumerate(sources):
                found[number] = read_fingerprints(source)
                bar.update()
            return list(found.values())

        # Results arrive in any order, so that each source carries its number.
        numbered = list(enumerate(sources))
        size = 32 if len(sources) > 2000 else 1  # handing out millions one by one takes memory
        portions = [numbered[start : start + size] for start in range(0, len(sources), size)]
        with (
            open_executor(jobs=max(1, jobs)) as executor,
            closing(run_all(executor, _IsolatedReader(), portions)) as parts,
        ):
            for part in parts:
                found.update(part)
                bar.update(len(part))
    return [found[number] for number in range(len(sources))]
