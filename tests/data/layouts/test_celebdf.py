from __future__ import annotations

from pathlib import Path

import pytest

from resgat_pl.core.errors import LayoutError
from resgat_pl.core.types import FAKE, REAL
from resgat_pl.data.layouts.celebdf import CelebDF
from resgat_pl.data.layouts.detect import detect_layout

from ...helpers.folders import touch

LIST = "List_of_testing_videos.txt"
VIDEOS = (
    "Celeb-real/id0_0000.mp4",
    "Celeb-real/id1_0000.mp4",
    "Celeb-real/id1_0001.mp4",
    "Celeb-real/id16_0011.mp4",
    "YouTube-real/00000.mp4",
    "YouTube-real/00170.mp4",
    "Celeb-synthesis/id0_id1_0000.mp4",
    "Celeb-synthesis/id1_id0_0000.mp4",
    "Celeb-synthesis/id16_id0_0012.mp4",
)


def write_list(root: Path, *lines: str) -> None:
    (root / LIST).write_text("\n".join(lines) + "\n")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    touch(tmp_path, *VIDEOS)
    write_list(tmp_path, "1 YouTube-real/00170.mp4", "1 Celeb-real/id0_0000.mp4", "0 Celeb-synthesis/id1_id0_0000.mp4")
    return tmp_path


def test_every_video_has_its_people_original_label_and_split(root: Path) -> None:
    assert isinstance(detect_layout(root), CelebDF)
    index = CelebDF().index(root)
    assert index.problems == ()
    assert {r.compression for r in index.records} == {""}
    assert {r.dataset for r in index.records} == {"celebdf"}
    assert all(r.kind == "video" and r.files[0].is_file() and r.files[0].is_absolute() for r in index.records)
    assert [(r.key, r.label, r.identities, r.original, r.official_split) for r in index.records] == [
        ("celebdf/Celeb-synthesis/-/id0_id1_0000", FAKE, ("id0", "id1"), "celebdf/original/-/id0_0000", None),
        # The clip of id0_id1 with the same number is another one: a fake is named after its target first.
        ("celebdf/Celeb-synthesis/-/id16_id0_0012", FAKE, ("id16", "id0"), "celebdf/original/-/id16_0012", None),
        ("celebdf/Celeb-synthesis/-/id1_id0_0000", FAKE, ("id1", "id0"), "celebdf/original/-/id1_0000", "test"),
        ("celebdf/original/-/00000", REAL, ("youtube 00000",), None, None),
        ("celebdf/original/-/00170", REAL, ("youtube 00170",), None, "test"),
        ("celebdf/original/-/id0_0000", REAL, ("id0",), None, "test"),
        ("celebdf/original/-/id16_0011", REAL, ("id16",), None, None),
        ("celebdf/original/-/id1_0000", REAL, ("id1",), None, None),
        ("celebdf/original/-/id1_0001", REAL, ("id1",), None, None),
    ]


def test_one_folder_is_enough(tmp_path: Path) -> None:
    for number, folder in enumerate(("Celeb-real/id0_0000", "YouTube-real/00000", "Celeb-synthesis/id0_id1_0000")):
        touch(tmp_path / str(number), f"{folder}.mp4")
        assert isinstance(detect_layout(tmp_path / str(number)), CelebDF)
        assert len(CelebDF().index(tmp_path / str(number)).records) == 1


def test_other_spelling_and_a_folder_of_videos(tmp_path: Path) -> None:
    touch(tmp_path, "Youtube-real/videos/00170.mp4", "Celeb-synthesis/videos/id0_id1_0000.mp4")
    write_list(tmp_path, "1 YouTube-real/00170.mp4", "0 Celeb-synthesis/videos/id0_id1_0000.mp4")
    index = CelebDF().index(tmp_path)
    assert index.problems == ()
    assert {(r.label, r.official_split) for r in index.records} == {(REAL, "test"), (FAKE, "test")}


