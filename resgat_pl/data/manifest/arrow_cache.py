"""A large manifest in a file that every process maps into memory, instead of holding a copy of its own.

Parquet cannot be mapped: it is compressed. So the first reader of a large manifest writes an Arrow file with the
columns that training and scoring need beside it. The file is a cache: it may be deleted at any time, counts for exactly
the Parquet file it was made of, and is made again when it does not fit or cannot be read.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from resgat_pl.core.errors import ManifestError
from resgat_pl.core.storage import temporary_name

MAP_FROM: Final = 100_000
"""Rows from which a manifest is mapped; what is smaller is as fast and takes no more than 25 MB in memory."""
CODES: Final = ("video_code", "track_code")
"""Columns of the map that no manifest has: see ``Manifest``."""
VIDEO_KEY: Final = ("dataset", "method", "compression", "video")
"""Columns that name a video."""
PATHS: Final = ("crop_path", "mask_path")
"""Columns of names of files."""

_LAYOUT: Final = 2  # of the file; files of another layout are made again
_WORDS: Final = (*VIDEO_KEY, "source_video", "part", "official_split", "split")  # few different values in many rows
_NUMBERS: Final = ("label", "track", "frame_index")
_MAPPED: Final = (*_WORDS, *_NUMBERS, "identities", *PATHS)
ALTERED: Final = "altered"
"""Mapped too; manifests of before there was such a column have no value in it."""


class ArrowCache:
    """The mapped columns of one Parquet file. Pickled, it is a name: another process maps the same pages.

    Attributes:
        parquet: The manifest.
        table: Its columns but those of where a face lies in its frame, and ``CODES``. Text that repeats is
            dictionary-encoded.

    Raises:
        ManifestError: The Parquet file has changed since another process mapped it.
    """

    def __init__(self, parquet: Path, key: str | None = None) -> None:
        self.parquet = parquet
        self.key = key_of(parquet)
        if key is not None and key != self.key:
            raise ManifestError(f"{parquet} was replaced while it was in use. Start again.")
        self.table = _open_or_make(parquet, self.key)

    def __reduce__(self) -> tuple[Any, ...]:
        return ArrowCache, (self.parquet, self.key)

    def column(self, name: str) -> pa.ChunkedArray:
        """A column; one that is not mapped is read from the Parquet file each time.

        Raises:
            ManifestError: It would have to be read, and the file has been replaced.
        """
        return self.table.column(name) if name in {*_MAPPED, ALTERED, *CODES} else self.read([name]).column(name)

    def read(self, columns: list[str]) -> pa.Table:
        """Columns from the Parquet file into memory.

        Raises:
            ManifestError: The file has been replaced.
        """
        if key_of(self.parquet) != self.key:
            raise ManifestError(f"{self.parquet} was replaced while it was in use. Start again.")
        table = pq.read_table(self.parquet, columns=[name for name in columns if name != ALTERED])
        if ALTERED in columns:
            table = table.append_column(ALTERED, self.table.column(ALTERED)).select(columns)
        return table.replace_schema_metadata(None)


def key_of(parquet: Path) -> str:
    """What a map must have been made of to count: size, time of change and footer (schema, ``info``, statistics)."""
    with parquet.open("rb") as file:
        status = os.fstat(file.fileno())
        file.seek(-8, os.SEEK_END)
        length = int.from_bytes(file.read(4), "little")
        file.seek(-min(8 + length, status.st_size), os.SEEK_END)
        footer = hashlib.sha256(file.read()).hexdigest()
    return f"{_LAYOUT} {status.st_size} {status.st_mtime_ns} {footer}"


def map_path(parquet: Path) -> Path:
    """Where the map of a manifest is kept, beside it."""
    return parquet.with_suffix(".arrow")


def _places(parquet: Path) -> list[Path]:
    """Where a map may be, in the order of preference: beside the manifest, or with the user if that is read-only."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "resgat-pl"
    return [map_path(parquet), cache / f"{hashlib.sha256(str(parquet.resolve()).encode()).hexdigest()[:24]}.arrow"]


def _open_or_make(parquet: Path, key: str) -> pa.Table:
    """Map the file there is, or make one; only where none can be written the table is in memory."""
    rows = pq.read_metadata(parquet).num_rows
    for path in _places(parquet):
        found = _open(path, key, rows)
        if found is not None:
            return found
    table = _table(parquet).replace_schema_metadata({"of": key})
    for path in _places(parquet):
        # no space, or a folder that is read-only: the next place, and at last memory, will do
        with contextlib.suppress(OSError):
            _write(table, path)
            found = _open(path, key, rows)
            if found is not None:
                return found
    return table


def _open(path: Path, key: str, rows: int) -> pa.Table | None:
    """The map at a path, or None if there is none, it is of another manifest, or damaged."""
    try:
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        table.validate(full=True)  # text or words that lie elsewhere in memory would end the process
        fits = (table.schema.metadata or {}).get(b"of") == key.encode() and len(table) == rows
        fits = fits and sorted(table.column_names) == sorted((*_MAPPED, ALTERED, *CODES))
    except (OSError, pa.ArrowException, ValueError):
        return None
    return table if fits and all(_counts(table.column(name)) for name in CODES) else None


def _counts(codes: pa.ChunkedArray) -> bool:
    """Whether a column can be one of ``CODES``: numbers below that of the rows."""
    if codes.type != pa.int64() or codes.null_count:
        return False
    found = pc.min_max(codes).as_py()
    return not len(codes) or (found["min"] == 0 and found["max"] < len(codes))


def _table(parquet: Path) -> pa.Table:
    """The columns of a map in memory."""
    file = pq.ParquetFile(parquet, read_dictionary=list(_WORDS))
    has_altered = ALTERED in file.schema_arrow.names
    table = file.read(columns=[*_MAPPED, *([ALTERED] if has_altered else [])]).unify_dictionaries()
    if not has_altered:
        table = table.append_column(ALTERED, pa.nulls(len(table), pa.bool_()))
    keys = [
        pa.chunked_array([chunk.indices for chunk in table.column(name).chunks], pa.int32()).to_numpy()
        for name in VIDEO_KEY
    ]
    for name, codes in zip(CODES, number(keys, table.column("track").to_numpy()), strict=True):
        table = table.append_column(name, pa.array(codes))
    return table


def number(keys: list[NDArray[Any]], tracks: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number the videos and the faces of sorted rows.

    Args:
        keys: What names a video, each ``(rows,)``: a new one starts where any of them changes.
        tracks: ``(rows,)``; a new face starts with a new video and where this changes.

    Returns:
        ``(rows,)`` each, from 0.
    """
    fresh = np.zeros(len(tracks), bool)
    for values in keys:
        fresh[1:] |= values[1:] != values[:-1]
    videos = np.cumsum(fresh, dtype=np.int64)
    fresh[1:] |= tracks[1:] != tracks[:-1]
    return videos, np.cumsum(fresh, dtype=np.int64)


def _write(table: pa.Table, path: Path) -> None:
    """Write a map under another name first: two processes may do so at once, and a reader sees all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = temporary_name(path)
    try:
        with pa.OSFile(str(unfinished), "wb") as sink, pa.ipc.new_file(sink, table.schema) as file:
            file.write_table(table)
        with unfinished.open("rb") as written:
            os.fsync(written.fileno())  # else a power cut could leave zeros under the final name
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
