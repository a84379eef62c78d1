"""Judging uploads: limits on size, length and number, and removal of what was uploaded; no web framework in it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from resgat_pl.core.errors import MediaError, ResGATError
from resgat_pl.core.isolated_process import IsolatedProcess, ProcessDiedError, ProcessTimeoutError
from resgat_pl.core.text import shorten
from resgat_pl.explain.report.decoding import read_length
from resgat_pl.explain.report.document import Document, to_json
from resgat_pl.explain.report.examine import Examiner
from resgat_pl.explain.report.first_page import both
from resgat_pl.explain.report.html import to_html
from resgat_pl.explain.report.media import FaceFinder
from resgat_pl.explain.report.media_search import Medium, search_media

COLUMNS: Final = ("file", "verdict", "score", "threshold", "faces", "limits")
"""Of the table of many files."""
_MB: Final = 1_000_000
_PROBE_SECONDS: Final = 20.0
Step = Callable[[float, str], None]


@dataclass(frozen=True)
class Limits:
    """Limits of uploads.

    Attributes:
        megabytes: Of one file.
        seconds: Length of a video.
        files: At once in the table.
        work_seconds: For decoding one file and finding its faces.
    """

    megabytes: float = 200.0
    seconds: float = 600.0
    files: int = 50
    work_seconds: float = 300.0


class Judged(NamedTuple):
    """One file.

    Attributes:
        document: What ``resgat explain`` would have found.
        html: Its report.
        json: Likewise, as data.
    """

    document: Document
    html: str
    json: str


@dataclass
class Desk:
    """Judges uploads one at a time, with the detector that was read once, and removes each afterwards.

    Attributes:
        examiner: With the detector.
        finder: Of faces, in a separate process.
        uploads: Folder in which uploads are; nothing outside it is read or removed, whatever is asked for.
        limits: Of uploads.
    """

    examiner: Examiner
    finder: FaceFinder
    uploads: Path
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        """Prepare the process that reads the length of videos."""
        self._turn = threading.Lock()
        self._length: IsolatedProcess[str, float] = IsolatedProcess(read_length)

    def judge(self, path: Path, step: Step = lambda *_: None) -> Judged:
        """Judge and explain an upload, and remove it.

        Args:
            path: The upload.
            step: Called with the share of the work that is done, and what comes next.

        Raises:
            MediaError: It is too large, too long or no medium, or takes too long; the message has no path.
        """
        self._require_upload(path)
        with self._turn, _upload(path):
            started = time.perf_counter()
            step(0.05, "Reading the file")
            medium = self._medium(path)
            step(0.1, "Looking for faces")
            found = self.finder.find(medium)
            step(0.6, "Judging and explaining")
            document = self.examiner.document(medium, found, started)
            step(0.9, "Writing the report")
            return Judged(document, to_html(document), to_json(document))

    def rows(self, paths: Sequence[Path]) -> Iterator[list[str]]:
        """Rows of ``COLUMNS`` for uploads, as they are judged; a file that fails has its reason in the last column.

        Raises:
            MediaError: There are too many; all of them are removed.
        """
        try:
            if len(paths) > self.limits.files:
                raise MediaError(f"{len(paths)} files are more than the {self.limits.files} that one batch may have.")
            for path in paths:
                try:
                    yield self._row(path)
                except ResGATError as error:
                    yield [_name(path), "not judged", "", "", "", str(error)]
        finally:
            for path in paths:
                if self._is_upload(path):
                    remove(path)

    def close(self) -> None:
        """End the processes."""
        self.finder.close()
        self._length.close()

    def _is_upload(self, path: Path) -> bool:
        return self.uploads.resolve() in path.resolve().parents

    def _require_upload(self, path: Path) -> None:
        if not self._is_upload(path):
            raise MediaError(f"{path.name} is no upload.")
        if not path.is_file():
            raise MediaError(f"{path.name} is gone: it was judged already, perhaps for somebody else. Give it again.")

    def _row(self, path: Path) -> list[str]:
        self._require_upload(path)
        with self._turn, _upload(path):
            medium = self._medium(path)
            found = self.finder.find(medium)
            judged = self.examiner.score(medium, found)
            limits = " ".join(self.examiner.notes(medium, found, judged))
        faces = str(len(found.tracks))
        if judged.probability is None:
            return [_name(path), "no face", "", "", faces, limits]
        score, limit = both(judged.probability, judged.decision.limit)
        return [_name(path), judged.verdict, score, limit, faces, limits]

    def _medium(self, path: Path) -> Medium:
        """The upload as a medium, if it is within the limits."""
        size = path.stat().st_size / _MB
        if not size:
            raise MediaError(f"{path.name} is empty.")
        if size > self.limits.megabytes:
            raise MediaError(f"{path.name} has {size:.3g} MB, more than the {self.limits.megabytes:g} MB allowed.")
        (medium,) = search_media([path]).media
        if medium.kind == "video":
            try:
                (seconds,) = self._length.run(str(path), _PROBE_SECONDS)
            except (ProcessDiedError, ProcessTimeoutError) as error:
                raise MediaError(f"{path.name}: {error}") from None
            if seconds > self.limits.seconds:
                raise MediaError(
                    f"{path.name} is {seconds:.0f} s long, more than the {self.limits.seconds:g} s allowed: cut out "
                    "the part that matters, or use resgat explain."
                )
        return medium


def remove(path: Path) -> None:
    """Remove an upload with the folder made for it alone; what is gone already stays gone."""
    with suppress(OSError):
        path.unlink()
    with suppress(OSError):
        path.parent.rmdir()  # only if it is empty


@contextmanager
def _upload(path: Path) -> Iterator[None]:
    """Remove an upload when the work on it is over, however that ends; messages do not have its folder in them.

    Raises:
        MediaError: In place of any error that a user may see.
    """
    try:
        yield
    except (ResGATError, OSError) as error:
        text = str(error).replace(f"{path.parent}{os.sep}", "")
        raise MediaError(" ".join(text.split())) from None
    finally:
        remove(path)


def _name(path: Path) -> str:
    return shorten(path.name, 100)
