from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from resgat_pl.core.errors import LayoutError
from resgat_pl.core.types import FAKE, REAL
from resgat_pl.data.layouts.detect import detect_layout
from resgat_pl.data.layouts.dfdc_preview import DFDCPreview
from resgat_pl.data.splits.known_people import has_known_people
from resgat_pl.data.splits.protocols import OfficialSplit, StrictSplit


def entry(label: str, part: str, target: object = None, swapped: object = None) -> dict[str, Any]:
    return {"label": label, "set": part, "augmentations": [], "target_id": target, "swapped_id": swapped}


LISTED = {
    "original_videos/1/1_A_001.mp4": entry("real", "train", 1),
    "original_videos/2/2_A_001.mp4": entry("real", "test", "2"),
    "method_A/1_3/1_3_A_001.mp4": entry("fake", "train", 1, 3),
    "method_B/2_4/x.mp4": entry("fake", "test", 2, 4),
    "method_B/4_2/x.mp4": entry("FAKE", "test", 4, 2),
}


def write(root: Path, listed: object, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "dataset.json").write_text(json.dumps(listed))
    return root


def test_labels_people_methods_and_split(tmp_path: Path) -> None:
    root = write(tmp_path, LISTED, *LISTED)
    assert isinstance(detect_layout(root), DFDCPreview)
    index = DFDCPreview().index(root)
    assert index.problems == ()
    assert [(r.key, r.label, r.identities, r.official_split) for r in index.records] == [
        ("dfdc_preview/method_A/-/1_3_A_001", FAKE, ("1", "3"), "train"),
        ("dfdc_preview/method_B/-/2_4+x", FAKE, ("2", "4"), "test"),
        ("dfdc_preview/method_B/-/4_2+x", FAKE, ("4", "2"), "test"),
        ("dfdc_preview/original/-/1_A_001", REAL, ("1",), "train"),
        ("dfdc_preview/original/-/2_A_001", REAL, ("2",), "test"),
    ]
    assert all(map(has_known_people, index.records))
    assert all(r.files[0].is_file() and r.original is None for r in index.records)
    assert OfficialSplit(val=0.0).assign(index.records) == {r.key: r.official_split for r in index.records}
    strict = StrictSplit(val=0.0)
    strict.assign(index.records)
    assert strict.declares == frozenset()


def test_people_who_are_not_listed_are_unknown(tmp_path: Path) -> None:
    listed = {**LISTED, "method_A/y.mp4": entry("fake", "train", 7), "original_videos/z.mp4": entry("real", "train")}
    records = {r.video: r for r in DFDCPreview().index(write(tmp_path, listed, *listed)).records}
    assert {video for video, record in records.items() if not has_known_people(record)} == {"y", "z"}


def test_what_is_not_on_disk_or_not_listed(tmp_path: Path) -> None:
    names = list(LISTED)
    index = DFDCPreview().index(write(tmp_path, LISTED, *names[1:], "method_A/extra/e.mp4"))
    assert index.problems == (
        "1 video (original_videos/1/1_A_001.mp4) of dataset.json not on disk",
        "1 video (method_A/extra/e.mp4) skipped, missing from dataset.json",
    )
    assert len(index.records) == 4


@pytest.mark.parametrize(
    "listed",
    [
        [],
        {"method_A/x.mp4": {"label": "maybe", "set": "train"}},
        {"method_A/x.mp4": {"label": "fake", "set": "other"}},
        {"method_A/x.mp4": "fake"},
        {"../x.mp4": entry("real", "train", 1)},
        {"/etc/x.mp4": entry("real", "train", 1)},
        {"x.mp4": entry("real", "train", 1)},
    ],
)
def test_a_list_of_another_form_is_named(tmp_path: Path, listed: object) -> None:
    with pytest.raises(LayoutError, match=r"dataset\.json"):
        DFDCPreview().index(write(tmp_path, listed, "method_A/x.mp4"))
