"""Packing of crops into tar shards.

With shards each video first writes one small tar beside its fragment, so that videos stay independent and the work
resumable. When all are cut they are packed in an order given by a hash, which mixes classes and methods, into shards of
about equal size, one after the other; a shard's small tars are removed once it and its index are written. Killed at
any point, the same command ends with the same bytes.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from resgat_pl import __version__
from resgat_pl.core.errors import ConfigError, StorageError
from resgat_pl.core.formats import WRITER, check_version
from resgat_pl.core.storage import is_remote, listing, make_folder, names_in, readable, remove_tree, write_atomic
from resgat_pl.core.untrusted_paths import inside
from resgat_pl.data.crop_store.reader import (
    FOLDER,
    INDEX_NAME,
    INDEX_VERSION,
    PLACE,
    Member,
    Shard,
    holds_shards,
    is_size,
    misplaced,
    write_index,
)
from resgat_pl.data.crop_store.writer import Store, append_member, close_tar, loose_path, read_tar, video_hash
from resgat_pl.data.extraction.fragment import fragment_path, has_crops, has_files, is_of_disk, read_fragment
from resgat_pl.data.manifest.table import Manifest, write_table

_LISTED = pa.schema(
    [pa.field("key", pa.string()), pa.field("request", pa.string()), pa.field("crop_path", pa.string()), *PLACE]
)


class PackedShard(NamedTuple):
    """A shard that is written, and what it holds.

    Attributes:
        shard: The tar.
        listing: Its index, written after it.
        rows: ``key``, ``request``, ``crop_path`` and its place, a row a crop.
        videos: Request by video key.
    """

    shard: Shard
    listing: Path
    rows: pa.Table
    videos: dict[str, str]

    def remove(self) -> None:
        """Delete it; the index of all shards goes first, since a new shard may take this one's name."""
        (self.listing.parent.parent / INDEX_NAME).unlink(missing_ok=True)
        self.listing.unlink(missing_ok=True)
        self.shard.path.unlink(missing_ok=True)


class Stored:
    """The crops that a folder holds already; prepares it for more.

    Attributes:
        store: How crops are stored there.

    Args:
        out: Folder of the data set's crops.
        store: How crops are to be stored; None leaves it as it is, files in a new folder.
        requests: Hash of what is asked of each video, by key.

    Raises:
        ConfigError: The folder holds shards and files are asked for, or shards of a newer format.
        ManifestError: A shard is a link to elsewhere.
    """

    def __init__(self, out: Path, store: Store | None, requests: Mapping[str, str]) -> None:
        self.out = out
        # Before the first shard only the small tars show it.
        present = holds_shards(out) or bool(names_in(out / "fragments", ".tar"))
        if present and store == "files":
            raise ConfigError(
                f"{out} holds shards, and store=files is asked for. Name another folder for the files, or leave "
                "--store out to go on with shards."
            )
        self.store: Store = "shards" if present or store == "shards" else "files"
        self.shards: dict[str, str] = {}
        self.unusable: list[PackedShard] = []  # damaged, or with nothing of what is asked for
        self.converts = (out / "crops").is_dir()  # files that become shards
        if self.store == "shards":
            for packed in _packed(out):
                useless = all(requests.get(key, request) != request for key, request in packed.videos.items())
                if useless or packed.shard.problem() is not None:
                    self.unusable.append(packed)
                else:
                    self.shards |= packed.videos

    def clear(self) -> None:
        """Remove what cannot be used and what killed runs left; not while other processes work on the folder."""
        for packed in self.unusable:
            packed.remove()
        for name in names_in(self.out / FOLDER, ".tmp") if not is_remote(self.out) else ():
            (self.out / FOLDER / name).unlink(missing_ok=True)

    def holds(self, key: str, report: dict[str, Any], folder: str) -> bool:
        """True if all crops that a video's fragment lists are there.

        Args:
            key: The video's key.
            report: What the fragment says: the request, and how many ``files`` there are.
            folder: Where its crops are if they are files.
        """
        if self.store == "files":
            return has_files(self.out / folder, report)
        if self.shards.get(key) == report["request"] or loose_path(self.out, key).is_file():
            return True
        return self.converts and _Video(self.out, key).are_files()


