"""A video's results on the disk: its crops, then the fragment of the manifest that vouches for them.

Videos are cut in a process of its own (``cells``), which hands over pictures and writes nothing: a decoder that dies
or hangs costs that video and leaves nothing half done.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from resgat_pl.core.errors import ManifestError
from resgat_pl.core.isolated_process import IsolatedProcess, ProcessDiedError, ProcessTimeoutError
from resgat_pl.core.storage import is_remote, names_in, readable
from resgat_pl.core.types import VideoRecord
from resgat_pl.core.untrusted_paths import check_inside
from resgat_pl.data.crop_store.writer import CropWriter, Store, video_hash
from resgat_pl.data.extraction.alignment import Original, Recent
from resgat_pl.data.extraction.altered_faces import Picture
from resgat_pl.data.extraction.crop_video import Extraction, Outcome, crop_video, crops_folder
from resgat_pl.data.manifest.arrow_cache import PATHS
from resgat_pl.data.manifest.table import SCHEMA, completed, rows_to_table, write_table
from resgat_pl.data.manifest.validation import checked_rows

VIDEO_TIMEOUT = 600.0
"""Seconds that a video may take unless told otherwise: 32 frames take a few, 10,000 a quarter of an hour."""


class Task(NamedTuple):
    """A video to cut, and its original where it is a fake's."""

    record: VideoRecord
    original: Original | None


class VideoCropper:
    """``crop_video`` in a process that is kept for the next video.

    Args:
        extraction: Settings.
        timeout: Seconds that a video may take.
        threads: Threads of OpenCV; None leaves its default.
    """

    def __init__(self, extraction: Extraction, timeout: float = VIDEO_TIMEOUT, threads: int | None = None) -> None:
        self.timeout = timeout
        self._arguments = extraction, timeout, threads
        self._cut = _Cut(extraction)
        self._cell: IsolatedProcess[Task, Picture | Outcome] = IsolatedProcess(self._cut, threads)

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy elsewhere has a process of its own."""
        return VideoCropper, self._arguments

    def run(self, task: Task) -> Iterator[Picture | Outcome]:
        """Yield what ``crop_video`` yields.

        Raises:
            ProcessDiedError, ProcessTimeoutError: What became of the process.
            EngineError: It cannot be started.
        """
        if getattr(task.record.files[0], "protocol", "") == "memory":  # memory:// exists in this process only
            return self._cut(task)
        return self._cell.run(task, self.timeout)

    def close(self) -> None:
        """End the process; what it is doing for another thread fails."""
        self._cell.close()


class _Cut:
    def __init__(self, extraction: Extraction) -> None:
        self.extraction = extraction
        self.recent = Recent()

    def __call__(self, task: Task) -> Iterator[Picture | Outcome]:
        return crop_video(task.record, self.extraction, task.original, self.recent)


def extract_video(
    record: VideoRecord,
    cutter: VideoCropper,
    out: Path,
    request: str,
    reference: Path | None = None,
    store: Store = "files",
    original: VideoRecord | None = None,
) -> int:
    """Cut the faces out of one video; write its crops, then its fragment.

    Args:
        record: The video.
        cutter: Who does the cutting.
        out: Folder of the data set's crops.
        request: Hash that marks the fragment as up to date.
        reference: Fragment of the original, with which a fake is aligned.
        store: Where the crops go; it does not change them.
        original: The original itself.

    Returns:
        Number of crops written. A video that cannot be read gives 0; its fragment says why.
    """
    crops = CropWriter(out, record.key, crops_folder(record), store)
    rows, report = _cut(Task(record, _original(reference, original)), cutter, crops)
    if "skipped" in report:
        crops.discard()
    crops.finish()
    write_table(rows_to_table(rows), fragment_path(out, record.key), {"request": request, **report})
    return len(rows)


def _cut(task: Task, cutter: VideoCropper, crops: CropWriter) -> Outcome:
    name = task.record.files[0]
    reason = ""
    for _ in range(2):  # a process can be killed for what others did, such as taking all memory
        outcome = None
        try:
            for message in cutter.run(task):
                if isinstance(message, Outcome):
                    outcome = message
                else:
                    crops.add(message.name, message.data)
            if outcome is not None:
                return outcome
        except ProcessTimeoutError:
            reason = f"{name}: took longer than {cutter.timeout:g} s; tried again with a longer --video_timeout only"
            return Outcome([], {"skipped": reason, "timeout": cutter.timeout})
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


def read_fragment(source: Any, path: Path) -> pa.Table:
    """The rows of a fragment; it may have come with a folder that somebody else made.

    Args:
        source: What pyarrow reads from.
        path: The fragment's name, for messages.

    Raises:
        ManifestError: It names files outside its folder, or cannot be read.
    """
    again = "Remove it, and give the same command again."
    try:
        table = completed(pq.read_table(source)).select(SCHEMA.names)
    except (pa.ArrowException, KeyError, OSError) as error:
        if is_of_disk(error):
            raise
        raise ManifestError(f"{path} is damaged ({error}). {again}") from None
    table = checked_rows(path, table, SCHEMA, again)
    for name in PATHS:
        check_inside(table.column(name), f"{path}, column {name}")
    return table


def is_of_disk(error: BaseException) -> bool:
    """Whether the disk could not be read; Arrow's errors of damage are plain ``OSError`` without a number."""
    return isinstance(error, OSError) and (error.errno is not None or type(error) is not OSError)


def fragment_path(out: Path, key: str) -> Path:
    """The fragment of the video ``key``."""
    return out / "fragments" / f"{video_hash(key)}.parquet"


def read_report(metadata: dict[bytes, bytes] | None) -> dict[str, Any]:
    """What ``extract_video`` noted in a fragment: the request and ``Outcome.report``.

    ``timeout`` holds the limit in seconds that a video has exceeded.

    Raises:
        ValueError: The fragment holds no report.
    """
    report = json.loads((metadata or {}).get(b"resgat", b"null"))
    if not isinstance(report, dict):
        raise ValueError("no report in the fragment")
    return report


def count_files(metadata: pq.FileMetaData) -> int:
    """How many crops and masks a fragment vouches for."""
    count = 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        for place in range(group.num_columns):
            column = group.column(place)
            if column.path_in_schema in {"crop_path", "mask_path"}:
                nulls = column.statistics.null_count if column.is_stats_set else None
                count += column.num_values - (nulls or 0)
    return count


def has_files(folder: Path, report: dict[str, Any]) -> bool:
    """Whether a video's crops are there as files, all for which its fragment vouches; URLs are not looked at.

    Args:
        folder: The folder of the video's crops.
        report: Of its fragment, with their number as ``files``.
    """
    return is_remote(folder) or len(names_in(folder)) >= report["files"]


def is_done(report: dict[str, Any], request: str) -> bool:
    """Whether a fragment with this report is what was asked for."""
    return report.get("request") == request and "skipped" not in report


def is_to_be_cut(report: dict[str, Any], request: str, timeout: float) -> bool:
    """Whether another run should try the video, unless its crops are lost.

    What could not be read is tried again: the disk may be back, the memory free. What took too long is not, unless it
    is given more time: it would cost the whole of that time in every run.
    """
    if report.get("request") != request:
        return True
    return "skipped" in report and not report.get("timeout", -1.0) >= timeout
