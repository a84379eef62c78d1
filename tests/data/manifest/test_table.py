from __future__ import annotations

import json
import pickle
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings, strategies as st

from resgat_pl.core.errors import ManifestError
from resgat_pl.core.storage import write_atomic
from resgat_pl.core.types import Split
from resgat_pl.data.manifest import table as module
from resgat_pl.data.manifest.schema import SCHEMA
from resgat_pl.data.manifest.table import Manifest, merge, rows_to_table
from resgat_pl.data.splits.leakage import find_leaks, manifest_leaks
from resgat_pl.data.splits.protocols import IdentitySplit, divide
from resgat_pl.data.splits.registry import from_spec


def row(video: str, track: int = 0, frame: int = 0, method: str = "original", **more: object) -> dict[str, object]:
    return {
        "dataset": "ffpp",
        "method": method,
        "compression": "c23",
        "video": video,
        "identities": [video],
        "part": "",
        "label": int(method != "original"),
        "track": track,
        "frame_index": frame,
        "box": [0, 0, 9, 9],
        "sharpness": 1.0,
        "crop_path": f"crops/{video}/{track}_{frame}.png",
        **more,
    }


def small(folder: Path) -> Manifest:
    tables = [
        rows_to_table([row("b", 1, 3), row("b", 0, 5), row("b", 0, 2)]),
        rows_to_table([]),
        rows_to_table([row("a", frame=f, method="Deepfakes", source_video="ffpp/original/c23/b") for f in (1, 0)]),
        rows_to_table([row("a")]),
    ]
    return merge(folder, tables, {"request": "r"})


def test_merging_sorts_and_codes(tmp_path: Path) -> None:
    manifest = small(tmp_path)
    keys = list(zip(*(manifest.column(n) for n in ("method", "video", "track", "frame_index")), strict=True))
    assert keys == sorted(keys)
    assert manifest.video_codes.tolist() == [0, 0, 1, 2, 2, 2]
    assert manifest.track_codes.tolist() == [0, 0, 1, 2, 2, 3]
    assert [record.key for record in manifest.videos()] == [
        "ffpp/Deepfakes/c23/a",
        "ffpp/original/c23/a",
        "ffpp/original/c23/b",
    ]
    assert manifest.videos()[0].original == "ffpp/original/c23/b"


def test_round_trip_keeps_everything(tmp_path: Path) -> None:
    manifest = small(tmp_path).with_splits(["train", "val", None, "test", "test", "train"])
    manifest.write()
    again = Manifest.read(tmp_path)
    assert again.table.equals(manifest.table)
    assert again.info["request"] == "r"
    assert again.column("split").tolist() == ["train", "val", None, "test", "test", "train"]
    assert again.crop(0) == tmp_path / "crops/a/0_0.png"
    assert again.mask(0) is None


