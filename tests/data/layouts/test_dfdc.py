from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from resgat_pl.core.errors import DatasetNotFoundError, LayoutError
from resgat_pl.core.types import FAKE, REAL
from resgat_pl.data.layouts.detect import detect_layout
from resgat_pl.data.layouts.dfdc import DFDC


def make_part(folder: Path, *families: str, fakes: int = 2) -> None:
    """Write a training part: for each family one real video and some fakes made from it."""
    metadata: dict[str, Any] = {}
    for number, name in enumerate(families):
        metadata[f"{name}.mp4"] = {"label": "REAL", "split": "train"} | ({"original": None} if number % 2 else {})
        for fake in range(fakes):
            metadata[f"{name}fake{fake}.mp4"] = {"label": "FAKE", "split": "train", "original": f"{name}.mp4"}
    write(folder, metadata, list(metadata))


def write(folder: Path, metadata: Any, files: list[str], name: str = "metadata.json") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(metadata if isinstance(metadata, str) else json.dumps(metadata))
    for file in files:
        (folder / file).touch()


@pytest.mark.parametrize("place", ["", "train"])
@pytest.mark.parametrize("number", ["0", "00", "7", "07", "49"])
@pytest.mark.parametrize("nested", [False, True])
def test_training_parts(tmp_path: Path, place: str, number: str, nested: bool) -> None:
    folder = tmp_path / place / f"dfdc_train_part_{number}"
    make_part(folder / f"dfdc_train_part_{int(number)}" if nested else folder, "aa", "bb")
    assert isinstance(detect_layout(tmp_path), DFDC)
    index = DFDC().index(tmp_path)
    assert index.problems == ()
    assert len(index.records) == 6
    for record in index.records:
        family = record.video[:2]
        assert record.identities == (family,)
        assert record.part == f"dfdc_train_part_{int(number)}"
        assert record.compression == ""
        assert record.official_split is None
        assert record.files[0].is_file()
        if record.label == FAKE:
            assert record.method == "dfdc"
            assert record.original == f"dfdc/original/-/{family}"
        else:
            assert record.method == "original"
            assert record.original is None
            assert record.key == f"dfdc/original/-/{family}"


def test_root_can_be_one_part(tmp_path: Path) -> None:
    root = tmp_path / "dfdc_train_part_03"
    make_part(root, "aa")
    assert isinstance(detect_layout(root), DFDC)
    assert {r.part for r in DFDC().index(root).records} == {"dfdc_train_part_3"}


def test_original_is_named_when_it_is_not_on_disk(tmp_path: Path) -> None:
    entry = {"label": "FAKE", "split": "train", "original": "gone.mp4"}
    write(tmp_path / "dfdc_train_part_0", {"a.mp4": entry, "b.mp4": entry}, ["a.mp4", "b.mp4"])
    index = DFDC().index(tmp_path)
    assert {r.original for r in index.records} == {"dfdc/original/-/gone"}
    assert {r.identities for r in index.records} == {("gone",)}
    assert index.problems == ("no real video found",)


def test_kaggle_sample_and_unlabelled_test_videos(tmp_path: Path) -> None:
    write(tmp_path / "test_videos", "", ["x.mp4", "y.mp4"], name="readme.txt")
    with pytest.raises(DatasetNotFoundError, match=r"no labelled video .* test_videos: 2 videos"):
        DFDC().index(tmp_path)
    make_part(tmp_path / "train_sample_videos", "aa")
    index = DFDC().index(tmp_path)
    assert {r.part for r in index.records} == {"train_sample_videos"}
    assert len(index.records) == 3
    assert index.problems == (
        "test_videos: 2 videos (x.mp4, y.mp4) skipped, no metadata.json or labels.csv or label.csv",
    )


