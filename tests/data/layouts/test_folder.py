from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.types import FAKE, REAL
from resgat_pl.data.layouts import same_files
from resgat_pl.data.layouts.base import Index
from resgat_pl.data.layouts.folder import Folder
from resgat_pl.data.splits.leakage import Leak, find_leaks
from resgat_pl.data.splits.protocols import StrictSplit

from ...helpers.folders import touch


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
    found = {}
    for pairs in ("auto", "names", "none"):
        records = {record.key: record for record in Folder(pairs=pairs).index(tmp_path).records}
        fake, alone = records["folder/gan/-/00001"], records["folder/gan/-/00002"]
        found[pairs] = fake.original, fake.identities, fake.pairing
        assert (alone.original, alone.pairing) == (None, "given")
        assert records["folder/original/-/00001"].identities == ("00001",)
    assert found == {
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
    assert {r.identities for r in index.records} == {(r.video,) for r in index.records}, "empty files are not compared"
    assert index.problems == (
        "1 name (1) in more than one split, with other content: taken for other files. If these show the same people, "
        "it leaks",
    )
    by_person = Folder(people=True).index(tmp_path)
    assert {r.identities for r in by_person.records} == {("1",), ("2",)}
    assert {leak.kind for leak in prescribed(by_person)} == {"identity"}


def prescribed(index: Index) -> list[Leak]:
    sides = np.array([record.official_split or "" for record in index.records])
    return find_leaks(index.records, np.arange(len(sides)), sides)


def write(root: Path, **content: bytes) -> None:
    for name, data in content.items():
        path = root / name.replace("__", "/").replace("_jpg", ".jpg").replace("_mp4", ".mp4")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def test_one_file_in_several_splits_is_tied_and_another_of_its_name_is_not(tmp_path: Path) -> None:
    write(tmp_path, train__real__a_jpg=b"a" * 99, valid__real__a_jpg=b"a" * 99, test__real__a_jpg=b"a" * 99)
    write(tmp_path, train__real__b_jpg=b"1" * 99, test__real__b_jpg=b"2" * 99, train__fake__c_jpg=b"1234")
    write(tmp_path, test__fake__c_jpg=b"123")
    index = Folder().index(tmp_path)
    tied = {record.video for record in index.records if len(record.identities) > 1}
    assert tied == {"a@train", "a@val", "a@test"}
    leaks = prescribed(index)
    assert [(leak.kind, leak.splits) for leak in leaks] == [
        ("duplicate", ("train", "val")), ("duplicate", ("train", "test")), ("duplicate", ("val", "test"))
    ]  # fmt: skip
    assert {name.split(" ")[0] for leak in leaks for name in leak.names} == {"folder/a"}
    assert index.problems == (
        "1 file (a) in more than one split, with the same content: these leak",
        "2 names (b, c) in more than one split, with other content: taken for other files. If these show the same "
        "people, it leaks",
    )
    chosen = StrictSplit().assign(index.records)
    assert chosen["folder/original/-/b@train"] == "train", "its name does not cost it its place"
    assert {key for key in chosen if "/a@" in key} == {"folder/original/-/a@test"}


def test_one_file_that_is_called_real_and_fake(tmp_path: Path) -> None:
    write(tmp_path, train__real__a_jpg=b"same", test__fake__a_jpg=b"same")
    assert any("both in real/ and in fake/" in line for line in Folder().index(tmp_path).problems)


@pytest.mark.parametrize("changed", [0, 3, 999])
def test_large_files_are_compared_throughout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: int) -> None:
    monkeypatch.setattr(same_files, "_WHOLE", 640)
    other = bytearray(b"x" * 1000)
    other[changed] = 0
    write(tmp_path, train__real__a_mp4=b"x" * 1000, test__real__a_mp4=bytes(other))
    assert prescribed(Folder().index(tmp_path)) == []
    write(tmp_path, test__real__a_mp4=b"x" * 1000)
    assert [leak.kind for leak in prescribed(Folder().index(tmp_path))] == ["duplicate"]


