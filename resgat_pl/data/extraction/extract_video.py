"""Extraction of an original and its fakes: crops are cut in another process and written in this one.

The other process (``IsolatedProcess``) hands over pictures and writes nothing, so that a decoder that dies or hangs
costs that video and leaves nothing half done.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from resgat_pl.core.disk_full import storage_error
from resgat_pl.core.errors import ConfigError
from resgat_pl.core.isolated_process import IsolatedProcess, ProcessDiedError, ProcessTimeoutError
from resgat_pl.core.storage import is_remote, read_many, readable, refresh
from resgat_pl.core.types import VideoRecord
from resgat_pl.data.crop_store.writer import CropWriter, Store, loose_path
from resgat_pl.data.extraction.alignment import Original, Recent
from resgat_pl.data.extraction.altered_faces import Picture
from resgat_pl.data.extraction.crop_video import Outcome, crop_video, crops_folder
from resgat_pl.data.extraction.fragment import (
    fragment_path,
    has_crops,
    has_files,
    read_fragment,
    read_report,
    whole_report,
)
from resgat_pl.data.extraction.jobs import Family, Job
from resgat_pl.data.extraction.settings import EXTRACTION_VERSION, Extraction
from resgat_pl.data.manifest.table import rows_to_table, write_table


class Task(NamedTuple):
    """A video to cut, and its original where it is a fake's."""

    record: VideoRecord
    original: Original | None


class FamilyExtractor:
    """Extracts an original and then its fakes; copies by pickle each start their own process.

    Args:
        extraction: Settings.
        out: Folder of the data set's crops.
        store: Where the crops go; it does not change them.
        timeout: Seconds that a video may take.
        threads: Threads of OpenCV; None leaves its default.
        max_faces: Faces to cut out of each video where the settings do not say, see ``Layout.max_faces``.
    """

    def __init__(
        self, extraction: Extraction, out: Path, store: Store, timeout: float, threads: int | None, max_faces: int
    ) -> None:
        self._arguments = extraction, out, store, timeout, threads, max_faces
        self.out, self.store, self.timeout = out, store, timeout
        self._crop = partial(_crop, extraction, max_faces, Recent())
        self._process: IsolatedProcess[Task, Picture | Outcome] = IsolatedProcess(self._crop, threads)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the arguments alone."""
        return FamilyExtractor, self._arguments

    def __call__(self, family: Family) -> list[int]:
        """Extract the videos of a family, each as far as it is not done; return their numbers of crops."""
        return [self._extract(job) for job in family]

    def close(self) -> None:
        """End the process that cuts; what it does for another thread fails."""
        self._process.close()

    def _extract(self, job: Job) -> int:
        reference = None if job.reference is None else fragment_path(self.out, job.reference)

        # A cluster repeats what a dead worker had done.
        report = whole_report(next(read_many([fragment_path(self.out, job.record.key)])))
        if self.store == "files":
            is_there = "files" in report and has_files(self.out / crops_folder(job.record), report)
        else:
            is_there = loose_path(self.out, job.record.key).is_file()
        is_done = is_there and report.get("request") == job.request and "skipped" not in report
        if is_done and not (report.get("orphan") and reference is not None and has_crops(reference)):
            return int(report["rows"])

        try:
            return self.cut(job, reference)
        except OSError as error:  # errors of reading are in the report, so this could not be written
            raise storage_error(error, self.out) from None

    def cut(self, job: Job, reference: Path | None) -> int:
        """Cut the faces out of one video; write its crops, then its fragment.

        Args:
            job: The video.
            reference: Fragment of the original, with which a fake is aligned.

        Returns:
            Number of crops written. A video that cannot be read gives 0; its fragment says why.
        """
        key = job.record.key
        crops = CropWriter(self.out, key, crops_folder(job.record), self.store)
        rows, report = self._cut_twice(Task(job.record, _original(reference, job.original)), crops)
        if "skipped" in report:
            crops.discard()
        crops.finish()
        write_table(rows_to_table(rows), fragment_path(self.out, key), {"request": job.request, **report})
        return len(rows)

    def _cut_twice(self, task: Task, crops: CropWriter) -> Outcome:
        """Cut a video, and once more if its process died: others may have used up the memory."""
        name = task.record.files[0]
        outcome = Outcome([], {})
        for _ in range(2):
            try:
                for output in self._outputs(task):  # to its end, else the process counts as hung
                    if isinstance(output, Outcome):
                        outcome = output
                    else:
                        crops.add(output.name, output.data)
                return outcome
            except ProcessTimeoutError:
                reason = f"{name}: took longer than {self.timeout:g} s; tried again with a longer --video_timeout only"
                return Outcome([], {"skipped": reason, "timeout": self.timeout})
            except ProcessDiedError as error:
                outcome = Outcome([], {"skipped": f"{name}: {error}"})
            crops.discard()
        return outcome

    def _outputs(self, task: Task) -> Iterator[Picture | Outcome]:
        if getattr(task.record.files[0], "protocol", "") == "memory":  # memory:// exists in this process only
            return self._crop(task)
        return self._process.run(task, self.timeout)


def _crop(extraction: Extraction, max_faces: int, recent: Recent, task: Task) -> Iterator[Picture | Outcome]:
    """``crop_video`` with the frames of the last original in memory, for its fakes."""
    return crop_video(task.record, extraction, task.original, recent, max_faces)


def _original(reference: Path | None, record: VideoRecord | None) -> Original | None:
    if reference is None:
        return None
    table = read_fragment(readable(reference), reference)
    report = read_report(table.schema.metadata)
    return Original(table.to_pylist(), report.get("frame_size"), report.get("others", ()), record)


def problem_on_worker(root: Path, out: Path, version: int) -> str:
    """The problem of a worker on another machine, or empty text; run there before an extraction.

    Args:
        root: Folder of the data set.
        out: Folder of the crops.
        version: ``EXTRACTION_VERSION`` of the machine that the command was given on.
    """
    for folder in (root, out / "fragments"):
        try:
            refresh(folder)
        except ConfigError as error:
            return f"cannot use {folder}: {error}"
        # A bucket has no empty folders.
        if not folder.is_dir() and (folder is root or not is_remote(folder)):
            return f"does not see {folder}: root and out must lie where all machines find them under this name"
    if version != EXTRACTION_VERSION:
        return f"has a resgat-pl that cuts otherwise (version {EXTRACTION_VERSION} of the extraction, here {version})"
    return ""
