"""Reading of crops from single files or tar shards.

A shard is a WebDataset tar: ``NAME.png`` (or ``.jpg``), where there is one ``NAME.mask.png``, and ``NAME.json`` follow
each other, and ``NAME.png`` is the manifest's ``crop_path``. Beside the manifest, ``shards.arrow`` holds the shard and
the first byte of each crop; it is mapped, not read, and tied to the rows by the crops' names.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from resgat_pl import __version__
from resgat_pl.core.errors import ManifestError, MediaError
from resgat_pl.core.formats import WRITER, check_version
from resgat_pl.core.storage import names_in, read_bytes, write_changed
from resgat_pl.core.untrusted_paths import inside, is_plain_name
from resgat_pl.data.crop_store.integrity import problem_of
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.data.media.images import decode_image

FOLDER = "shards"
INDEX_NAME = "shards.arrow"
INDEX_VERSION = 1
PLACE = pa.schema(
    [
        pa.field("shard", pa.int32(), nullable=False),  # position in the list of shards
        pa.field("offset", pa.int64(), nullable=False),  # first byte of the crop
        pa.field("size", pa.int32(), nullable=False),  # bytes
        pa.field("mask_offset", pa.int64(), nullable=False),  # -1 where there is no mask
        pa.field("mask_size", pa.int32(), nullable=False),
    ]
)
_SCHEMA = pa.schema([pa.field("crop_path", pa.string(), nullable=False), *PLACE])


@dataclass(frozen=True, slots=True)
class Shard:
    """One tar file, and how large it must be.

    Attributes:
        path: The file.
        size: Bytes when it was written.
    """

    path: Path
    size: int

    def problem(self) -> str | None:
        """The problem of the file as far as its size shows it; None if there is none."""
        try:
            found = self.path.stat().st_size
        except OSError:
            return f"is missing (expected {self.size:,} bytes)"
        return None if found == self.size else f"has {found:,} bytes, expected {self.size:,}"

    def check(self) -> None:
        """Make sure that the file is there and whole.

        Raises:
            MediaError: It is not; the remedy is named.
        """
        if (problem := self.problem()) is not None:
            raise self.error(problem)

    def error(self, problem: str) -> MediaError:
        """The error to raise for a problem."""
        return MediaError(
            f"{self.path} {problem}. Run `resgat extract ROOT {self.path.parent.parent}` again with the settings it "
            "was made with: it makes only what is missing."
        )


@dataclass(frozen=True, slots=True)
class Member:
    """A file inside a shard; used wherever a crop's path is.

    Attributes:
        shard: The tar file.
        name: Name of the crop that it belongs to.
        offset: First byte.
        size: Number of bytes.
    """

    shard: Shard
    name: str
    offset: int
    size: int

    def __str__(self) -> str:
        return f"{self.shard.path}:{self.name}"

    def read_bytes(self) -> bytes:
        """The content.

        Raises:
            MediaError: The shard is missing or cut off.
        """
        try:
            with self.shard.path.open("rb") as file:
                file.seek(self.offset)
                data = file.read(self.size)
        except OSError as error:
            raise self.shard.error(f"cannot be read ({error.strerror or error})") from None
        if len(data) != self.size:
            raise self.shard.error(self.shard.problem() or f"ends before byte {self.offset + self.size:,}")
        return data


class Shards:
    """The places of a manifest's crops in tar shards.

    Attributes:
        shards: The tar files.
        shard: ``(rows,)`` int32, which of them, for each row of the manifest.
        offset: ``(rows,)`` int64, first byte of the crop.
        size: ``(rows,)`` int32, its bytes.
        mask_offset: ``(rows,)`` int64, first byte of the mask; -1 where there is none.
        mask_size: ``(rows,)`` int32, its bytes.

    Args:
        manifest: The manifest beside which the index is stored; it may hold some of the index's crops, in any order.

    Raises:
        ManifestError: The index is missing or damaged, of another version, or does not know a crop.
    """

    def __init__(self, manifest: Manifest) -> None:
        path = manifest.folder / INDEX_NAME
        table, info = _read_index(path)
        self.shards = [Shard(inside(manifest.folder, f"{FOLDER}/{name}"), size) for name, size in info["shards"]]
        wanted, known = manifest.arrow("crop_path"), table.column("crop_path")
        if len(wanted) != len(known) or not pc.all(pc.equal(wanted, known), min_count=0).as_py():
            places = pc.index_in(wanted, value_set=known.combine_chunks())
            if places.null_count:
                raise ManifestError(
                    f"{path} does not know {places.null_count:,} of {len(wanted):,} crops of the manifest beside it, "
                    f"such as {wanted.filter(pc.is_null(places))[0].as_py()}. Extract again."
                )
            table = table.take(places)
        columns: dict[str, NDArray[Any]] = {name: table.column(name).to_numpy() for name in PLACE.names}
        self.shard, self.offset, self.size = columns["shard"], columns["offset"], columns["size"]
        self.mask_offset, self.mask_size = columns["mask_offset"], columns["mask_size"]

    def place(self, row: int, column: str, name: str) -> Member | None:
        """The crop (column ``crop_path``) or mask (``mask_path``) of a row, or None where it has none."""
        is_crop = column == "crop_path"
        offset, size = (self.offset, self.size) if is_crop else (self.mask_offset, self.mask_size)
        if offset[row] < 0:
            return None
        return Member(self.shards[int(self.shard[row])], Path(name).name, int(offset[row]), int(size[row]))

    def problems(self) -> dict[str, str]:
        """The problem of each shard that has one, by its path."""
        return {str(shard.path): problem for shard in self.shards if (problem := shard.problem()) is not None}


_opened: WeakKeyDictionary[Manifest, Shards | None] = WeakKeyDictionary()


def shards_of(manifest: Manifest) -> Shards | None:
    """The shards that hold a manifest's crops, opened once per process; None if they are single files.

    Raises:
        ManifestError: See ``Shards``.
    """
    if manifest not in _opened:
        held = (manifest.folder / INDEX_NAME).is_file() or holds_shards(manifest.folder)
        _opened[manifest] = Shards(manifest) if held else None
    return _opened[manifest]


def holds_shards(out: Path) -> bool:
    """Test for a shard in a folder of crops, or the listing of one; an empty folder for them is none."""
    return any(names_in(out / FOLDER, suffix) for suffix in (".tar", ".parquet"))


def place_of(manifest: Manifest, row: int, column: str = "crop_path") -> str | Member | None:
    """The name of the crop of a row, or its place in a shard; of its mask if ``column`` is ``mask_path``."""
    name = manifest.arrow(column)[row].as_py()
    shards = shards_of(manifest)
    return name if shards is None or name is None else shards.place(row, column, name)


def crop_of(manifest: Manifest, row: int) -> Path | Member:
    """The path of the crop of a row, or its place in a shard."""
    place = place_of(manifest, row)
    return place if isinstance(place, Member) else manifest.crop(row)


def mask_of(manifest: Manifest, row: int) -> Path | Member | None:
    """The path of the mask of a row, or its place in a shard; None where there is none."""
    place = place_of(manifest, row, "mask_path")
    return place if isinstance(place, Member) or place is None else manifest.mask(row)


def picture(path: Path | Member) -> NDArray[np.uint8]:
    """Read a crop or a mask, ``(H, W, 3)`` uint8 RGB, from a file or a shard.

    Raises:
        MediaError: It is missing, damaged or no image.
    """
    if isinstance(path, Member):
        return stored_picture(path.read_bytes(), path)
    try:
        data = read_bytes(path)
    except OSError as error:
        raise MediaError(f"{path}: cannot be read ({error.strerror})") from None
    return stored_picture(data, path)


def stored_picture(data: bytes, path: Path | Member) -> NDArray[np.uint8]:
    """Decode what was read of a crop or a mask, ``(H, W, 3)`` uint8 RGB.

    What is wrong is found before it is decoded, so that the message can name it and the remedy.

    Raises:
        MediaError: It is damaged or no image.
    """
    if (problem := problem_of(data)) is not None:
        remove = path.shard.path if isinstance(path, Member) else f"the folder {path.parent}"
        raise MediaError(
            f"{path} {problem}. Remove {remove}, then run the `resgat extract` that made it again: it makes only what "
            "is missing."
        )
    return decode_image(np.frombuffer(data, np.uint8), path)


def write_index(manifest: Manifest, shards: list[Shard], places: pa.Table) -> None:
    """Write ``shards.arrow`` for a manifest.

    Args:
        manifest: The manifest.
        shards: The tar files.
        places: Columns ``crop_path`` and those of ``PLACE``, of at least the manifest's crops, in any order.

    Raises:
        ManifestError: A crop of the manifest is in no shard.
    """
    wanted = manifest.arrow("crop_path")
    order = pc.index_in(wanted, value_set=places.column("crop_path").combine_chunks())
    if order.null_count:
        raise ManifestError(
            f"{manifest.folder}: {order.null_count:,} of {len(wanted):,} crops are in no shard. Extract again."
        )
    info = {
        "version": INDEX_VERSION,
        WRITER: __version__,
        "shards": [(shard.path.name, shard.size) for shard in shards],
    }
    table = places.select(_SCHEMA.names).take(order).cast(_SCHEMA).combine_chunks()
    table = table.replace_schema_metadata({"resgat": json.dumps(info)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as file:
        file.write_table(table)
    write_changed(manifest.folder / INDEX_NAME, sink.getvalue().to_pybytes())


def _read_index(path: Path) -> tuple[pa.Table, dict[str, Any]]:
    again = f"Extract again: resgat extract ROOT {path.parent}"
    if not path.is_file():
        raise ManifestError(f"{path} is missing: shards were being replaced when the extraction stopped. {again}")
    try:
        # a path behind a URL has no file to map
        source = pa.memory_map(str(path)) if isinstance(path, os.PathLike) else pa.BufferReader(path.read_bytes())
        table = pa.ipc.open_file(source).read_all()
        table.validate(full=True)  # before anything is done with it: text that ends elsewhere ends the process
        info = json.loads((table.schema.metadata or {})[b"resgat"])
        version = info["version"]
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise ManifestError(f"{path} is not a readable index of shards ({error}). {again}") from None
    check_version(version, INDEX_VERSION, path, ManifestError, again=again, writer=info.get(WRITER))
    _check_index(path, table, info, again)
    return table, info


def _check_index(path: Path, table: pa.Table, info: dict[str, Any], again: str) -> None:
    """Make sure that an index leads to files of the same folder and nowhere else.

    Raises:
        ManifestError: Says what is wrong.
    """
    shards = info.get("shards")
    if not isinstance(shards, list) or not all(
        isinstance(entry, list) and len(entry) == 2 and is_plain_name(entry[0]) and is_size(entry[1])
        for entry in shards
    ):
        raise ManifestError(f"{path} does not list its shards as names of files with their sizes. {again}")
    if not table.schema.equals(_SCHEMA):
        raise ManifestError(f"{path} is not a readable index of shards: its columns are others. {again}")
    for name in _SCHEMA.names:
        if count := table.column(name).null_count:
            raise ManifestError(f"{path}, column {name}: {count:,} values are missing. {again}")
    shard = table.column("shard").to_numpy()
    outside = "shard" if ((shard < 0) | (shard >= len(shards))).any() else None
    if outside is None and len(table):
        outside = misplaced(table, np.array([size for _, size in shards], np.int64)[shard])
    if outside is not None:
        raise ManifestError(f"{path} points outside its shards (column {outside}). {again}")


def misplaced(places: pa.Table, space: NDArray[np.int64]) -> str | None:
    """The column of ``PLACE`` by which a crop or mask would be outside its shard, or the mask before the crop; or None.

    Args:
        places: The columns of ``PLACE``, without nulls.
        space: ``(rows,)``, bytes of each row's shard.
    """
    offset, size, mask_offset, mask_size = (places.column(name).to_numpy() for name in PLACE.names[1:])
    # No sum of what the file holds before its parts are known to be small: it could overflow.
    if ((offset < 0) | (offset > space)).any():
        return "offset"
    if ((size < 0) | (size > space - offset)).any():
        return "size"
    masked = mask_offset != -1
    if (masked & ((mask_offset < offset + size) | (mask_offset > space))).any():
        return "mask_offset"
    if ((mask_size < 0) | (masked & (mask_size > space - np.where(masked, mask_offset, 0)))).any():
        return "mask_size"
    return None


def is_size(number: object) -> bool:
    """Test that a value from a file can be a number of bytes."""
    return type(number) is int and 0 <= number < 2**63
