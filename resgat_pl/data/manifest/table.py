"""The manifest: one Parquet row per face crop, and everything known about it.

Parquet can neither be appended to nor written by several processes, so each video writes a separate small fragment
and ``merge`` makes one sorted file of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from resgat_pl import __version__
from resgat_pl.core.errors import ManifestError
from resgat_pl.core.formats import WRITER, check_version
from resgat_pl.core.storage import is_remote, locate, readable, refresh, write_changed
from resgat_pl.core.types import FAKE, VIDEO_KEY, Split, VideoRecord, video_key
from resgat_pl.core.untrusted_paths import check_inside, inside
from resgat_pl.data.manifest.class_counts import SPLITS, ClassCounts
from resgat_pl.data.manifest.schema import OPTIONAL, PATHS, SCHEMA
from resgat_pl.data.manifest.validation import checked_rows, read_info

SCHEMA_VERSION = 1
MANIFEST_NAME = "manifest.parquet"

_REPEATED = [*VIDEO_KEY, "source_video", "part", "official_split", "split"]
"""Columns of few different texts in many rows: ten million rows take half the memory where these are encoded."""
LARGE = 100_000
"""Rows from which the columns ``_RARE`` of a local file are read when they are asked for. Measured with ten million:
together they take six times as long to read as all others, half as much memory, and no training needs them."""
_RARE = ("time", "box", "landmarks", "sharpness")
_UNREADABLE = (pa.ArrowException, OSError, ValueError, MemoryError, OverflowError)
"""What Arrow raises on damaged files."""
_ORDER = [(name, "ascending") for name in (*VIDEO_KEY, "track", "frame_index")]


class Manifest:
    """A manifest: its rows in memory, some 120 bytes each, but for the columns ``_RARE`` of a large one.

    Attributes:
        folder: Where crop and mask paths are relative to.
        info: What ``extract`` noted: the request's hash, the extraction's settings, and under ``people`` the data sets
            whose identities are people because the user set it.

    Example:
        >>> Manifest(Path("crops"), SCHEMA.empty_table(), {}).rows_of("test")
        array([], dtype=int64)
    """

    def __init__(self, folder: Path, table: pa.Table, info: dict[str, Any], rest: _Rest | None = None) -> None:
        self.folder = folder
        self.info = info
        self._rows = table
        self._rest = rest

    @classmethod
    def read(cls, path: str | Path) -> Manifest:
        """Read ``manifest.parquet`` or the folder or URL that holds it.

        Raises:
            ConfigError: The store behind a URL does not answer.
            ManifestError: It is missing, unreadable, lacks columns, or was written by a newer version.
        """
        path = locate(path)
        refresh(path)
        path = path / MANIFEST_NAME if path.is_dir() or path.suffix != ".parquet" else path
        if not path.is_file():
            raise ManifestError(f"There is no manifest at {path}. Make one: resgat extract ROOT {path.parent}")
        rest = None if is_remote(path) else _Rest.of(path)
        table, schema = _read(path)
        info = read_info(path, schema.metadata, SCHEMA_VERSION)
        missing = [name for name in SCHEMA.names if name not in (*schema.names, *OPTIONAL)]
        if missing:
            raise ManifestError(f"{path} lacks the columns {', '.join(missing)}. Extract again.")
        table = completed(table)
        table = checked_rows(path, table.select([name for name in SCHEMA.names if name in table.column_names]), SCHEMA)
        for name in PATHS:
            check_inside(table.column(name), f"{path}, column {name}")
        return cls(path.parent, table, info, rest if len(table.column_names) < len(SCHEMA) else None)

    def __len__(self) -> int:
        return len(self._rows)

    @cached_property
    def table(self) -> pa.Table:
        """Rows in the types of ``SCHEMA``, no text encoded."""
        if self._rest is not None:
            self._rows, self._rest = pa.table({name: self.arrow(name) for name in SCHEMA.names}), None
        return self._rows.cast(SCHEMA)

    @cached_property
    def video_codes(self) -> NDArray[np.int64]:
        """``(rows,)``, position of each row's video in ``videos``."""
        return self._codes[0]

    @cached_property
    def track_codes(self) -> NDArray[np.int64]:
        """``(rows,)``, equal for the rows of one face of one video."""
        return self._codes[1]

    @cached_property
    def _codes(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        fresh = np.zeros(len(self), bool)  # rows are sorted: a video begins where any part of its key changes
        for name in VIDEO_KEY:
            places = _coded(self.arrow(name))[1]
            fresh[1:] |= places[1:] != places[:-1]
        videos = np.cumsum(fresh, dtype=np.int64)
        tracks = self.column("track")
        fresh[1:] |= tracks[1:] != tracks[:-1]
        return videos, np.cumsum(fresh, dtype=np.int64)

    @cached_property
    def split_codes(self) -> NDArray[np.int8]:
        """``(rows,)``, place of each row's split in ``counts.SPLITS``, or -1."""
        names, places = _coded(self.arrow("split"))
        codes = [SPLITS.index(name) if name in SPLITS else -1 for name in cast("list[Split]", names)]
        return np.array([*codes, -1], np.int8)[places]

    @cached_property
    def untouched(self) -> NDArray[np.bool_]:
        """``(rows,)``, crops of fakes whose face is known not to have been altered: they are no examples of a fake."""
        genuine = pc.equal(self.arrow("altered"), pa.scalar(False)).fill_null(False).to_numpy(zero_copy_only=False)
        known: NDArray[np.bool_] = np.asarray(genuine, bool) & (self.column("label") == FAKE)
        return known

    def rows_of(self, split: Split) -> NDArray[np.int64]:
        """``(n,)``, the rows of a split, in order."""
        return np.flatnonzero(self.split_codes == SPLITS.index(split))

    def examples_of(self, split: Split) -> NDArray[np.int64]:
        """``(n,)``, the rows of a split whose label is true of the crop as far as is known: without ``untouched``."""
        return np.flatnonzero((self.split_codes == SPLITS.index(split)) & ~self.untouched)

    def counts(self) -> dict[Split, ClassCounts]:
        """Number of crops of each class in each split, without ``untouched``."""
        examples = ~self.untouched
        codes, labels = self.split_codes[examples], self.column("label")[examples]
        kinds = np.bincount(2 * (codes + 1) + labels, minlength=2 * len(SPLITS) + 2).tolist()
        return {split: ClassCounts(*kinds[2 * place : 2 * place + 2]) for place, split in enumerate(SPLITS, start=1)}

    def column(self, name: str) -> NDArray[Any]:
        """A column as a numpy array; text columns become object arrays with None for null."""
        values = self.arrow(name)
        if name in PATHS or not _is_text(values.type):
            return cast("NDArray[Any]", values.to_numpy(zero_copy_only=False))
        names, places = _coded(values)
        return np.array([*names, None], object)[places]  # each text is made once, not in each row

    def take(self, rows: NDArray[np.int64], names: Sequence[str]) -> pa.Table:
        """Some rows and columns as a table, as ``table.take`` gives it; text is not encoded."""
        place = pa.array(rows)
        columns = {name: self.arrow(name).take(place).cast(SCHEMA.field(name).type) for name in names}
        return pa.table(columns, pa.schema([SCHEMA.field(name) for name in names]))

    def crop(self, row: int) -> Path:
        """Path of the crop of a row.

        Raises:
            ManifestError: It leads out of ``folder``, by a link.
        """
        return inside(self.folder, str(self.arrow("crop_path")[row].as_py()))

    def mask(self, row: int) -> Path | None:
        """Path of the mask of a row, or None.

        Raises:
            ManifestError: It leads out of ``folder``, by a link.
        """
        name = self.arrow("mask_path")[row].as_py()
        return None if name is None else inside(self.folder, str(name))

    def videos(self) -> list[VideoRecord]:
        """The videos of the manifest, without files, in the order of ``video_codes``: what split protocols need."""
        names = [*VIDEO_KEY, "label", "identities", "source_video", "part", "official_split"]
        columns = self.take(self._first(), names).to_pydict()
        noted = self.info.get("people")
        people = {name: True for name, known in noted.items() if known is True} if isinstance(noted, dict) else {}
        return [
            VideoRecord(
                dataset=dataset,
                method=method,
                compression=compression,
                video=video,
                label=label,
                kind="crops",
                files=(),
                identities=tuple(identities),
                original=original,
                part=part,
                official_split=official,
                people=people.get(dataset),
            )
            for dataset, method, compression, video, label, identities, original, part, official in zip(
                *(columns[name] for name in names), strict=True
            )
        ]

    def with_splits(
        self, splits: Sequence[Split | None] | NDArray[Any], protocol: dict[str, Any] | None = None
    ) -> Manifest:
        """The same manifest with another ``split`` column.

        Args:
            splits: One per row; None or empty text where the row is in no split.
            protocol: ``SplitProtocol.spec`` of what made them; stored in ``info["protocol"]``.
        """
        column = pa.chunked_array([pa.array(splits, pa.string())])
        column = pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)
        encoded = column.dictionary_encode()
        table = self._rows.set_column(self._rows.column_names.index("split"), pa.field("split", encoded.type), encoded)
        return Manifest(self.folder, table, {**self.info, "protocol": protocol or {}}, self._rest)

    def split_videos(self, split: Split) -> list[str]:
        """Keys of the videos with at least one row in a split, in order."""
        first = self._first()
        inside = np.zeros(len(first), bool)
        inside[self.video_codes[self.rows_of(split)]] = True
        columns = self.take(first[inside], VIDEO_KEY).to_pydict()
        return [video_key(*names) for names in zip(*columns.values(), strict=True)]

    def fingerprint(self) -> str:
        """SHA-256 of all columns but ``split``: the same wherever and whenever the same crops were made.

        A column that older manifests lack only counts where something is in it.
        """
        empty = [name for name in OPTIONAL if self.arrow(name).null_count == len(self)]
        return self._hash(name for name in SCHEMA.names if name not in {"split", *empty})

    def split_fingerprint(self) -> str:
        """SHA-256 of which crop is in which split."""
        return self._hash([*VIDEO_KEY, "track", "frame_index", "split"])

    def write(self) -> Path:
        """Write ``manifest.parquet`` into ``folder``, all or nothing; the same again is left alone."""
        path = self.folder / MANIFEST_NAME
        write_table(self.table, path, {**self.info, "version": SCHEMA_VERSION, WRITER: __version__})
        return path

    def arrow(self, name: str) -> pa.ChunkedArray:
        """A column as it is stored: text that repeats may be dictionary-encoded.

        Raises:
            ManifestError: It has to be read from a large manifest, which has been replaced or cannot be read.
        """
        if self._rest is not None and name in _RARE:
            return self._rest.read(name)
        return self._rows.column(name)

    def _first(self) -> NDArray[np.int64]:
        """``(videos,)``, the first row of each video."""
        codes = self.video_codes
        fresh = np.ones(len(codes), bool)
        fresh[1:] = codes[1:] != codes[:-1]
        return np.flatnonzero(fresh)

    def _hash(self, names: Iterable[str]) -> str:
        """SHA-256 of columns' values, whatever the chunks and the file they came in; one column at a time."""
        digest = hashlib.sha256()
        for name in names:
            # Arrow's buffers carry offsets and padding of where they came from; a fresh copy of the values does not.
            # Parquet names the items of a list otherwise than Arrow, and the name is part of the type.
            column = self.arrow(name).cast(SCHEMA.field(name).type)
            copied = column.take(pa.array(np.arange(len(column)))).combine_chunks()
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, pa.schema([(name, column.type)])) as stream:
                stream.write_batch(pa.record_batch([copied], [name]))
            digest.update(sink.getvalue())
        return digest.hexdigest()


