"""The manifest: one Parquet row a face crop, and everything known about it.

Parquet can neither be appended to nor written by several processes, so each video writes a small fragment of its own
and ``merge`` makes one sorted file of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from resgat_pl.data.locations import locate, readable, refresh, write_atomic
from resgat_pl.errors import ManifestError
from resgat_pl.types import Split, VideoRecord, video_key

__all__ = [
    "MANIFEST_NAME",
    "SCHEMA",
    "SCHEMA_VERSION",
    "Manifest",
    "merge",
    "rows_to_table",
    "write_atomic",
    "write_table",
]

SCHEMA_VERSION = 1
MANIFEST_NAME = "manifest.parquet"

SCHEMA = pa.schema(
    [
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("method", pa.string(), nullable=False),  # "original" for genuine videos
        pa.field("compression", pa.string(), nullable=False),
        pa.field("video", pa.string(), nullable=False),
        pa.field("source_video", pa.string()),  # key of the genuine video a fake was made from
        pa.field("identities", pa.list_(pa.string()), nullable=False),
        pa.field("part", pa.string(), nullable=False),
        pa.field("official_split", pa.string()),  # what the data set prescribes
        pa.field("split", pa.string()),  # what the split protocol at extraction gave
        pa.field("label", pa.int8(), nullable=False),  # 1 = fake
        pa.field("track", pa.int16(), nullable=False),  # 0 = largest face
        pa.field("frame_index", pa.int32(), nullable=False),
        pa.field("time", pa.float32()),  # seconds
        pa.field("box", pa.list_(pa.int32(), 4), nullable=False),  # the square cut out, px of the frame
        pa.field("landmarks", pa.list_(pa.float32(), 10)),  # x, y of 5 points in [0, 1] of the crop
        pa.field("sharpness", pa.float32(), nullable=False),
        pa.field("crop_path", pa.string(), nullable=False),  # relative to the manifest's folder
        pa.field("mask_path", pa.string()),
    ]
)
_KEY = ["dataset", "method", "compression", "video"]
_ORDER = [(name, "ascending") for name in (*_KEY, "track", "frame_index")]


class Manifest:
    """A manifest in memory.

    Attributes:
        folder: Where crop and mask paths are relative to.
        table: Rows in the order of ``SCHEMA``.
        info: What ``extract`` noted: the request's hash, the extraction's settings.
        video_codes: ``(rows,)`` int64, position of each row's video in ``videos``.
        track_codes: ``(rows,)`` int64, equal for the rows of one face of one video.
    """

    def __init__(self, folder: Path, table: pa.Table, info: dict[str, Any]) -> None:
        self.folder = folder
        self.table = table
        self.info = info
        keys = [table.column(name).to_numpy(zero_copy_only=False) for name in _KEY]
        tracks = self.column("track").astype(np.int64)
        rows = len(table)
        # Rows are sorted, so a new video starts wherever one of its four names changes.
        fresh = np.zeros(rows, bool)
        for values in keys:
            fresh[1:] |= values[1:] != values[:-1]
        self.video_codes = np.cumsum(fresh).astype(np.int64)
        fresh[1:] |= tracks[1:] != tracks[:-1]
        self.track_codes = np.cumsum(fresh).astype(np.int64)

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
        try:
            table = pq.read_table(readable(path))
        except (pa.ArrowInvalid, OSError) as error:
            raise ManifestError(f"{path} is not a readable Parquet file ({error}). Extract again.") from None
        metadata = table.schema.metadata or {}
        info = json.loads(metadata.get(b"resgat", b"{}"))
        version = info.get("version", 0)
        if version != SCHEMA_VERSION:
            raise ManifestError(
                f"{path} has manifest version {version}, this program reads {SCHEMA_VERSION}. "
                + ("Install a newer resgat-pl." if version > SCHEMA_VERSION else "Extract again.")
            )
        missing = [name for name in SCHEMA.names if name not in table.column_names]
        if missing:
            raise ManifestError(f"{path} lacks the columns {', '.join(missing)}. Extract again.")
        return cls(path.parent, table.select(SCHEMA.names), info)

    def __len__(self) -> int:
        return len(self.table)

    def column(self, name: str) -> NDArray[Any]:
        """A column as a numpy array; text columns become object arrays with None for null."""
        return cast("NDArray[Any]", self.table.column(name).to_numpy(zero_copy_only=False))

    def crop(self, row: int) -> Path:
        """Path of the crop of a row."""
        return self.folder / str(self.table.column("crop_path")[row].as_py())

    def mask(self, row: int) -> Path | None:
        """Path of the mask of a row, or None."""
        name = self.table.column("mask_path")[row].as_py()
        return None if name is None else self.folder / name

    def videos(self) -> list[VideoRecord]:
        """The videos of the manifest, without files, in the order of ``video_codes``: what split protocols need."""
        first = np.unique(self.video_codes, return_index=True)[1]
        return [
            VideoRecord(
                dataset=row["dataset"],
                method=row["method"],
                compression=row["compression"],
                video=row["video"],
                label=row["label"],
                kind="crops",
                files=(),
                identities=tuple(row["identities"]),
                original=row["source_video"],
                part=row["part"],
                official_split=row["official_split"],
            )
            for row in self.table.take(pa.array(first)).to_pylist()
        ]

    def with_splits(
        self, splits: Sequence[Split | None] | NDArray[Any], protocol: dict[str, Any] | None = None
    ) -> Manifest:
        """The same manifest with another ``split`` column.

        Args:
            splits: One a row; None or empty text where the row takes no part.
            protocol: ``SplitProtocol.spec`` of what made them; kept in ``info["protocol"]``.
        """
        index = SCHEMA.get_field_index("split")
        column = pa.array([split or None for split in splits], pa.string())
        table = self.table.set_column(index, SCHEMA.field("split"), column)
        return Manifest(self.folder, table, {**self.info, "protocol": protocol or {}})

    def split_videos(self, split: Split) -> list[str]:
        """Keys of the videos with at least one row in a split, in order."""
        codes = np.unique(self.video_codes[self.column("split") == split])
        first = np.searchsorted(self.video_codes, codes)
        return [video_key(*row.values()) for row in self.table.select(_KEY).take(pa.array(first)).to_pylist()]

    def fingerprint(self) -> str:
        """SHA-256 of all columns but ``split``: the same wherever and whenever the same crops were made."""
        return _hash_table(self.table.drop_columns(["split"]))

    def split_fingerprint(self) -> str:
        """SHA-256 of which crop is in which split."""
        return _hash_table(self.table.select([*_KEY, "track", "frame_index", "split"]))

    def write(self) -> Path:
        """Write ``manifest.parquet`` into ``folder``, all or nothing."""
        path = self.folder / MANIFEST_NAME
        write_table(self.table, path, {**self.info, "version": SCHEMA_VERSION})
        return path


def _hash_table(table: pa.Table) -> str:
    """SHA-256 of a table's values, whatever the chunks and the file they came in."""
    digest = hashlib.sha256()
    for name in table.column_names:
        # Arrow's buffers carry offsets and padding of where they came from; a fresh copy of the values does not.
        # Parquet names the items of a list otherwise than Arrow, and the name is part of the type.
        column = table.column(name).cast(SCHEMA.field(name).type)
        copied = column.take(pa.array(np.arange(len(column)))).combine_chunks()
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, pa.schema([(name, column.type)])) as stream:
            stream.write_batch(pa.record_batch([copied], [name]))
        digest.update(sink.getvalue())
    return digest.hexdigest()


def rows_to_table(rows: Iterable[dict[str, Any]]) -> pa.Table:
    """Make a table of ``SCHEMA`` from one dictionary a crop."""
    return pa.Table.from_pylist(list(rows), SCHEMA)


def merge(folder: Path, tables: Sequence[pa.Table], info: dict[str, Any]) -> Manifest:
    """Join the fragments of all videos into one sorted manifest (not yet written)."""
    table = pa.concat_tables([table.replace_schema_metadata(None) for table in tables]) if tables else rows_to_table([])
    return Manifest(folder, table.sort_by(_ORDER).combine_chunks(), info)


def write_table(table: pa.Table, path: Path, info: dict[str, Any]) -> None:
    """Write a table with ``info`` as its metadata; a reader sees the old file or the new one, never half of one."""
    table = table.replace_schema_metadata({"resgat": json.dumps(info, sort_keys=True)})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_atomic(path, sink.getvalue().to_pybytes(), durable=True)
