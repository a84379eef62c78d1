"""Videos without a crop are counted, with the split they would have been in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from resgat_pl.core.types import Split, VideoRecord
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.data.splits.skipped import SKIPPED, Coverage, coverage, note

from ...helpers.records import crops_of


def record(name: str, method: str = "original", original: str | None = None, **more: Any) -> VideoRecord:
    people = tuple(more.pop("people", name.split("_")))
    return VideoRecord("ffpp", method, "c23", name, int(method != "original"), "video", (), people, original, **more)


def manifest(folder: Path, videos: dict[VideoRecord, Split], skipped: list[VideoRecord] | None) -> Manifest:
    records = {v.key: v for v in skipped or []}
    return crops_of(folder, videos, **({} if skipped is None else {SKIPPED: note(records, list(records))}))


HAVE: dict[VideoRecord, Split] = {
    record("000"): "test",
    record("000_003", "swap", "ffpp/original/c23/000"): "test",
    record("001"): "train",
    record("002"): "val",
}


def test_a_video_belongs_where_what_it_shares_is(tmp_path: Path) -> None:
    lost = [
        record("000_003", "cam", "ffpp/original/c23/000"),  # a fake of a test clip
        record("003"),  # the person of a test fake
        record("001_002", "swap", "ffpp/original/c23/001"),  # of two splits: nobody knows
        record("001_001", "cam", "ffpp/original/c23/001"),  # of training
        record("777"),  # shares nothing
    ]
    made = manifest(tmp_path, HAVE, lost)
    found = coverage(made, scored=2)
    assert found == Coverage(2, 4, real=1, fake=1, elsewhere=2)
    assert str(found) == (
        "2 of 4 videos scored; no face could be cut from 2 (1 real, 1 fake); nor from 2 more, of an unknown split"
    )
    assert found.brief == "2 of 4"
    assert coverage(made, 1, "train") == Coverage(1, 2, fake=1, elsewhere=2)
    assert "1 were not tested" in str(coverage(made, scored=1))
    made.write()
    assert coverage(Manifest.read(tmp_path), 2) == found, "the file keeps it"


def test_official_splits_are_taken_where_they_are_in_force(tmp_path: Path) -> None:
    have = {record("000", official_split="test"): "test", record("001", official_split="train"): "train"}
    lost = [record("900", official_split="test"), record("901", official_split="val"), record("902")]
    assert coverage(manifest(tmp_path, have, lost), 1) == Coverage(1, 2, real=1, elsewhere=1)  # type: ignore[arg-type]
    moved = dict(zip(have, ("train", "test"), strict=True))
    assert coverage(manifest(tmp_path, moved, lost), 1) == Coverage(1, 1, elsewhere=3)  # type: ignore[arg-type]


def test_nothing_skipped_and_nothing_known_are_two_things(tmp_path: Path) -> None:
    none = coverage(manifest(tmp_path, HAVE, []), 2)
    assert str(none) == "2 of 2 videos scored"
    assert none.plain()["without_face"] == 0
    unknown = coverage(manifest(tmp_path, HAVE, None), 2)
    assert unknown.of is None
    assert "does not say" in str(unknown)
    assert unknown.brief == "2 of ?"
    assert unknown.plain()["without_face"] is None


@pytest.mark.parametrize("noted", [3, [3], [{}], [{"dataset": "a"}], {"a": 1}])
def test_notes_of_somebody_else_are_unknown(noted: Any, tmp_path: Path) -> None:
    made = manifest(tmp_path, HAVE, [])
    made.info[SKIPPED] = noted
    assert coverage(made, 2).of is None


def test_manifests_of_earlier_versions_have_their_summary(tmp_path: Path) -> None:
    made = manifest(tmp_path, HAVE, None)
    lost = {"ffpp/cam/c23/000": "no face", "ffpp/original/-/a/b": "no face"}
    (tmp_path / "summary.json").write_text(json.dumps({"skipped": lost}))
    assert coverage(made, 2) == Coverage(2, 3, fake=1, elsewhere=1)
    (tmp_path / "summary.json").write_text("half of")
    assert coverage(made, 2).of is None