def test_order_of_fragments_does_not_matter(tmp_path: Path) -> None:
    one, two = rows_to_table([row("a")]), rows_to_table([row("b")])
    first = merge(tmp_path, [one, two], {}).write().read_bytes()
    assert merge(tmp_path, [two, one], {}).write().read_bytes() == first


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="There is no manifest"):
        Manifest.read(tmp_path)
    (tmp_path / "manifest.parquet").write_text("no parquet")
    with pytest.raises(ManifestError, match="not a readable Parquet file"):
        Manifest.read(tmp_path)
    for version, remedy in ((0, "Extract again"), (99, "pip install")):
        schema = SCHEMA.with_metadata({"resgat": json.dumps({"version": version})})
        pq.write_table(pa.Table.from_pylist([], schema), tmp_path / "manifest.parquet")
        with pytest.raises(ManifestError, match=remedy):
            Manifest.read(tmp_path)
    table = small(tmp_path).table.drop_columns(["label", "track"])
    table = table.replace_schema_metadata({"resgat": json.dumps({"version": 1})})
    pq.write_table(table, tmp_path / "manifest.parquet")
    with pytest.raises(ManifestError, match="lacks the columns label, track"):
        Manifest.read(tmp_path)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomic(tmp_path / "f", b"old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomic(tmp_path / "f", b"new")
    assert (tmp_path / "f").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_columns_are_numbers_where_they_should_be(tmp_path: Path) -> None:
    assert small(tmp_path).column("label").dtype == np.int8


def test_other_splits_change_nothing_else(tmp_path: Path) -> None:
    before = small(tmp_path)
    spec = IdentitySplit(0.2, 0.1, 3).spec
    after = before.with_splits(np.array(["train", "", "val", "test", "", "train"], "U5"), spec)
    assert after.column("split").tolist() == ["train", None, "val", "test", None, "train"]
    assert after.table.drop_columns(["split"]).equals(before.table.drop_columns(["split"]))
    assert after.table.schema == SCHEMA
    assert after.info == {"request": "r", "protocol": spec}
    assert before.info == {"request": "r"}, "the old one stays as it is"
    assert before.column("split").tolist() == [None] * 6
    after.write()
    again = Manifest.read(tmp_path)
    assert again.info["protocol"] == spec
    assert from_spec(again.info["protocol"]).spec == spec
    assert after.with_splits([None] * 6).info["protocol"] == {}, "splits of nobody knows what are no protocol's"


def test_videos_of_a_split(tmp_path: Path) -> None:
    manifest = small(tmp_path).with_splits(["train", "test", None, "train", "train", "train"])
    assert manifest.split_videos("train") == ["ffpp/Deepfakes/c23/a", "ffpp/original/c23/b"]
    assert manifest.split_videos("test") == ["ffpp/Deepfakes/c23/a"]
    assert manifest.split_videos("val") == []
    assert merge(tmp_path, [], {}).split_videos("train") == []
    keys = {video.key for video in manifest.videos()}
    assert set(manifest.split_videos("train")) | set(manifest.split_videos("test")) < keys


def test_an_empty_compression_is_a_dash_in_a_key(tmp_path: Path) -> None:
    manifest = merge(tmp_path, [rows_to_table([row("a", compression="", split="val")])], {})
    assert manifest.split_videos("val") == [manifest.videos()[0].key] == ["ffpp/original/-/a"]


def varied(folder: Path) -> Manifest:
    """Rows with and without everything that may be absent."""
    sides = ("train", "val", "test", None)
    rows = [
        row(f"v{n:02d}", frame=f, identities=[f"p{n}", "q"][: 1 + n % 2], split=sides[n % 4], sharpness=n / 3,
            time=f / 25 if n % 3 else None, landmarks=None if f else [n / 7] * 10, mask_path="m" if n % 2 else None,
            official_split="test" if n % 5 == 0 else None, source_video=None if n % 2 else "ffpp/original/c23/x")
        for n in range(9) for f in range(3)
    ]  # fmt: skip
    return merge(folder, [rows_to_table(rows)], {"request": "r"})


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 27), max_size=5).map(sorted))
def test_fingerprints_do_not_depend_on_chunks(tmp_path_factory: pytest.TempPathFactory, cuts: list[int]) -> None:
    whole = varied(Path())
    ends = [0, *cuts, len(whole)]
    pieces = [whole.table.slice(a, b - a) for a, b in pairwise(ends)]
    other = Manifest(Path("elsewhere"), pa.concat_tables(pieces), {"request": "another"})
    assert other.fingerprint() == whole.fingerprint()
    assert other.split_fingerprint() == whole.split_fingerprint()


def test_a_manifest_has_its_fingerprint_before_it_is_written(tmp_path: Path) -> None:
    whole = varied(tmp_path)
    whole.write()
    assert Manifest.read(tmp_path).fingerprint() == whole.fingerprint()


def test_fingerprints_do_not_depend_on_the_file(tmp_path: Path) -> None:
    whole = varied(tmp_path)
    whole.write()
    again = Manifest.read(tmp_path)
    fingerprints = again.fingerprint(), again.split_fingerprint()
    assert all(len(value) == 64 and int(value, 16) for value in fingerprints)
    assert fingerprints[1] == whole.split_fingerprint()
    for options in ({"row_group_size": 4}, {"use_dictionary": False, "compression": "none"}, {"version": "1.0"}):
        other = again.table.replace_schema_metadata({"resgat": json.dumps({"version": 1})})
        pq.write_table(other, tmp_path / "manifest.parquet", **options)
        again = Manifest.read(tmp_path)
        assert (again.fingerprint(), again.split_fingerprint()) == fingerprints, options
    merge(tmp_path, [rows_to_table(again.table.to_pylist()[::-1])], {}).write()
    rebuilt = Manifest.read(tmp_path)
    assert (rebuilt.fingerprint(), rebuilt.split_fingerprint()) == fingerprints


def test_fingerprints_are_those_that_checkpoints_carry(tmp_path: Path) -> None:
    whole = varied(tmp_path)
    assert whole.fingerprint() == "6ab5bd1e5abc29cd2706daaffe00ad479919d94895fd135688958491d10b19b9"
    assert whole.split_fingerprint() == "09d12649807a1e23d0eb3066d925079213091125520e6b9cd16ce5768e5b173d"


