"""Crops in tar shards: the same as files, read one by one, and named when damaged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from resgat_pl.core.errors import ManifestError
from resgat_pl.data.check.command import check
from resgat_pl.data.crop_store.reader import FOLDER, INDEX_NAME, Member, crop_of, mask_of, shards_of
from resgat_pl.data.loading.dataset import FaceCrops
from resgat_pl.data.manifest.table import Manifest

from ..extraction.shard_folders import content, tars


@pytest.fixture
def crops(shard_crops: Path, tmp_path: Path) -> Path:
    """A copy of the shards, to be damaged."""
    return Path(shutil.copytree(shard_crops, tmp_path / "crops"))


LEAVES_FILES_OPEN = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")

"""webdataset lets the garbage collector close its files."""


def test_the_store_changes_neither_crops_nor_rows(ffpp_crops: Path, shard_crops: Path) -> None:
    files, shards = Manifest.read(ffpp_crops), Manifest.read(shard_crops)
    assert shards.fingerprint() == files.fingerprint()
    assert shards.split_fingerprint() == files.split_fingerprint()
    assert content(shards) == content(files)
    assert any(mask is not None for _, mask in content(shards))
    assert not (shard_crops / "crops").exists()
    assert not list((shard_crops / "fragments").glob("*.tar"))
    assert len(tars(shard_crops)) >= 8
    # a shard mixes classes and methods
    labels, methods, shard = shards.column("label"), shards.column("method"), shards_of(shards)
    assert shard is not None
    mixed = [len({*labels[shard.shard == number]}) == 2 for number in range(8)]
    assert sum(mixed) >= 5  # of four videos each; sorted by name there would be one or two
    assert np.mean([len({*methods[shard.shard == number]}) for number in range(8)]) > 1.7


def test_samples_are_the_same_from_both_stores(ffpp_crops: Path, shard_crops: Path) -> None:
    rows = np.arange(0, 126, 5)
    files, shards = (FaceCrops(Manifest.read(path), rows, 48, masks=True) for path in (ffpp_crops, shard_crops))
    for place in range(len(rows)):
        one, other = files[place], shards[place]
        assert one.keys() == other.keys()
        assert all(np.array_equal(one[name], other[name]) for name in one)  # type: ignore[literal-required]
        (mine, theirs) = (files.mask(place), shards.mask(place))
        assert (mine is None) == (theirs is None)
        assert mine is None or np.array_equal(mine, theirs)


@LEAVES_FILES_OPEN
def test_webdataset_reads_the_shards(shard_crops: Path) -> None:
    import webdataset

    manifest = Manifest.read(shard_crops)
    rows = {row["crop_path"]: (number, row) for number, row in enumerate(manifest.table.to_pylist())}
    seen = set()
    for sample in webdataset.WebDataset([str(path) for path in tars(shard_crops)], shardshuffle=False):
        number, row = rows[sample["__key__"] + ".png"]
        mask = mask_of(manifest, number)
        assert sample["png"] == crop_of(manifest, number).read_bytes()
        assert sample.get("mask.png") == (None if mask is None else mask.read_bytes())
        row.pop("split")
        assert json.loads(sample["json"]) == row
        seen.add(number)
    assert seen == set(range(len(manifest)))


def test_check_finds_no_fault_with_whole_shards(shard_crops: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(shard_crops, read="all", duplicates=False, jobs=1)
    assert "0 cannot be read" in capsys.readouterr().out


def test_a_part_of_the_manifest_finds_its_crops(crops: Path) -> None:
    whole = Manifest.read(crops)
    expected = content(whole)
    rows = np.array([77, 3, 50, 51])
    Manifest(crops, whole.table.take(pa.array(rows)), whole.info).write()
    assert content(Manifest.read(crops)) == [expected[row] for row in rows]


def rewrite(crops: Path, **changes: Any) -> None:
    """Change what an index says of itself."""
    with pa.memory_map(str(crops / INDEX_NAME)) as source:
        table = pa.ipc.open_file(source).read_all()
    info = {**json.loads(table.schema.metadata[b"resgat"]), **changes}
    table = pa.table({name: table[name].to_pylist() for name in table.column_names}, table.schema)
    table = table.replace_schema_metadata({"resgat": json.dumps(info)})
    with pa.OSFile(str(crops / INDEX_NAME), "wb") as sink, pa.ipc.new_file(sink, table.schema) as file:
        file.write_table(table)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda crops: rewrite(crops, version=9), r"has format 9; .*pip install"),
        (lambda crops: (crops / INDEX_NAME).unlink(), r"shards\.arrow is missing.*Extract again"),
        (lambda crops: (crops / INDEX_NAME).write_bytes(b"nothing"), r"not a readable index.*Extract again"),
    ],
)
def test_an_index_that_cannot_be_used(crops: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(crops)
    with pytest.raises(ManifestError, match=message):
        crop_of(Manifest.read(crops), 0)


def test_an_index_that_lacks_a_crop(crops: Path) -> None:
    manifest = Manifest.read(crops)
    row = pa.table(manifest.table.slice(0, 1)).set_column(
        manifest.table.column_names.index("crop_path"), "crop_path", pa.array(["crops/new.png"])
    )
    Manifest(crops, pa.concat_tables([manifest.table, row.cast(manifest.table.schema)]), manifest.info).write()
    with pytest.raises(ManifestError, match=r"does not know 1 of 127 crops.*crops/new\.png"):
        crop_of(Manifest.read(crops), 0)


def test_a_member_travels_to_another_process(crops: Path) -> None:
    member = crop_of(Manifest.read(crops), 5)
    assert isinstance(member, Member)
    import pickle

    assert pickle.loads(pickle.dumps(member)).read_bytes() == member.read_bytes()  # noqa: S301
    assert str(member).startswith(str(crops / FOLDER))