def pack(out: Path, requests: Mapping[str, str], megabytes: float) -> None:
    """Gather the small tars of videos (or their crops, where they are files) into shards.

    Args:
        out: Folder of the data set's crops, where all videos are cut.
        requests: Hash of what is asked of each video, by key.
        megabytes: Size at which a shard is closed, in 10⁶ bytes.

    Raises:
        StorageError: The disk is full; finished shards stay.
    """
    shards = _packed(out)
    # A shard with crops of other settings is dissolved: what is good in it moves.
    stale = [p for p in shards if any(requests.get(key, request) != request for key, request in p.videos.items())]
    done = {key for packed in shards if packed not in stale for key in packed.videos}
    moved = {
        key: packed
        for packed in stale
        for key, request in packed.videos.items()
        if key not in done and requests.get(key, request) == request
    }
    waiting = [key for key in requests if key not in done and key not in moved]
    cut = [key for key in waiting if has_crops(fragment_path(out, key))]
    used = {packed.shard.path.name for packed in shards}
    with tqdm(total=len(cut) + len(moved), unit="video", desc="pack", disable=not (cut or moved)) as bar:
        videos: list[_Video] = []
        tar = bytearray()
        for key in sorted([*cut, *moved], key=video_hash):
            video = _Video(out, key)
            video.append(tar, moved.get(key))
            videos.append(video)
            bar.update()
            if len(tar) >= megabytes * 1e6:
                _commit(out / FOLDER / _free_name(used), tar, videos)
                videos, tar = [], bytearray()
        if videos:
            _commit(out / FOLDER / _free_name(used), tar, videos)
    for packed in stale:
        packed.remove()
    _clean_up(out, done)


def index_shards(manifest: Manifest) -> None:
    """Write ``shards.arrow`` beside a manifest whose crops are in shards.

    Raises:
        ManifestError: A crop is in none of them.
    """
    shards = _packed(manifest.folder)
    tables = []
    for number, packed in enumerate(shards):
        column = pa.array([number] * len(packed.rows), pa.int32())
        tables.append(packed.rows.set_column(packed.rows.column_names.index("shard"), PLACE.field("shard"), column))
    write_index(manifest, [packed.shard for packed in shards], pa.concat_tables(tables))


def _packed(out: Path) -> list[PackedShard]:
    """The shards that have a listing, in the order of their names.

    Raises:
        ConfigError: A listing has a newer format.
        ManifestError: A shard is a link to elsewhere.
    """
    found = []
    for name in names_in(out / FOLDER, ".parquet"):
        path = out / FOLDER / name
        tar = inside(out, f"{FOLDER}/{path.stem}.tar")
        listed = _listed(path)
        # Of a damaged one nothing is known: the shard holds nothing that is asked for, and is made again.
        rows, size = (_LISTED.empty_table(), 0) if listed is None else listed
        videos = dict(zip(rows.column("key").to_pylist(), rows.column("request").to_pylist(), strict=True))
        found.append(PackedShard(Shard(tar, size), path, rows, videos))
    return found


def _listed(path: Path) -> tuple[pa.Table, int] | None:
    """The content of a shard by its listing, and its size in bytes; None if the listing is damaged."""
    try:
        table = pq.read_table(readable(path))
        table.validate(full=True)
        info = json.loads(table.schema.metadata[b"resgat"])
        version, size = info["version"], info.get("size")
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if is_of_disk(error):
            raise
        return None
    if type(version) is int and version > INDEX_VERSION:
        check_version(version, INDEX_VERSION, path, ConfigError, again="", writer=info.get(WRITER))
    table = table.replace_schema_metadata(None)
    if version != INDEX_VERSION or not is_size(size) or not table.schema.equals(_LISTED):
        return None
    if any(column.null_count for column in table.columns):
        return None
    return None if misplaced(table, np.full(len(table), size)) else (table, size)


