from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resgat_pl.data.manifest import SCHEMA, Manifest, merge, rows_to_table, write_atomic
from resgat_pl.errors import ManifestError


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
    for version, remedy in ((0, "Extract again"), (99, "Install a newer")):
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