def test_crops_of_deepfakebench_give_way_to_videos(root: Path) -> None:
    for number in (10, 9, 0):
        touch(root, f"Celeb-real/frames/id0_0000/{number}.png", f"Celeb-real/frames/id7_0000/{number}.png")
        touch(root, f"Celeb-synthesis/frames/id7_id9_0000/{number:03d}.png")
    touch(root, "Celeb-real/landmarks/id7_0000/000.npy")
    (root / "Celeb-real/frames/id8_0000").mkdir()
    index = CelebDF().index(root)
    by_video = {r.video: r for r in index.records}
    assert by_video["id0_0000"].kind == "video"
    assert by_video["id7_0000"].kind == by_video["id7_id9_0000"].kind == "crops"
    assert [path.name for path in by_video["id7_0000"].files] == ["0.png", "9.png", "10.png"]
    assert by_video["id7_id9_0000"].identities == ("id7", "id9")
    assert index.problems == ("Celeb-real: 1 folder (id8_0000) skipped, without an image",)


def test_strange_names_are_problem_lines(root: Path) -> None:
    expected = CelebDF().index(root).records
    touch(
        root,
        "Celeb-real/id0_id1_0000.mp4",
        "Celeb-real/id0_0000 (1).mp4",
        "Celeb-real/id0_000.mp4",
        "Celeb-real/.id0_0001.mp4",
        "Celeb-real/notes.txt",
        "YouTube-real/id0_0000.mp4",
        "Celeb-synthesis/id0_0000.mp4",
        "Celeb-synthesis/FaceSwap/BlendFace/id0_id1_0001.mp4",
    )
    index = CelebDF().index(root)
    assert index.records == expected
    assert index.problems == (
        "Celeb-real: 3 videos (id0_000, id0_0000 (1), id0_id1_0000) skipped, named unlike Celeb-DF",
        "Celeb-synthesis: 1 video (id0_0000) skipped, named unlike Celeb-DF",
        "Celeb-synthesis: 1 folder (FaceSwap) skipped, unknown to Celeb-DF v2",
        "YouTube-real: 1 video (id0_0000) skipped, named unlike Celeb-DF",
    )


@pytest.mark.parametrize(
    ("text", "problems", "test"),
    [
        (None, f"{LIST} missing from the root: no video has an official split", []),
        (
            "1 Celeb-real/id0_0000.mp4\n1 Celeb-real/id9_0000.mp4\n0 Celeb-synthesis/id9_id0_0000.mp4",
            f"2 videos (id9_id0_0000, id9_0000) of {LIST} not on disk",
            ["id0_0000"],
        ),
        (
            "\ufeff1 Celeb-real/id0_0000.mp4\r\n\r\n0  Celeb-synthesis/id0_id1_0000.mp4 \r\n",
            "",
            ["id0_id1_0000", "id0_0000"],
        ),
    ],
    ids=["missing", "videos not on disk", "Windows"],
)
def test_lists(root: Path, text: str | None, problems: str, test: list[str]) -> None:
    (root / LIST).unlink() if text is None else (root / LIST).write_bytes(text.encode())
    index = CelebDF().index(root)
    assert "".join(index.problems) == problems
    assert [r.video for r in index.records if r.official_split == "test"] == test


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("0 Celeb-real/id0_0000.mp4", r" says fake, but Celeb-real/ holds real .* 1 is real and 0 is fake: correct"),
        ("0 YouTube-real/00170.mp4", r" says fake, but YouTube-real/ holds real"),
        ("1 Celeb-synthesis/id0_id1_0000.mp4", r" says real, but Celeb-synthesis/ holds fake"),
        *(
            (line, ", expected .*Restore")
            for line in ("Celeb-real/id0_0000.mp4", "1", "2 Celeb-real/id0_0000.mp4", "1 id0_0000.mp4",
                         "1 Celeb-real/id0_0000", "1 Celebs/id0_0000.mp4", "1 /data/Celeb-real/id0_0000.mp4",
                         "1,Celeb-real/id0_0000.mp4")
        ),
    ],
)  # fmt: skip
def test_a_wrong_line_is_named(root: Path, line: str, words: str) -> None:
    write_list(root, "1 Celeb-real/id1_0000.mp4", "", line)
    with pytest.raises(LayoutError, match=rf"{LIST}, line 3: '{line}'{words}"):
        CelebDF().index(root)