class _Rest(NamedTuple):
    """The file of the columns that are not in memory, and by what its replacement is noticed."""

    path: Path
    inode: int
    size: int
    changed: int

    @classmethod
    def of(cls, path: Path) -> _Rest:
        status = path.stat()
        return cls(path, status.st_ino, status.st_size, status.st_mtime_ns)

    def read(self, name: str) -> pa.ChunkedArray:
        if _Rest.of(self.path) != self:
            raise ManifestError(f"{self.path} was replaced while it was in use. Start again.")
        return checked_rows(self.path, _read(self.path, [name])[0], SCHEMA).column(name)


def _read(path: Path, names: list[str] | None = None) -> tuple[pa.Table, pa.Schema]:
    """Read some columns of a Parquet file, or all but ``_RARE`` of a large local one; and its schema.

    Raises:
        ManifestError: It is damaged or no such file.
    """
    try:
        source = readable(path)
        schema = pq.read_schema(source)
        encoded = [field.name for field in schema if field.name in _REPEATED and pa.types.is_string(field.type)]
        with pq.ParquetFile(source, read_dictionary=encoded) as file:
            if names is None and not is_remote(path) and file.metadata.num_rows >= LARGE:
                names = [name for name in schema.names if name not in _RARE]
            return file.read(names), schema
    except _UNREADABLE as error:
        raise ManifestError(f"{path} is not a readable Parquet file ({error}). Extract again.") from None


