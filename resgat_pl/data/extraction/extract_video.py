"""Extraction of one video, or of an original and its fakes: crops are cut in another process and written in this one.

The other process (``IsolatedProcess``) hands over pictures and writes nothing, so that a decoder that dies or hangs
costs that video and leaves nothing half done.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

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
    has_files,
    is_done,
    read_fragment,
    read_report,
    whole_report,
)
from resgat_pl.data.extraction.jobs import Family, Job
from resgat_pl.data.extraction.settings import EXTRACTION_VERSION, VIDEO_TIMEOUT, Extraction
from resgat_pl.data.manifest.table import rows_to_table, write_table


class Task(NamedTuple):
    """A video to cut, and its original where it is a fake's."""

    record: VideoRecord
    original: Original | None


class VideoCropper:
    """``crop_video`` in a process that is reused for the next video.

    Args:
        extraction: Settings.
        timeout: Seconds that a video may take.
        threads: Threads of OpenCV; None leaves its default.
        max_faces: Faces to cut out of each video where the settings do not say, see ``Layout.max_faces``.
    """

    def __init__(
        self,
        extraction: Extraction,
        timeout: float = VIDEO_TIMEOUT,
        threads: int | None = None,
        max_faces: int = 1,
    ) -> None:
        self.timeout = timeout
        self._arguments = extraction, timeout, threads, max_faces
        self._crop = _Crop(extraction, max_faces)
        self._process: IsolatedProcess[Task, Picture | Outcome] = IsolatedProcess(self._crop, threads)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the arguments: each copy starts its own process."""
        return VideoCropper, self._arguments

    def run(self, task: Task) -> Iterator[Picture | Outcome]:
        """Yield what ``crop_video`` yields.

        Raises:
            ProcessDiedError, ProcessTimeoutError: What became of the process.
            EngineError: It cannot be started.
        """
        if getattr(task.record.files[0], "protocol", "") == "memory":  # memory:// exists in this process only
            return self._crop(task)
        return self._process.run(task, self.timeout)

    def close(self) -> None:
        """End the process; what it does for another thread fails."""
        self._process.close()


class _Crop:
    """``crop_video`` with the frames of the last original in memory, for its fakes."""

    def __init__(self, extraction: Extraction, max_faces: int) -> None:
        self.extraction = extraction
        self.max_faces = max_faces
        self.recent = Recent()

    def __call__(self, task: Task) -> Iterator[Picture | Outcome]:
        return crop_video(task.record, self.extraction, task.original, self.recent, self.max_faces)


def extract_video(
    record: VideoRecord,
    cropper: VideoCropper,
    out: Path,
    request: str,
    reference: Path | None = None,
    store: Store = "files",
    original: VideoRecord | None = None,
) -> int:
    """Cut the faces out of one video; write its crops, then its fragment.

    Args:
        record: The video.
        cropper: Cuts the crops.
        out: Folder of the data set's crops.
        request: Hash that marks the fragment as up to date.
        reference: Fragment of the original, with which a fake is aligned.
        store: Where the crops go; it does not change them.
        original: The original itself.

    Returns:
        Number of crops written. A video that cannot be read gives 0; its fragment says why.
    """
    crops = CropWriter(out, record.key, crops_folder(record), store)
    rows, report = _crop_twice(Task(record, _original(reference, original)), cropper, crops)
    if "skipped" in report:
        crops.discard()
    crops.finish()
    write_table(rows_to_table(rows), fragment_path(out, record.key), {"request": request, **report})
    return len(rows)


def _crop_twice(task: Task, cropper: VideoCropper, crops: CropWriter) -> Outcome:
    """Cut a video, and once more if its process died: others may have used up the memory."""
    name = task.record.files[0]
    reason = ""
    for _ in range(2):
        outcome = None
        try:
            for output in cropper.run(task):
                if isinstance(output, Outcome):
                    outcome = output
                else:
                    crops.add(output.name, output.data)
            if outcome is not None:
                return outcome
        except ProcessTimeoutError:
            reason = f"{name}: took longer than {cropper.timeout:g} s; tried again with a longer --video_timeout only"
            return Outcome([], {"skipped": reason, "timeout": cropper.timeout})
        except ProcessDiedError as error:
            reason = f"{name}: {error}"
        crops.discard()
    return Outcome([], {"skipped": reason})


def _original(reference: Path | None, record: VideoRecord | None) -> Original | None:
    if reference is None:
        return None
    table = read_fragment(readable(reference), reference)
    report = read_report(table.schema.metadata)
    return Original(table.to_pylist(), report.get("frame_size"), report.get("others", ()), record)


class FamilyExtractor:
    """Extracts an original and then its fakes, as a picklable callable; returns the number of crops of each video.

    Args:
        cropper: Cuts the crops.
        out: Folder of the data set's crops.
        store: Where the crops go.
    """

    def __init__(self, cropper: VideoCropper, out: Path, store: Store) -> None:
        self.cropper = cropper
        self.out = out
        self.store = store

    def __call__(self, family: Family) -> list[int]:
        """Extract the videos of a family, each as far as it is not done."""
        return [self._extract(job) for job in family]

    def close(self) -> None:
        """End the process that cuts."""
        self.cropper.close()

    def _extract(self, job: Job) -> int:
        path = fragment_path(self.out, job.record.key)
        reference = None if job.reference is None else fragment_path(self.out, job.reference)

        # A cluster repeats what a dead worker had done.
        report = whole_report(next(read_many([path])))
        if self.store == "files":
            is_there = "files" in report and has_files(self.out / crops_folder(job.record), report)
        else:
            is_there = loose_path(self.out, job.record.key).is_file()
        if is_there and is_done(report, job.request) and not (report.get("orphan") and _has_crops(reference)):
            return int(report["rows"])

        try:
            return extract_video(job.record, self.cropper, self.out, job.request, reference, self.store, job.original)
        except OSError as error:  # errors of reading are in the report, so this could not be written
            raise storage_error(error, self.out) from None


def _has_crops(fragment: Path | None) -> bool:
    return fragment is not None and pq.read_metadata(readable(fragment)).num_rows > 0


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