class _Video:
    """A video to be packed: the rows of its fragment, and where its bytes are."""

    def __init__(self, out: Path, key: str) -> None:
        self.out = out
        self.key = key
        path = fragment_path(out, key)
        table = read_fragment(readable(path), path)
        self.request = json.loads(table.schema.metadata[b"resgat"]).get("request")
        self.rows: list[dict[str, Any]] = table.to_pylist()
        self.places: list[dict[str, Any]] = []

    @property
    def names(self) -> list[str]:
        """Of the crops and masks, relative to ``out``."""
        names = [row[kind] for row in self.rows for kind in ("crop_path", "mask_path")]
        return [name for name in names if name is not None]

    @property
    def files(self) -> list[Path]:
        """The crops and masks where they are single files."""
        return [inside(self.out, name) for name in self.names]

    def are_files(self) -> bool:
        """True if all crops and masks are there as files."""
        return all(path.is_file() for path in self.files)

    def append(self, tar: bytearray, old: PackedShard | None) -> None:
        """Add the video's samples to a shard and note where they are."""
        loose = loose_path(self.out, self.key)
        if old is not None:
            data = _read_packed(old, self.key)
        elif loose.is_file():
            data = read_tar(loose, self.names)
        else:
            data = {name: inside(self.out, name).read_bytes() for name in self.names}
        for row in self.rows:
            name = row["crop_path"]
            stem = name[: name.rindex(".")]
            place = {"key": self.key, "request": self.request, "crop_path": name, "shard": -1}
            place["offset"], place["size"] = append_member(tar, name, data[name])
            place["mask_offset"], place["mask_size"] = -1, 0
            if row["mask_path"] is not None:
                mask = data[row["mask_path"]]
                place["mask_offset"], place["mask_size"] = append_member(tar, f"{stem}.mask.png", mask)
            about = {name: value for name, value in row.items() if name != "split"}  # which is decided later, and again
            append_member(tar, f"{stem}.json", json.dumps(about, sort_keys=True, ensure_ascii=False).encode())
            self.places.append(place)

    def remove_sources(self) -> None:
        """Delete what was packed."""
        loose_path(self.out, self.key).unlink(missing_ok=True)
        if (self.out / "crops").is_dir():
            for path in self.files:
                path.unlink(missing_ok=True)


def _read_packed(packed: PackedShard, key: str) -> dict[str, bytes]:
    """Crops and masks of a video that is in a shard, by the names of the manifest."""
    found = {}
    for row in packed.rows.to_pylist():
        if row["key"] == key:
            name = Path(row["crop_path"])
            found[row["crop_path"]] = Member(packed.shard, name.name, row["offset"], row["size"]).read_bytes()
            if row["mask_offset"] >= 0:
                mask = Member(packed.shard, name.name, row["mask_offset"], row["mask_size"])
                found[name.with_name(f"{name.stem}_mask.png").as_posix()] = mask.read_bytes()
    return found


def _commit(path: Path, tar: bytearray, videos: Sequence[_Video]) -> None:
    """Write a shard, then its index, then delete what it was made of."""
    content = close_tar(tar)
    try:
        make_folder(path.parent)
        write_atomic(path, content)
        info = {"version": INDEX_VERSION, WRITER: __version__, "size": len(content)}
        table = pa.Table.from_pylist([place for video in videos for place in video.places], _LISTED)
        write_table(table, path.with_suffix(".parquet"), info)
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise StorageError(
            f"{path}: no space for a shard of {len(content) / 1e6:,.1f} MB ({error.strerror}). Finished shards "
            "stay: free some space and run the same command again, or make smaller shards (--shard_megabytes)."
        ) from None
    for video in videos:
        video.remove_sources()


def _free_name(used: set[str]) -> str:
    """The first name that is free, so that a shard made again gets its old one."""
    number = next(number for number in range(len(used) + 1) if f"crops-{number:06d}.tar" not in used)
    name = f"crops-{number:06d}.tar"
    used.add(name)
    return name


def _clean_up(out: Path, done: set[str]) -> None:
    """Remove what a run left that was killed between a shard's index and what it was made of, or while removing it."""
    known = {packed.shard.path.name for packed in _packed(out)}
    for name in names_in(out / FOLDER, ".tar"):
        if name not in known:
            (out / FOLDER / name).unlink()
    left = set(names_in(out / "fragments", ".tar"))
    converted = (out / "crops").is_dir()
    for key in done:
        if converted or loose_path(out, key).name in left:
            _Video(out, key).remove_sources()
    if converted and not _holds_files(out / "crops"):
        remove_tree(out / "crops")


def _holds_files(folder: Path) -> bool:
    found = listing(folder)
    return bool(found.files) or any(_holds_files(folder / name) for name in found.folders)