def test_folders_of_frames_are_the_same_if_all_are(tmp_path: Path) -> None:
    for split, last in (("train", b"3"), ("val", b"3"), ("test", b"4")):
        for number, data in enumerate((b"1", b"2", last)):
            write(tmp_path, **{f"{split}__real__clip__{number}_jpg": data})
    assert [leak.splits for leak in prescribed(Folder().index(tmp_path))] == [("train", "val")]


def test_odd_things_are_problem_lines(tmp_path: Path) -> None:
    touch(tmp_path, "real/a.mp4", "real/a.avi", "real/deep/er/0.png", "real/.hidden/0.png")
    (tmp_path / "fake").mkdir()
    index = Folder().index(tmp_path)
    assert [(r.video, r.files[0].name, r.identities) for r in index.records] == [
        ("a.avi", "a.avi", ("a",)),
        ("a.mp4", "a.mp4", ("a",)),
    ]
    assert index.problems == (
        f"{tmp_path.name}/real: 1 folder (deep) skipped, without an image",
        "no fake video found",
    )


def test_videos_in_folders_below_real_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "real/a.mp4", "real/more/b.mkv", "fake/c.mp4")
    expected = f"{tmp_path.name}/real: 1 folder (more) skipped with the videos in it: move these up"
    assert expected in Folder().index(tmp_path).problems


def test_files_of_one_stem_are_all_taken_and_paired_by_suffix_or_kind(tmp_path: Path) -> None:
    touch(tmp_path, "real/1.jpg", "real/1.png", "real/1.mp4", "real/2.png", "real/2.mp4")
    touch(tmp_path, "fake/1.jpg", "fake/1.png", "fake/swap/1.mp4", "fake/swap/2.avi", "fake/gan/2.jpg")
    records = Folder().index(tmp_path).records
    assert len(records) == 10
    assert {r.key: r.original for r in records if r.label == FAKE} == {
        "folder/fake/-/1.jpg": "folder/original/-/1.jpg",
        "folder/fake/-/1.png": "folder/original/-/1.png",
        "folder/swap/-/1": "folder/original/-/1.mp4",
        "folder/swap/-/2": "folder/original/-/2.mp4",
        "folder/gan/-/2": "folder/original/-/2.png",
    }
    assert {r.identities for r in records} == {("1",), ("2",)}, "one name stays in one split"


def test_a_fake_may_be_named_after_the_beginning_of_its_name(tmp_path: Path) -> None:
    touch(tmp_path, "real/000.mp4", "real/003.mp4", "real/Müller 1 (1).mp4", "real/img.mp4")
    touch(tmp_path, "fake/swap/000_003.mp4", "fake/Müller 1 (1)-fake.mp4", "fake/0000.mp4", "fake/004_000.mp4")
    touch(tmp_path, *(f"fake/img_{number}.mp4" for number in range(21)))
    for pairs in ("auto", "names"):
        fakes = {r.video: r for r in Folder(pairs=pairs).index(tmp_path).records if r.label == FAKE}
        suggested = {name: (r.identities, r.pairing) for name, r in fakes.items() if r.original is not None}
        expected = {"000_003": (("000",), "name"), "Müller 1 (1)-fake": (("Müller 1 (1)",), "name")}
        assert suggested == (expected if pairs == "auto" else {}), "a series, or a number within, suggests nothing"


def test_what_is_beside_real_and_fake_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "Training/real/a.png", "Training/fake/b.png", "Testing/real/c.png", "Testing/synthetic/d/0.png")
    touch(tmp_path, "dev/fake/e.png", "more/f.png", "csv/list.csv", "masks/readme.txt")
    index = Folder().index(tmp_path)
    assert {r.official_split for r in index.records} == {"train", "val", "test"}
    assert len(index.records) == 4
    assert [line for line in index.problems if "not taken" in line] == [
        "2 folders (more, Testing/synthetic) with images or videos not taken: no real/ or fake/ of a split"
    ]
