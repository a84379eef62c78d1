from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from jsonargparse import auto_cli

from resgat_pl.core.errors import DatasetNotFoundError, LayoutError
from resgat_pl.core.types import REAL, VideoRecord
from resgat_pl.data import layouts
from resgat_pl.data.layouts.base import CountRow, Layout, entries
from resgat_pl.data.layouts.celebdf import CelebDF
from resgat_pl.data.layouts.crop_lists import CropLists
from resgat_pl.data.layouts.detect import detect_layout
from resgat_pl.data.layouts.dfdc import DFDC
from resgat_pl.data.layouts.dfdc_preview import DFDCPreview
from resgat_pl.data.layouts.ffpp import FFPP
from resgat_pl.data.layouts.folder import Folder
from resgat_pl.data.layouts.pairs import Pairs
from resgat_pl.data.splits.known_people import has_known_people

from ...helpers.folders import touch

EXAMPLES: dict[type[Layout], str] = {
    FFPP: "original_sequences/youtube/c23/videos/000.mp4",
    DFDC: "dfdc_train_part_0/a.mp4",
    DFDCPreview: "dataset.json",
    CelebDF: "Celeb-real/id0_0000.mp4",
    CropLists: "TRAIN_CLIENT.txt",
    Folder: "real/a.mp4",
    Pairs: "original/a.mp4",
}


@pytest.mark.parametrize("kind", EXAMPLES)
def test_each_layout_is_distinguished_from_the_others(tmp_path: Path, kind: type[Layout]) -> None:
    assert set(EXAMPLES) == set(layouts.LAYOUTS)
    touch(tmp_path, EXAMPLES[kind], *{DFDCPreview: ["original_videos/a.mp4"], Pairs: ["fake/a.mp4"]}.get(kind, []))
    assert type(detect_layout(tmp_path)) is kind
    for other in set(EXAMPLES) - {kind}:
        with pytest.raises(DatasetNotFoundError, match=f"does not have the layout '{other.name}'"):
            other().index(tmp_path)


@pytest.mark.parametrize(
    ("kind", "folder"),
    [(FFPP, "original_sequences/youtube/c23/videos"), (CelebDF, "Celeb-real"), (Folder, "real"), (Folder, "fake")],
)
def test_a_layout_without_videos(tmp_path: Path, kind: type[Layout], folder: str) -> None:
    (tmp_path / folder).mkdir(parents=True)
    assert isinstance(detect_layout(tmp_path), kind)
    with pytest.raises(DatasetNotFoundError, match="no labelled video"):
        kind().index(tmp_path)


@pytest.mark.parametrize("content", [b"\xff\xfe1\x00", b"1 Celeb-real/id0_0000.mp4\n\0\0\0"])
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (FFPP, "splits/val.json"),
        (DFDC, "dfdc_train_part_0/metadata.json"),
        (DFDCPreview, "dataset.json"),
        (CelebDF, "List_of_testing_videos.txt"),
        (CropLists, "TRAIN_CLIENT.txt"),
    ],
)
def test_a_list_that_is_no_text_is_named(tmp_path: Path, kind: type[Layout], name: str, content: bytes) -> None:
    touch(tmp_path, EXAMPLES[kind], "original_videos/a.mp4", name)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(LayoutError, match=name):
        kind().index(tmp_path)


def test_two_layouts_at_once(tmp_path: Path) -> None:
    touch(tmp_path, EXAMPLES[FFPP], EXAMPLES[Folder])
    with pytest.raises(LayoutError, match="ffpp and folder"):
        detect_layout(tmp_path)
    assert [r.dataset for r in FFPP().index(tmp_path).records] == ["ffpp"]


@pytest.mark.parametrize("find", [detect_layout, *(kind().index for kind in EXAMPLES)])
def test_each_bad_root_has_its_own_words(tmp_path: Path, find: object) -> None:
    assert callable(find)
    (tmp_path / "data.zip").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").touch()
    for name, message in {
        "missing/deeper": rf"does not exist.* {tmp_path}, with empty/, other/, data\.zip",
        "data.zip": "is a file",
        "empty": "is empty",
        "other": r"letter\.txt",
    }.items():
        with pytest.raises(DatasetNotFoundError, match=message):
            find(tmp_path / name)


def test_message_says_what_was_looked_for_and_found(tmp_path: Path) -> None:
    touch(tmp_path, *[f"file{n:02d}" for n in range(30)])
    with pytest.raises(DatasetNotFoundError) as caught:
        detect_layout(tmp_path)
    for word in ("original_sequences", "dfdc_train_part", "Celeb-real", "TRAIN_CLIENT", "real/", "file00", "…"):
        assert word in str(caught.value)
    assert "file20" not in str(caught.value)
    assert "Did you mean" not in str(caught.value)


@pytest.mark.parametrize("given", [".", "ff/original_sequences"])
def test_root_that_is_one_level_off(tmp_path: Path, given: str) -> None:
    touch(tmp_path, "ff/" + EXAMPLES[FFPP])
    with pytest.raises(DatasetNotFoundError, match=rf"Did you mean {tmp_path / 'ff'}\?"):
        detect_layout(tmp_path / given)


