from __future__ import annotations

from pathlib import Path

import pytest

from resgat_pl.core.errors import LayoutError
from resgat_pl.core.types import FAKE, REAL
from resgat_pl.data.layouts.crop_lists import CropLists
from resgat_pl.data.layouts.detect import detect_layout


def crops(folder: Path, video: str, *numbers: int) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{video}.mp4_face_{number}.jpg" for number in numbers]
    for name in names:
        (folder / name).touch()
    return names


def write(root: Path, **lists: list[str]) -> None:
    root.mkdir(exist_ok=True)
    for name, lines in lists.items():
        (root / f"{name}.txt").write_text("\n".join(lines) + "\n")


def test_crops_are_grouped_by_video_in_order(tmp_path: Path) -> None:
    real, fake = crops(tmp_path / "client", "aa", *range(12, -1, -1)), crops(tmp_path / "imposter", "bb", 1, 0)
    write(
        tmp_path,
        TRAIN_CLIENT=[f"client/{name}" for name in real],
        TRAIN_IMPOSTER=["", *[f"./imposter/{name} " for name in fake]],
    )
    assert isinstance(detect_layout(tmp_path), CropLists)
    index = CropLists().index(tmp_path)
    assert index.problems == ()
    assert [(r.key, r.label, r.kind, r.identities, r.official_split) for r in index.records] == [
        ("crop_lists/fake/-/bb@train", FAKE, "crops", ("bb",), "train"),
        ("crop_lists/original/-/aa@train", REAL, "crops", ("aa",), "train"),
    ]
    assert [path.name for path in index.records[1].files] == [f"aa.mp4_face_{n}.jpg" for n in range(13)]
    assert all(path.is_file() and path.is_absolute() for r in index.records for path in r.files)


def test_absolute_paths_and_paths_out_of_the_root(tmp_path: Path) -> None:
    """Which are taken if the user says so."""
    (name,) = crops(tmp_path / "elsewhere", "aa", 0)
    root = tmp_path / "root"
    for line in (str(tmp_path / "elsewhere" / name), f"../elsewhere/{name}", (tmp_path / "elsewhere" / name).as_uri()):
        write(root, TRAIN_CLIENT=["", line])
        with pytest.raises(LayoutError, match=rf"TRAIN_CLIENT\.txt, line 2, names '{line}', .*allow_outside true"):
            CropLists().index(root)
        index = CropLists(allow_outside=True).index(root)
        assert index.records[0].files == ((tmp_path / "elsewhere").resolve() / name,)
    write(root, TRAIN_CLIENT=[str(tmp_path / "elsewhere" / name), f"../elsewhere/{name}"])
    problems = CropLists(allow_outside=True).index(root).problems
    assert "TRAIN_CLIENT.txt: 1 lines repeat an image and are skipped" in problems


def test_absolute_paths_that_lead_into_the_root(tmp_path: Path) -> None:
    """By its name, by that of a link to it, and by links in it, which are the user's."""
    root, place = tmp_path / "root", tmp_path / "big disk"
    a, b = crops(root / "a", "aa", 0, 1)
    (c,) = crops(place, "aa", 2)
    (root / "b").symlink_to(place)
    (tmp_path / "link").symlink_to(root)
    write(root, TRAIN_CLIENT=[str(root / "a" / a), f"{tmp_path}/link/a/../a/{b}", f"b/{c}", f"{root}/b/{c}"])
    for given in (root, tmp_path / "link"):
        assert [path.name for path in CropLists().index(given).records[0].files] == [a, b, c]
    write(root, TRAIN_CLIENT=[f"b/../{place.name}/{c}"])  # what .. is depends on where the link leads
    with pytest.raises(LayoutError, match="not below"):
        CropLists().index(root)


def test_a_video_on_train_and_test_lists_is_two_records_of_one_person(tmp_path: Path) -> None:
    a = crops(tmp_path, "aa", 0, 1, 2)
    write(tmp_path, TRAIN_CLIENT=a[:2], TEST_CLIENT=a[1:])
    index = CropLists().index(tmp_path)
    train, test = sorted(index.records, key=lambda r: r.official_split == "test")
    assert (train.official_split, test.official_split) == ("train", "test")
    assert train.identities == test.identities == ("aa",)
    assert train.key != test.key
    assert f"1 image ({tmp_path.resolve() / a[1]}) on both TRAIN_CLIENT.txt and TEST_CLIENT.txt" in index.problems


def test_missing_strange_and_empty(tmp_path: Path) -> None:
    names = crops(tmp_path, "aa", 0)
    (tmp_path / "portrait.jpg").touch()
    write(tmp_path, TRAIN_CLIENT=[*names, "gone.mp4_face_0.jpg", "no/folder.mp4_face_0.jpg", "portrait.jpg"])
    write(tmp_path, TEST_IMPOSTER=[])
    index = CropLists().index(tmp_path)
    assert len(index.records) == 1
    assert index.problems == (
        "TRAIN_CLIENT.txt: 2 images (gone.mp4_face_0.jpg, no/folder.mp4_face_0.jpg) not on disk",
        "TEST_IMPOSTER.txt is empty",
        "TRAIN_CLIENT.txt: 1 image (portrait.jpg) skipped, not named <video>.mp4_face_<n>.jpg",
        "no fake video found",
    )


def test_lists_of_nothing_and_of_one_image_as_real_and_fake(tmp_path: Path) -> None:
    write(tmp_path, TRAIN_CLIENT=["else.mp4_face_0.jpg"])
    with pytest.raises(LayoutError, match=r"TRAIN_CLIENT\.txt names 1 image .*relative to"):
        CropLists().index(tmp_path)
    names = crops(tmp_path, "aa", 0)
    write(tmp_path, TRAIN_CLIENT=names, TEST_IMPOSTER=names)
    with pytest.raises(LayoutError, match=r"TRAIN_CLIENT\.txt and TEST_IMPOSTER\.txt .*aa\.mp4_face_0\.jpg"):
        CropLists().index(tmp_path)
