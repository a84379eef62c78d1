"""A large manifest is mapped from a file; whoever uses it must not notice."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from resgat_pl import FaceDataModule
from resgat_pl.core.errors import ManifestError
from resgat_pl.data.loading.dataset import FaceCrops
from resgat_pl.data.loading.samplers import Order, TrainSampler
from resgat_pl.data.manifest import arrow_cache as mapped
from resgat_pl.data.manifest.table import SCHEMA, SCHEMA_VERSION, Manifest, merge, rows_to_table
from resgat_pl.data.splits.leakage import find_leaks, manifest_leaks
from resgat_pl.data.splits.protocols import IdentitySplit, divide


def written(folder: Path, videos: int = 12, group: int = 7) -> Manifest:
    """A manifest in memory, and on disk in several row groups; things are absent, and differ in size."""
    rows = [
        {
            "dataset": "ffpp" if n % 3 else "dfdc",
            "method": "FaceSwap" if n % 2 else "original",
            "compression": "c23" if n % 4 else "",
            "video": f"v{n % 5}é" * (1 + n % 3),
            "source_video": f"ffpp/original/c23/v{n}" if n % 2 else None,
            "identities": [f"p{n}", "q" * n][: n % 3],
            "part": "",
            "official_split": "test" if n % 5 == 0 else None,
            "split": ("train", "val", "test", None)[n % 4],
            "label": n % 2,
            "track": track,
            "frame_index": frame,
            "time": frame / 25 if n % 3 else None,
            "box": [n, 0, 9, 9],
            "landmarks": None if frame else [n / 7] * 10,
            "sharpness": n / 3,
            "crop_path": f"crops/{n}/{track}_{frame}.png",
            "mask_path": f"masks/{n}/{track}_{frame}.png" if n % 3 == 1 else None,
            "altered": (None, True, False)[(n + track) % 3],
        }
        for n, track, frame in product(range(videos), range(2), range(3))
    ]
    whole = merge(folder, [rows_to_table(rows)], {"request": "r"})
    save(whole, group)
    return whole


def save(manifest: Manifest, group: int = 7) -> None:
    metadata = {"resgat": json.dumps({**manifest.info, "version": SCHEMA_VERSION})}
    table = manifest.table.replace_schema_metadata(metadata)
    # as it is, so that other values of the same length give a file of the same size
    plain = {"row_group_size": group, "compression": "none", "use_dictionary": False}
    pq.write_table(table, manifest.folder / "manifest.parquet", **plain)


@pytest.fixture(autouse=True)
def _map_all(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setattr(mapped, "MAP_FROM", 1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def assert_same(found: Manifest, expected: Manifest) -> None:
    for name in SCHEMA.names:
        assert found.column(name).dtype == expected.column(name).dtype, name
        assert str(found.column(name).tolist()) == str(expected.column(name).tolist()), name
    assert found.table.equals(expected.table)
    assert found.table.schema == SCHEMA
    assert found.info.get("request") == expected.info.get("request")
    for codes in ("video_codes", "track_codes", "split_codes"):
        assert getattr(found, codes).dtype == getattr(expected, codes).dtype
        assert np.array_equal(getattr(found, codes), getattr(expected, codes))
    assert found.videos() == expected.videos()
    assert found.fingerprint() == expected.fingerprint()
    assert found.split_fingerprint() == expected.split_fingerprint()
    assert found.counts() == expected.counts()
    for split in ("train", "val", "test"):
        assert found.split_videos(split) == expected.split_videos(split)
        assert np.array_equal(found.rows_of(split), np.flatnonzero(expected.column("split") == split))
    for row in (0, 5, len(expected) - 1):
        assert (found.crop(row), found.mask(row)) == (expected.crop(row), expected.mask(row))
        assert found.label(row) == expected.column("label")[row]
        assert found.codes(row) == (expected.video_codes[row], expected.track_codes[row])
    rows = np.array([3, 1, len(expected) - 1, 3])
    assert found.take(rows, SCHEMA.names).equals(expected.table.take(pa.array(rows)))
    assert manifest_leaks(found) == find_leaks(expected.videos(), expected.video_codes, expected.column("split"))


@pytest.mark.parametrize("group", [7, 1000])
def test_a_mapped_manifest_is_the_manifest(tmp_path: Path, group: int) -> None:
    whole = written(tmp_path, group=group)
    first, second = Manifest.read(tmp_path), Manifest.read(tmp_path)
    assert mapped.map_path(tmp_path / "manifest.parquet").is_file()
    for found in (first, second, pickle.loads(pickle.dumps(second))):  # noqa: S301 - our own
        assert_same(found, whole)


def test_none_is_made_of_a_small_one_nor_of_an_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = written(tmp_path)
    monkeypatch.setattr(mapped, "MAP_FROM", len(whole) + 1)
    assert_same(Manifest.read(tmp_path), whole)
    assert not mapped.map_path(tmp_path / "manifest.parquet").exists()
    monkeypatch.setattr(mapped, "MAP_FROM", 0)
    empty = merge(tmp_path, [], {})
    save(empty)
    found = Manifest.read(tmp_path)
    assert len(found) == 0
    assert found.videos() == []
    assert found.split_fingerprint() == empty.split_fingerprint()


def test_other_splits_of_a_mapped_manifest(tmp_path: Path) -> None:
    whole = written(tmp_path)
    found = Manifest.read(tmp_path)
    protocol = IdentitySplit(val=0.3, test=0.3)
    expected = divide(whole, protocol)
    assert expected.split_fingerprint() != whole.split_fingerprint()
    for divided in (divide(found, protocol), pickle.loads(pickle.dumps(divide(found, protocol)))):  # noqa: S301 - our own
        assert_same(divided, expected)
        assert divided.info["protocol"] == protocol.spec
    assert_same(found, whole)


def test_loading_processes_are_sent_a_name_instead_of_the_rows(tmp_path: Path) -> None:
    whole = written(tmp_path, videos=400)
    found = Manifest.read(tmp_path)
    rows = np.arange(len(whole))
    found.table, found.video_codes, found.split_codes  # noqa: B018 - what was looked at must not travel either
    assert len(pickle.dumps(found)) < 2_000
    assert len(pickle.dumps(FaceCrops(found, rows, 32))) < 2_000 + 4 * len(rows)
    assert len(pickle.dumps(whole)) > 20 * len(rows)


def test_another_manifest_at_the_same_path_is_never_served_from_the_old_map(tmp_path: Path) -> None:
    path = tmp_path / "manifest.parquet"
    whole = written(tmp_path)
    old = Manifest.read(tmp_path)
    times = path.stat()
    other = whole.with_splits([{"train": "unuse"}.get(split, split) for split in whole.column("split")], {})
    other.info = whole.info
    for changed in (other, written(tmp_path, videos=9), whole):
        save(changed)
        assert (path.stat().st_size == times.st_size) == (len(changed) == len(whole))
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # the footer tells them apart
        assert_same(Manifest.read(tmp_path), changed)
    save(other)
    with pytest.raises(ManifestError, match="was replaced while it was in use"):
        pickle.loads(pickle.dumps(old))  # noqa: S301 - our own
    with pytest.raises(ManifestError, match="was replaced while it was in use"):
        old.column("box")
    assert old.crop(0) == whole.crop(0), "what is mapped stays as it was"
    whole.write()
    assert not mapped.map_path(path).exists()


@pytest.mark.parametrize("damage", ["empty", "cut", "other", "end", "folder"])
def test_a_damaged_map_is_made_again(tmp_path: Path, damage: str) -> None:
    whole = written(tmp_path)
    Manifest.read(tmp_path)
    path = mapped.map_path(tmp_path / "manifest.parquet")
    good = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    else:
        broken = {
            "empty": b"",
            "cut": good[: len(good) * 2 // 3],
            "other": b"x" * len(good),
            "end": good[:-64] + bytes(64),
        }
        path.write_bytes(broken[damage])
    assert_same(Manifest.read(tmp_path), whole)
    assert path.is_dir() or path.read_bytes() == good


@pytest.mark.parametrize("damage", ["text", "words", "codes"])
def test_a_map_that_points_elsewhere_is_made_again(tmp_path: Path, damage: str) -> None:
    """Reading what its rows name would end the process, or give the rows of other videos."""
    whole = written(tmp_path)
    Manifest.read(tmp_path)
    path = mapped.map_path(tmp_path / "manifest.parquet")
    good = path.read_bytes()
    table = pa.ipc.open_file(pa.BufferReader(good)).read_all().combine_chunks()
    rows = len(table)
    if damage == "text":
        name, ends = "crop_path", np.full(rows + 1, 2**31 - 1, np.int32)
        ends[[0, -1]] = 0, 5  # which is all that is looked at otherwise
        column = pa.StringArray.from_buffers(rows, pa.py_buffer(ends), pa.py_buffer(b"crops"))
    elif damage == "words":
        name = "dataset"
        words = table.column(name).chunk(0).dictionary
        column = pa.DictionaryArray.from_arrays(pa.array([2**20] * rows, pa.int32()), words, safe=False)
    else:
        name, column = "video_code", pa.array([rows] * rows, pa.int64())
    mapped._write(table.set_column(table.column_names.index(name), name, column), path)
    assert_same(Manifest.read(tmp_path), whole)
    assert path.read_bytes() == good


def test_without_a_place_for_it_the_rows_are_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = written(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pa, "OSFile", full)
    found = Manifest.read(tmp_path)
    assert_same(found, whole)
    assert_same(pickle.loads(pickle.dumps(found)), whole)  # noqa: S301 - our own
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.parquet"], "nothing half written is left"


def test_a_folder_that_cannot_be_written_has_its_map_with_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = written(tmp_path)
    make = pa.OSFile

    def read_only(name: str, mode: str) -> Any:
        if Path(name).parent == tmp_path and mode == "wb":
            raise PermissionError(13, "Permission denied")
        return make(name, mode)

    monkeypatch.setattr(pa, "OSFile", read_only)
    assert_same(Manifest.read(tmp_path), whole)
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.parquet"]
    kept = list(Path(os.environ["XDG_CACHE_HOME"], "resgat-pl").iterdir())
    assert len(kept) == 1
    made = kept[0].stat().st_mtime_ns
    assert_same(Manifest.read(tmp_path), whole)
    assert kept[0].stat().st_mtime_ns == made


def test_two_at_once(tmp_path: Path) -> None:
    whole = written(tmp_path, videos=200)
    for _ in range(5):
        mapped.map_path(tmp_path / "manifest.parquet").unlink(missing_ok=True)
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(Manifest.read, [tmp_path] * 8))
        assert {manifest.split_fingerprint() for manifest in found} == {whole.split_fingerprint()}
        assert all(np.array_equal(manifest.video_codes, whole.video_codes) for manifest in found)
    assert {path.name for path in tmp_path.iterdir()} == {"manifest.parquet", "manifest.arrow"}


@pytest.mark.parametrize("order", ["shuffled", "balanced", "paired"])
def test_samples_and_their_order(
    ffpp_crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: Order
) -> None:
    crops = tmp_path / "crops"
    shutil.copytree(ffpp_crops, crops, copy_function=os.link)

    def epoch(workers: int) -> list[dict[str, torch.Tensor]]:
        data = FaceDataModule(crops, image_size=48, num_workers=workers, order=order, batch_size=7)
        data.setup("fit")
        assert isinstance(data.train_dataloader().sampler, TrainSampler)
        return list(data.train_dataloader())

    maps = epoch(2 if order == "shuffled" else 0)
    assert (crops / "manifest.arrow").is_file()
    monkeypatch.setattr(mapped, "MAP_FROM", 10**9)
    plain = epoch(0)
    assert len(maps) == len(plain) > 3
    for one, other in zip(maps, plain, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)