def test_home_and_relative_roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "data/real/a.mp4")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    wanted = (tmp_path / "data/real/a.mp4",)
    assert Folder().index(Path("~/data")).records[0].files == wanted
    assert Folder().index(Path("data")).records[0].files == wanted


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", EXAMPLES)
def test_links_are_followed_and_loops_end(tmp_path: Path, kind: type[Layout]) -> None:
    disk, root = tmp_path / "disk", tmp_path / "root"
    touch(disk, *(["original/a.mp4", "fake/a.mp4"] if kind is Pairs else ["real/a.mp4"]))
    touch(disk, "original_sequences/youtube/c23/videos/000.mp4", "crops/a.mp4_face_0.jpg")
    touch(disk, "dfdc_train_part_0/a.mp4", EXAMPLES[CelebDF], "original_videos/1/a.mp4")
    (disk / "dataset.json").write_text('{"original_videos/1/a.mp4": {"label": "real", "set": "train", "target_id": 1}}')
    (disk / "dfdc_train_part_0/metadata.json").write_text('{"a.mp4": {"label": "REAL"}}')
    (disk / "TRAIN_CLIENT.txt").write_text("crops/a.mp4_face_0.jpg\n")
    root.symlink_to(disk)
    expected = [r.key for r in kind().index(disk).records]
    for place in list(disk.rglob("*/")):
        (place / "up").symlink_to(disk)
        (place / "here").symlink_to(place)
        (place / "self").symlink_to(place / "self")
    found = [r.key for r in kind().index(root).records]
    assert found == expected or (kind is Pairs and set(expected) < set(found))  # a folder in fake/ is a method


def test_unreadable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DatasetNotFoundError, match=r"cannot be read \(Permission denied\)"):
        entries(tmp_path)


def test_name_that_is_not_utf8(tmp_path: Path) -> None:
    touch(tmp_path, "real/a.mp4", "fake/a.mp4")
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/fake/\xe9.mp4")).touch()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    index = Folder().index(tmp_path)
    assert len(index.records) == 2
    assert len(index.problems) == 1
    assert index.problems[0].isascii()


def test_order_on_disk_does_not_matter(tmp_path: Path) -> None:
    names = [f"real/{n}.mp4" for n in range(20)] + [f"fake/{n}/{m}.png" for n in range(20) for m in range(12)]
    touch(tmp_path / "a", *names)
    touch(tmp_path / "b", *reversed(names))
    a, b = (Folder().index(tmp_path / name).records for name in "ab")
    assert [(r.key, [f.name for f in r.files]) for r in a] == [(r.key, [f.name for f in r.files]) for r in b]


def test_files_are_never_opened_or_examined_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, *[f"original_sequences/youtube/c23/videos/{n:03d}.mp4" for n in range(200)])
    calls = 0
    stat = os.stat

    def count(*args: object, **kwargs: object) -> os.stat_result:
        nonlocal calls
        calls += 1
        return stat(*args, **kwargs)  # type: ignore[arg-type]  # passes on whatever it was given

    monkeypatch.setattr(os, "stat", count)
    assert len(FFPP().index(tmp_path).records) == 200
    assert calls < 20


def test_counts_of_ffpp_tell_the_two_kinds_of_originals_apart(tmp_path: Path) -> None:
    touch(tmp_path, *[f"original_sequences/youtube/c23/videos/{n:03d}.mp4" for n in range(4)])
    touch(tmp_path, *[f"original_sequences/actors/c23/videos/{n:02d}__podium.mp4" for n in range(3)])
    touch(tmp_path, *[f"manipulated_sequences/FaceSwap/{c}/videos/000_001.mp4" for c in ("c23", "c40")])
    touch(tmp_path, "manipulated_sequences/Own/c40/videos/000_001.mp4", "manipulated_sequences/Own/c40/videos/odd.mp4")
    layout = FFPP(compressions=["c23", "c40"])
    rows = layout.compare_counts(layout.index(tmp_path).records)
    assert rows[:3] == [
        CountRow("original (youtube)", "c23", 4, 1000),
        CountRow("original (actors)", "c23", 3, 363),
        CountRow("Deepfakes", "c23", 0, 1000),
    ]
    assert [row for row in rows if row.found and row.compression == "c40"] == [
        CountRow("FaceSwap", "c40", 1, 1000),
        CountRow("Own", "c40", 1, None),
    ]
    assert {(row.method, row.compression) for row in rows} == {
        *((name, compression) for name in FFPP.published for compression in ("c23", "c40")),
        ("Own", "c40"),
    }
    chosen = FFPP(methods=["FaceSwap"], compressions=["c23"])
    assert chosen.compare_counts(chosen.index(tmp_path).records) == [
        CountRow("original (youtube)", "c23", 4, 1000),
        CountRow("FaceSwap", "c23", 1, 1000),
    ]


