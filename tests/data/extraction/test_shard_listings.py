"""The listing of a shard: damaged, its shard is made again; of a newer version, it stays."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resgat_pl.core.errors import ConfigError, ManifestError
from resgat_pl.data.crop_store.reader import FOLDER
from resgat_pl.data.extraction import shard_packing as packing

from ...helpers.folders import tree
from .shard_folders import again, tars


@pytest.fixture
def crops(shard_crops: Path, tmp_path: Path) -> Path:
    """A copy of the shards, to be damaged."""
    return Path(shutil.copytree(shard_crops, tmp_path / "crops"))


def listing_of(crops: Path, change: Callable[[pa.Table], pa.Table] = lambda table: table, **notes: Any) -> None:
    """Change the listing of the first shard, and what it says of itself."""
    path = sorted((crops / FOLDER).glob("*.parquet"))[0]
    table = pq.read_table(path)
    info = {**json.loads(table.schema.metadata[b"resgat"]), **notes}
    pq.write_table(change(table).replace_schema_metadata({"resgat": json.dumps(info)}), path)


def with_column(name: str, value: Any) -> Callable[[pa.Table], pa.Table]:
    def change(table: pa.Table) -> pa.Table:
        place = table.schema.get_field_index(name)
        field = table.schema.field(place)
        return table.set_column(place, field, pa.array([value] * len(table), field.type))

    return change


LISTINGS: dict[str, Callable[[Path], Any]] = {
    "cut off": lambda crops: sorted((crops / FOLDER).glob("*.parquet"))[0].write_bytes(b"PAR1xxxx"),
    "empty": lambda crops: sorted((crops / FOLDER).glob("*.parquet"))[0].write_bytes(b""),
    "no notes": lambda crops: pq.write_table(pa.table({"key": ["a"]}), sorted((crops / FOLDER).glob("*.parquet"))[0]),
    "no version": lambda crops: listing_of(crops, version=None),
    "a strange version": lambda crops: listing_of(crops, version="1"),
    "no size": lambda crops: listing_of(crops, size=None),
    "a strange size": lambda crops: listing_of(crops, size=2**70),
    "a size below": lambda crops: listing_of(crops, size=-1),
    "a column too few": lambda crops: listing_of(crops, lambda table: table.drop_columns(["request"])),
    "a column of text": lambda crops: listing_of(
        crops, lambda table: table.set_column(4, "offset", pa.array(["0"] * len(table)))
    ),
    "no key": lambda crops: listing_of(crops, with_column("key", None)),
    "an offset outside": lambda crops: listing_of(crops, with_column("offset", 2**62)),
    "a size outside": lambda crops: listing_of(crops, with_column("size", 2**31 - 1)),
    "a mask outside": lambda crops: listing_of(crops, with_column("mask_offset", 2**63 - 1)),
}


def test_a_damaged_listing_makes_its_shard_unusable(shard_crops: Path, tmp_path: Path) -> None:
    for name, damage in LISTINGS.items():
        crops = Path(shutil.copytree(shard_crops, tmp_path / name))
        damage(crops)
        stored = packing.Stored(crops, None, {})
        assert [packed.shard.path for packed in stored.unusable] == tars(crops)[:1], name
        stored.clear()
        assert len(tars(crops)) == len(tars(shard_crops)) - 1


def test_a_shard_of_a_damaged_listing_is_made_again(ffpp_root: Path, crops: Path, shard_crops: Path) -> None:
    LISTINGS["cut off"](crops)
    again(ffpp_root, crops, store=None)
    assert tree(crops) == tree(shard_crops)


def test_a_listing_that_must_not_be_replaced(crops: Path, tmp_path: Path) -> None:
    listing_of(crops, version=9, resgat_pl="9.1", size="of a new form")
    with pytest.raises(ConfigError, match=r"crops-000000\.parquet has format 9; .*resgat-pl>=9\.1"):
        packing.Stored(crops, None, {})
    listing_of(crops, version=1, size=1)
    tars(crops)[0].rename(tmp_path / "elsewhere.tar")
    (crops / FOLDER / "crops-000000.tar").symlink_to(tmp_path / "elsewhere.tar")
    with pytest.raises(ManifestError, match=r"crops-000000\.tar leads out of"):  # it may be all that there is
        packing.Stored(crops, None, {})