def completed(table: pa.Table) -> pa.Table:
    """A table with the columns that older manifests lack, without values."""
    for name in OPTIONAL:
        if table.schema.get_field_index(name) < 0:  # names of a damaged file need not be text
            table = table.append_column(SCHEMA.field(name), pa.nulls(len(table), SCHEMA.field(name).type))
    return table


def refuse_newer(folder: Path) -> None:
    """Make sure that a folder holds no manifest of a newer format, before it is replaced.

    Raises:
        ManifestError: It does; the version to install is named. One that is missing or damaged is no reason.
    """
    path = folder / MANIFEST_NAME
    try:
        info = json.loads((pq.read_schema(readable(path)).metadata or {})[b"resgat"])
        version = info["version"]
    except (*_UNREADABLE, KeyError, TypeError, RecursionError):
        return
    if isinstance(version, int) and version > SCHEMA_VERSION:
        check_version(version, SCHEMA_VERSION, path, ManifestError, again="", writer=info.get(WRITER))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_dictionary(kind))


def _coded(values: pa.ChunkedArray) -> tuple[list[str], NDArray[np.int32]]:
    """The different texts of a column, and for each row the place of its text among them, -1 for null."""
    values = values if pa.types.is_dictionary(values.type) else values.dictionary_encode()
    chunks = values.unify_dictionaries().chunks
    if not chunks:
        return [], np.zeros(0, np.int32)
    places = pa.chunked_array([chunk.indices for chunk in chunks]).fill_null(-1)
    return chunks[0].dictionary.to_pylist(), places.to_numpy()


def rows_to_table(rows: Iterable[dict[str, Any]]) -> pa.Table:
    """Make a table of ``SCHEMA`` from one dictionary per crop."""
    return pa.Table.from_pylist(list(rows), SCHEMA)


def merge(folder: Path, tables: Sequence[pa.Table], info: dict[str, Any]) -> Manifest:
    """Join the fragments of all videos into one sorted manifest (not yet written)."""
    table = pa.concat_tables([table.replace_schema_metadata(None) for table in tables]) if tables else rows_to_table([])
    return Manifest(folder, table.sort_by(_ORDER).combine_chunks(), info)


def write_table(table: pa.Table, path: Path, info: dict[str, Any]) -> None:
    """Write a table with ``info`` as its metadata; a reader sees the old file or the new one, never half of one.

    A file of the same bytes stays, since a training may have begun on it.
    """
    table = table.replace_schema_metadata({"resgat": json.dumps(info, sort_keys=True)})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_changed(path, sink.getvalue().to_pybytes())