def test_fingerprints_of_no_rows(tmp_path: Path) -> None:
    empty = merge(tmp_path, [], {})
    assert empty.fingerprint() == merge(tmp_path, [rows_to_table([])], {}).fingerprint()
    assert empty.fingerprint() != varied(tmp_path).fingerprint()


@pytest.mark.parametrize("name", SCHEMA.names)
def test_a_changed_column_changes_its_fingerprint(tmp_path: Path, name: str) -> None:
    whole = varied(tmp_path)
    rows = whole.table.to_pylist()
    value = rows[-1][name]
    kind = SCHEMA.field(name).type
    if pa.types.is_string(kind):
        rows[-1][name] = f"{value or ''}x"
    elif pa.types.is_fixed_size_list(kind):
        rows[-1][name] = [7] * kind.list_size
    elif pa.types.is_list(kind):
        rows[-1][name] = [*value, "x"]
    elif pa.types.is_boolean(kind):
        rows[-1][name] = not value
    else:
        rows[-1][name] = 1 + (value or 0)
    other = Manifest(tmp_path, rows_to_table(rows), whole.info)
    assert (other.fingerprint() != whole.fingerprint()) == (name != "split")
    in_split = {"split", "dataset", "method", "compression", "video", "track", "frame_index"}
    assert (other.split_fingerprint() != whole.split_fingerprint()) == (name in in_split)


def test_leaving_a_split_changes_the_fingerprint_of_the_split_only(tmp_path: Path) -> None:
    whole = varied(tmp_path)
    splits: list[Split | None] = whole.column("split").tolist()
    same = whole.with_splits(np.array([split or "" for split in splits]), {"name": "x"})
    fewer = whole.with_splits([None, *splits[1:]])
    assert same.split_fingerprint() == whole.split_fingerprint()
    assert fewer.split_fingerprint() != whole.split_fingerprint()
    assert fewer.fingerprint() == whole.fingerprint()


def test_the_same_manifest_again_is_left_alone(ffpp_crops: Path, tmp_path: Path) -> None:
    """A second command that waited for the first would else pull it from under the training that has begun."""
    manifest = Manifest(tmp_path, Manifest.read(ffpp_crops).table, {})
    path = manifest.write()
    before = path.stat()
    manifest.write()
    after = path.stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    Manifest(tmp_path, manifest.table, {"request": "another"}).write()
    assert path.stat().st_ino != before.st_ino


def written(folder: Path, group: int, videos: int = 12) -> Manifest:
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
    table = whole.table.replace_schema_metadata({"resgat": json.dumps({**whole.info, "version": 1})})
    pq.write_table(table, folder / "manifest.parquet", row_group_size=group)
    return whole


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
    rows = np.array([3, 1, len(expected) - 1, 3])
    assert found.take(rows, SCHEMA.names).equals(expected.table.take(pa.array(rows)))
    assert manifest_leaks(found) == find_leaks(expected.videos(), expected.video_codes, expected.column("split"))


@pytest.mark.parametrize("group", [7, 1000])
@pytest.mark.parametrize("large", [1, 10**9])
def test_what_is_read_is_what_was_written(
    tmp_path: Path, group: int, large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Text that repeats is encoded, row group by row group, and some columns of a large one are read later."""
    monkeypatch.setattr(module, "LARGE", large)
    whole = written(tmp_path, group)
    found = Manifest.read(tmp_path)
    assert pa.types.is_dictionary(found.arrow("video").type)
    protocol = IdentitySplit(val=0.3, test=0.3)
    expected, divided = divide(whole, protocol), divide(found, protocol)
    assert expected.split_fingerprint() != whole.split_fingerprint()
    assert divided.info["protocol"] == protocol.spec
    for manifest in (divided, pickle.loads(pickle.dumps(divided))):  # noqa: S301 - our own
        assert_same(manifest, expected)
    assert_same(found, whole)
    found.write()
    assert_same(Manifest.read(tmp_path), whole)


def test_a_large_manifest_that_is_replaced_while_it_is_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGE", 1)
    whole = written(tmp_path, 7)
    found = Manifest.read(tmp_path)
    assert str(found.column("box").tolist()) == str(whole.column("box").tolist())
    written(tmp_path, 7, videos=9)
    with pytest.raises(ManifestError, match=r"was replaced while it was in use\. Start again"):
        found.column("box")
    assert found.crop(0) == whole.crop(0), "what was read stays as it was"
    assert found.split_fingerprint() == whole.split_fingerprint()
