"""``--original``: the recording that the file of a case was made from, from the option to the document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from resgat_pl.core.errors import ConfigError
from resgat_pl.explain.custody.record import FileHash, StepLog, hash_file
from resgat_pl.explain.report.document import Document
from resgat_pl.explain.report.examine import Examiner
from resgat_pl.explain.report.media import FaceFinder, FoundFaces
from resgat_pl.explain.report.media_search import Medium, search_media
from resgat_pl.explain.report.original import Beside, put_beside
from resgat_pl.explain.report.restoration import comparison_of
from resgat_pl.nn.detector_net import DetectorNet
from resgat_pl.nn.video.net import VideoResGAT


def original_of(original: Path, media: Sequence[Medium], net: DetectorNet, html: bool) -> CaseOriginal:
    """Hash the original of a case, before it is decoded.

    Raises:
        ConfigError: There are several files, or it is the file itself, or there is no report or no detector to use it.
    """
    if not html:
        raise ConfigError("--original is for reports, and --html is false: leave one of them out.")
    if len(media) != 1:
        raise ConfigError(f"--original is of one file, and {len(media)} are given: explain that one alone.")
    if isinstance(net, VideoResGAT):
        raise ConfigError("--original needs a detector of single pictures, and this one judges clips.")
    record = hash_file(original)
    found = search_media([original]).media if record is not None else []
    if record is None or len(found) != 1:
        raise ConfigError(f"--original {original} is missing, or no file that can be read. Name one image or video.")
    if record.sha256 == getattr(hash_file(media[0].path), "sha256", None):
        raise ConfigError(f"--original {original} is the very file that is to be judged, byte for byte.")
    return CaseOriginal(found[0], record)


@dataclass(frozen=True)
class CaseOriginal:
    """The original of a case.

    Attributes:
        medium: Where it is, and what it is read as.
        record: Its hash, taken before it was decoded.
    """

    medium: Medium
    record: FileHash

    def put_beside(self, medium: Medium, found: FoundFaces, finder: FaceFinder, log: StepLog) -> Beside:
        """Cut the faces of a file out of it, see ``original.put_beside``, also for errors."""
        with log.step("put the original beside it") as say:
            say(f"{self.record.name}, SHA-256 {self.record.sha256}")
            return put_beside(medium, self.medium, found, finder.extraction, finder.timeout)

    def compared(
        self, document: Document, found: FoundFaces, beside: Beside, examiner: Examiner, log: StepLog
    ) -> Document:
        """The document with the comparison, see ``restoration.comparison_of``."""
        with log.step("put the original's pixels back") as say:
            made = comparison_of(document, found, beside, self.record, examiner.detector.net)
            say(f"in {len(made.faces)} face{'s' * (len(made.faces) != 1)}")
        return replace(document, original=made)
