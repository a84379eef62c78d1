from __future__ import annotations

from pathlib import Path

import pytest

from resgat_pl.data.layouts import Folder
from resgat_pl.errors import ConfigError, DatasetNotFoundError
from resgat_pl.types import FAKE, REAL


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.mark.parametrize("suffix", [".mp4", ".AVI", ".mov", ".mkv", ".webm", ".m4v"])
@pytest.mark.parametrize(("real", "fake"), [("real", "fake"), ("REAL", "Fake")])
def test_videos(tmp_path: Path, suffix: str, real: str, fake: str) -> None:
    touch(
        tmp_path, f"{real}/a{suffix}", f"{fake}/a{suffix}", f"{fake}/b.c{suffix}", f"{real}/notes.txt", f"{real}/.x.mp4"
    )
    index = Folder().index(tmp_path)
    assert index.problems == ()
    assert [(r.key, r.label, r.kind, r.identities, r.original) for r in index.records] == [
        ("folder/fake/-/a", FAKE, "video", ("a",), "folder/original/-/a"),
        ("folder/fake/-/b.c", FAKE, "video", ("b.c",), None),
        ("folder/original/-/a", REAL, "video", ("a",), None),
    ]


def test_names_suggest_pairs_or_are_asked_for_or_mean_nothing(tmp_path: Path) -> None:
    touch(tmp_path, "real/00001.png", "fake/gan/00001.png", "fake/gan/00002.png")
    told = {}
    for pairs in ("auto", "names", "none"):
        records = {record.key: record for record in Folder(pairs=pairs).index(tmp_path).records}
        fake, alone = records["folder/gan/-/00001"], records["folder/gan/-/00002"]
        told[pairs] = fake.original, fake.identities, fake.pairing
        assert (alone.original, alone.pairing) == (None, "given")
        assert records["folder/original/-/00001"].identities == ("00001",)
    assert told == {
        "auto": ("folder/original/-/00001", ("00001",), "name"),
        "names": ("folder/original/-/00001", ("00001",), "asked"),
        "none": (None, ("gan/00001",), "given"),
    }
    with pytest.raises(ConfigError, match="auto, names or none"):
        Folder(pairs="some")  # type: ignore[arg-type]  # as a program may


def test_numbers_in_several_splits_are_no_shared_names_unless_they_mean_something(tmp_path: Path) -> None:
    touch(tmp_path, "train/real/1.png", "test/fake/1.png")
    assert Folder().index(tmp_path).problems
    assert Folder(pairs="none").index(tmp_path).problems == ()


def test_single_images_and_folders_of_frames(tmp_path: Path) -> None:
    touch(
        tmp_path, *[f"fake/clip/{n}.png" for n in (2, 10, 1)], "real/clip/0.jpg", "fake/clip/readme.txt", "fake/one.JPG"
    )
    index = Folder().index(tmp_path)
    assert index.problems == ()
    by_key = {r.key: r for r in index.records}
    assert len(by_key) == 3
    assert {r.kind for r in index.records} == {"frames"}
    clip = by_key["folder/fake/-/clip"]
    assert [path.name for path in clip.files] == ["1.png", "2.png", "10.png"]
    assert clip.original == "folder/original/-/clip"
    assert len(by_key["folder/fake/-/one"].files) == 1


def test_methods_below_fake(tmp_path: Path) -> None:
    touch(tmp_path, "real/a.mp4", "fake/swap/a.mp4", "fake/reenact/a/0.png", "fake/a.mp4", "fake/plain/0.png")
    records = Folder().index(tmp_path).records
    assert {r.key for r in records} == {
        "folder/original/-/a",
        "folder/swap/-/a",
        "folder/reenact/-/a",
        "folder/fake/-/a",
        "folder/fake/-/plain",
    }
    assert {r.original for r in records if r.identities == ("a",) and r.label == FAKE} == {"folder/original/-/a"}


def test_images_in_real_make_folders_of_images_methods(tmp_path: Path) -> None:
    touch(tmp_path, "real/a.png", "real/b.png", "fake/gan/a.png", "fake/gan/b.png")
    records = Folder().index(tmp_path).records
    assert {r.key for r in records if r.label == FAKE} == {"folder/gan/-/a", "folder/gan/-/b"}
    assert all(len(r.files) == 1 for r in records)


def test_splits_above(tmp_path: Path) -> None:
    touch(
        tmp_path, "train/real/1.mp4", "train/fake/1.mp4", "Valid/real/1.mp4", "test/FAKE/swap/1.mp4", "test/fake/2.mp4"
    )
    index = Folder().index(tmp_path)
    assert {(r.key, r.official_split, r.original) for r in index.records} == {
        ("folder/original/-/1@train", "train", None),
        ("folder/fake/-/1@train", "train", "folder/original/-/1@train"),
        ("folder/original/-/1@val", "val", None),
        ("folder/swap/-/1@test", "test", None),
        ("folder/fake/-/2@test", "test", None),
    }
    assert {r.identities for r in index.records} == {("1",), ("2",)}
    assert index.problems == ("1 name (1) in more than one split: if these are the same, it leaks",)


def test_odd_things_are_problem_lines(tmp_path: Path) -> None:
    touch(tmp_path, "real/a.mp4", "real/a.avi", "real/deep/er/0.png", "real/.hidden/0.png")
    (tmp_path / "fake").mkdir()
    index = Folder().index(tmp_path)
    assert [r.files[0].name for r in index.records] == ["a.avi"]
    assert index.problems == (
        f"{tmp_path.name}/real: 1 folder (deep) skipped, without an image",
        "1 video (folder/original/-/a) found more than once under one name: the first one is taken",
        "no fake video found",
    )


def test_both_empty(tmp_path: Path) -> None:
    (tmp_path / "fake").mkdir()
    (tmp_path / "real").mkdir()
    with pytest.raises(DatasetNotFoundError, match="no labelled video"):
        Folder().index(tmp_path)