def test_counts_of_dfdc_are_of_the_training_parts(tmp_path: Path) -> None:
    for folder, names in {"dfdc_train_part_00": "rf", "train/dfdc_train_part_7": "stg"}.items():
        touch(tmp_path, *[f"{folder}/{name}.mp4" for name in names])
        labels = ",".join(f'"{name}.mp4": {{"label": "{"FAKE" if name in "fg" else "REAL"}"}}' for name in names)
        (tmp_path / folder / "metadata.json").write_text(f"{{{labels}}}")
    touch(tmp_path, "train_sample_videos/u.mp4")
    (tmp_path / "train_sample_videos/metadata.json").write_text('{"u.mp4": {"label": "REAL"}}')
    touch(tmp_path, "test/v.mp4")
    (tmp_path / "test/labels.csv").write_text("filename,label\nv.mp4,1\n")
    records = DFDC().index(tmp_path).records
    assert len(records) == 7
    assert DFDC().compare_counts(records) == [CountRow("original", "", 3, 19_154), CountRow("dfdc", "", 2, 100_000)]
    assert DFDC().compare_counts([r for r in records if r.part in ("test", "train_sample_videos")]) == []


def test_counts_of_celebdf_and_of_layouts_without_published_numbers(tmp_path: Path) -> None:
    touch(tmp_path / "celeb", "Celeb-real/id0_0000.mp4", "YouTube-real/00000.mp4")
    assert CelebDF().compare_counts(CelebDF().index(tmp_path / "celeb").records) == [
        CountRow("original", "", 2, 890),
        CountRow("Celeb-synthesis", "", 0, 5639),
    ]
    touch(tmp_path / "folder", "real/a.mp4", "real/b.mp4", "fake/swap/a.mp4")
    assert Folder().compare_counts(Folder().index(tmp_path / "folder").records) == [
        CountRow("original", "", 2, None),
        CountRow("swap", "", 1, None),
    ]
    assert Folder().compare_counts([]) == []


def pick(layout: Layout) -> Layout:
    """Be a command with a layout as its option."""
    return layout


def test_chosen_on_the_command_line(tmp_path: Path) -> None:
    options = ["--layout", "FFPP", "--layout.compressions", "[c23]", "--layout.splits", str(tmp_path)]
    layout = auto_cli(pick, args=options, as_positional=False)
    assert isinstance(layout, FFPP)
    assert (layout.compressions, layout.splits) == (["c23"], tmp_path)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["swapped/000_003.mp4", "clips/000.mp4"], "named like fakes of FaceForensics.*original_sequences/youtube"),
        (["some/x/y/z.mp4", "some/metadata.json"], "some/ holds a list of labels as DFDC has it.*beside their"),
        (["preview/dataset.json", "method_A/x.mp4"], "preview/ holds a dataset.json as the DFDC preview has it"),
        (["synthesis/id0_id1_0000.mp4"], "like fakes of Celeb-DF .*Celeb-synthesis/"),
        (["training_real/a.jpg", "training_fake/b.jpg"], "rename training_real/ to real/, training_fake/ to fake/,"),
        (["x/Original/a.mp4", "x/altered-1/a.mp4", "x/altered-2/a.mp4"], "x/ looks.*to fake/altered-1/.*altered-2/"),
    ],
)
def test_what_is_like_a_known_set_is_named_with_the_moves(tmp_path: Path, names: list[str], words: str) -> None:
    touch(tmp_path, *names)
    with pytest.raises(DatasetNotFoundError, match=words):
        detect_layout(tmp_path)


@pytest.mark.parametrize("inside", ["FF++", "data/FaceForensics++_C23"])
def test_a_set_in_other_folders_is_named(tmp_path: Path, inside: str) -> None:
    touch(tmp_path, f"{inside}/original/000.mp4", f"{inside}/Deepfakes/000_003.mp4")
    with pytest.raises(DatasetNotFoundError, match=rf"Did you mean {re.escape(str(tmp_path / inside))}\?"):
        detect_layout(tmp_path)


def test_who_is_in_the_videos_of_each_data_set() -> None:
    def known(dataset: str, *people: str) -> bool:
        return has_known_people(VideoRecord(dataset, "original", "", "v", REAL, "video", (), people))

    assert {kind.name for kind in layouts.LAYOUTS if kind.people} == {"ffpp", "celebdf", "dfdc_preview"}
    assert known("ffpp", "000")
    assert known("ffpp", "24")
    assert known("celebdf", "id0", "id1")
    assert not known("celebdf", "youtube 00000")
    assert known("dfdc_preview", "1401")
    assert not known("dfdc_preview", "v")
    assert not any(known(name, "000") for name in ("dfdc", "folder", "crop_lists", "a set of another program"))
    assert has_known_people(VideoRecord("folder", "original", "", "v", REAL, "video", (), ("v",), people=True))


def test_several_sets_side_by_side_are_all_named(tmp_path: Path) -> None:
    touch(tmp_path, "first/real/a.mp4", "second/real/a.mp4")
    with pytest.raises(DatasetNotFoundError, match="2 folders in it fit, each alone \\(first/, second/\\)"):
        detect_layout(tmp_path)
