from __future__ import annotations

from pathlib import Path

import pytest

from resgat_pl.core.errors import DatasetNotFoundError
from resgat_pl.core.types import FAKE, REAL
from resgat_pl.data.layouts.detect import detect_layout
from resgat_pl.data.layouts.folder import Folder
from resgat_pl.data.layouts.pairs import Pairs

from ...helpers.folders import touch


def test_images_and_methods(tmp_path: Path) -> None:
    touch(
        tmp_path, "original/a.png", "original/b.jpg", "fake/a.png", "fake/swap/a.png", "fake/swap/b.png", "mask/a.png",
        "mask/swap/b.png", "fake/notes.txt",
    )  # fmt: skip
    index = Pairs().index(tmp_path)
    records = {record.key: record for record in index.records}
    assert set(records) == {
        "pairs/original/-/a", "pairs/original/-/b", "pairs/fake/-/a", "pairs/swap/-/a", "pairs/swap/-/b",
    }  # fmt: skip
    for key, record in records.items():
        assert record.official_split == "test"
        assert record.label == (REAL if "original" in key else FAKE)
        assert record.kind == "frames"
        assert record.identities == (record.video,)
        assert record.pairing == ("given" if record.label == REAL else "aligned")
        assert record.original == (None if record.label == REAL else f"pairs/original/-/{record.video}")
    assert records["pairs/fake/-/a"].mask == tmp_path / "mask/a.png"
    assert records["pairs/swap/-/b"].mask == tmp_path / "mask/swap/b.png"
    assert records["pairs/swap/-/a"].mask is None
    assert index.problems == ()


def test_videos_named_after_their_original(tmp_path: Path) -> None:
    """As in FaceForensics++, with masks as videos."""
    touch(tmp_path, "original/004.mp4", "fake/NT/004_982.mp4", "mask/NT/004_982.mp4", "original/004_9.mp4")
    records = {record.video: record for record in Pairs().index(tmp_path).records if record.label == FAKE}
    assert records["004_982"].original == "pairs/original/-/004"
    assert records["004_982"].kind == "video"
    assert records["004_982"].mask == tmp_path / "mask/NT/004_982.mp4"


def test_folders_of_frames(tmp_path: Path) -> None:
    frames = [
        f"{place}/{n}.png" for n in (0, 1) for place in ("original/a", "fake/a", "mask/a", "fake/m/a", "mask/m/a")
    ]
    touch(tmp_path, *frames)
    records = {record.key: record for record in Pairs().index(tmp_path).records}
    assert set(records) == {"pairs/original/-/a", "pairs/fake/-/a", "pairs/m/-/a"}
    assert [len(record.files) for record in records.values()] == [2, 2, 2]
    assert records["pairs/m/-/a"].mask == tmp_path / "mask/m/a"


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    touch(
        tmp_path, "original/a.png", "fake/a.png", "fake/swap/z.png", "mask/q.png", "fake/a.jpg", "original/none/x.txt"
    )
    index = Pairs().index(tmp_path)
    assert [record.key for record in index.records] == ["pairs/fake/-/a", "pairs/original/-/a"]
    said = "\n".join(index.problems)
    assert "1 fake (swap/z) skipped, without an original of the same name" in said
    assert "1 mask (mask/q) skipped, without a fake" in said
    assert "1 file (a.png) skipped, another one has its name" in said
    assert "1 folder (none) skipped, without an image" in said


def test_detection(tmp_path: Path) -> None:
    touch(tmp_path, "pairs/Original/a.png", "pairs/fake/a.png", "folder/real/a.png", "folder/fake/a.png")
    touch(tmp_path, "folder/original/a.png")
    assert type(detect_layout(tmp_path / "pairs")) is Pairs
    assert type(detect_layout(tmp_path / "folder")) is Folder
    with pytest.raises(DatasetNotFoundError, match="pairs"):
        Pairs().index(tmp_path / "folder")


def test_cropped_faces_are_used_as_they_are(tmp_path: Path) -> None:
    touch(tmp_path, "original/a.png", "fake/a.png", "original/b.mp4", "fake/b.mp4")
    kinds = {record.key: record.kind for record in Pairs(cropped=True).index(tmp_path).records}
    assert kinds == {
        "pairs/fake/-/a": "crops", "pairs/original/-/a": "crops", "pairs/fake/-/b": "video",
        "pairs/original/-/b": "video",
    }  # fmt: skip