def test_sample_gives_way_to_the_part_with_the_same_video(tmp_path: Path) -> None:
    make_part(tmp_path / "train_sample_videos", "aa")
    make_part(tmp_path / "train" / "dfdc_train_part_0", "aa", "bb")
    index = DFDC().index(tmp_path)
    assert {r.part for r in index.records} == {"dfdc_train_part_0"}
    assert any(line.startswith("3 videos") and "more than once" in line for line in index.problems)


@pytest.mark.parametrize("name", ["labels.csv", "label.csv", "metadata.json"])
@pytest.mark.parametrize("place", ["", "test", "test_videos", "test/videos"])
@pytest.mark.parametrize("labels_above", [False, True])
def test_full_test_set(tmp_path: Path, name: str, place: str, labels_above: bool) -> None:
    if name == "metadata.json":
        text = json.dumps({f"{v}.mp4": {"augmentations": {"x": 1}, "is_fake": int(v == "f")} for v in "fr"})
    else:
        text = "\ufefffilename,label\r\nf.mp4,1\r\nr.mp4,0\r\n"
    folder = tmp_path / place
    write(folder, text, ["f.mp4", "r.mp4"], name=name)
    if labels_above and place:
        (folder / name).rename(tmp_path / name)
        if place == "test":  # nothing but a general name: the labels decide
            assert DFDC().matches(tmp_path)
    assert isinstance(detect_layout(tmp_path), DFDC)
    index = DFDC().index(tmp_path)
    assert index.problems == ()
    assert {(r.video, r.label, r.official_split, r.identities) for r in index.records} == {
        ("f", FAKE, "test", ("f",)),
        ("r", REAL, "test", ("r",)),
    }


def test_train_and_test_together(tmp_path: Path) -> None:
    make_part(tmp_path / "dfdc_train_part_0", "aa")
    write(tmp_path / "test", "filename,label\nf.mp4,1\n", ["f.mp4"], name="labels.csv")
    assert {(r.part, r.official_split) for r in DFDC().index(tmp_path).records} == {
        ("dfdc_train_part_0", None),
        ("test", "test"),
    }


def test_metadata_and_disk_differ(tmp_path: Path) -> None:
    part = tmp_path / "dfdc_train_part_0"
    make_part(part, "aa")
    (part / "aafake0.mp4").unlink()
    (part / "unlisted.mp4").touch()
    (part / "._aa.mp4").touch()
    (tmp_path / "dfdc_train_part_1").mkdir()
    (tmp_path / "dfdc_train_part_1" / "z.mp4").touch()
    index = DFDC().index(tmp_path)
    assert sorted(r.video for r in index.records) == ["aa", "aafake1"]
    assert index.problems == (
        "dfdc_train_part_0: 1 video (unlisted.mp4) skipped, missing from metadata.json",
        "dfdc_train_part_1: 1 video (z.mp4) skipped, no metadata.json or labels.csv or label.csv",
        "1 video (aafake0.mp4) of dfdc_train_part_0/metadata.json not on disk",
    )


ENTRIES = ('"FAKE"', "null", "{}", "[1]", '{"split": "train"}', '{"label": "fake"}', '{"label": 1}',
           '{"label": "FAKE", "original": 3}', '{"label": "FAKE", "original": [[]]}', '{"is_fake": "1"}')  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        *(("metadata.json", f'{{"bad.mp4": {entry}}}', r", key 'bad\.mp4': .*expected") for entry in ENTRIES),
        *(("metadata.json", text, "") for text in ("", "{", '{"bad.mp4": {"label"', "[]", "3", "null", "[" * 100_000)),
        ("labels.csv", "name,fake\na.mp4,1\n", ".*header"),
        ("labels.csv", "filename,label\na.mp4,FAKE\n", ".*line 2"),
    ],
)
def test_malformed_labels_are_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    write(tmp_path / "test", text, ["bad.mp4"], name=name)
    with pytest.raises(LayoutError, match=f"test/{name}{message}"):
        DFDC().index(tmp_path)
