"""The fragment of a video: its rows of the manifest, with a report, written after all its crops.

A fragment therefore guarantees that the crops of its video were complete; ``report`` says what they were made from.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from resgat_pl.core.errors import ManifestError
from resgat_pl.core.storage import is_remote, names_in, read_many, readable
from resgat_pl.core.untrusted_paths import check_inside
from resgat_pl.data.crop_store.writer import video_hash
from resgat_pl.data.manifest.schema import PATHS, SCHEMA
from resgat_pl.data.manifest.table import completed
from resgat_pl.data.manifest.validation import checked_rows


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
    """Recognise a disk that could not be read; Arrow's errors of damage are plain ``OSError`` without a number."""
    return isinstance(error, OSError) and (error.errno is not None or type(error) is not OSError)


def fragment_path(out: Path, key: str) -> Path:
    """The fragment of the video ``key``."""
    return out / "fragments" / f"{video_hash(key)}.parquet"


def has_crops(fragment: Path) -> bool:
    """True if a fragment lists any crop; its rows are not read."""
    return bool(pq.read_metadata(readable(fragment)).num_rows)


def read_report(metadata: dict[bytes, bytes] | None) -> dict[str, Any]:
    """The report of a fragment: the request and ``Outcome.report``.

    ``timeout`` holds the limit in seconds that a video has exceeded.

    Raises:
        ValueError: The fragment holds no report.
    """
    report = json.loads((metadata or {}).get(b"resgat", b"null"))
    if not isinstance(report, dict):
        raise ValueError("no report in the fragment")
    return report


def read_reports(out: Path, keys: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The report of each video; empty where there is no fragment, or a damaged one."""
    present = set(names_in(out / "fragments"))
    paths = [fragment_path(out, key) for key in keys]
    found = read_many([path for path in paths if path.name in present])
    for path in paths:
        yield whole_report(next(found)) if path.name in present else {}


def whole_report(fragment: bytes | OSError) -> dict[str, Any]:
    """The report in the bytes of a fragment, with the number of its crops and masks as ``files``, of rows as ``rows``.

    Empty if there is none, or if the fragment could not be read.
    """
    if isinstance(fragment, OSError):
        return {}
    try:
        metadata = pq.read_metadata(pa.BufferReader(fragment))
        return {**read_report(metadata.metadata), "files": _count_files(metadata), "rows": metadata.num_rows}
    except (OSError, pa.ArrowException, ValueError):
        return {}


def _count_files(metadata: pq.FileMetaData) -> int:
    """The number of crops and masks that a fragment lists."""
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
    """True if all crop files listed in the fragment exist; always for URLs.

    Args:
        folder: The folder of the video's crops.
        report: Of its fragment, with their number as ``files``.
    """
    return is_remote(folder) or len(names_in(folder)) >= report["files"]


def is_to_be_cut(report: dict[str, Any], request: str, timeout: float) -> bool:
    """True if another run should try the video, unless its crops are lost.

    What could not be read is tried again: the disk may be back, the memory free. What took too long is not, unless it
    is given more time: it would cost the whole of that time in every run.
    """
    if report.get("request") != request:
        return True
    return "skipped" in report and not report.get("timeout", -1.0) >= timeout
