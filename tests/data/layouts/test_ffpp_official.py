"""Which official split is taken, and the flat copies of mirrors."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from resgat_pl.core.errors import LayoutError
from resgat_pl.core.types import FAKE
from resgat_pl.data.layouts.base import Index
from resgat_pl.data.layouts.detect import detect_layout
from resgat_pl.data.layouts.ffpp import FFPP
from resgat_pl.data.layouts.ffpp_official import shipped
from resgat_pl.data.splits.protocols import OfficialSplit, StrictSplit

from ...helpers.folders import touch
from .test_ffpp import OFFICIAL, videos, write_splits

PAIRS = [("071", "054"), ("720", "672"), ("953", "974")]


def test_the_files_that_come_with_the_program() -> None:
    assert Counter(shipped().values()) == {"train": 720, "val": 140, "test": 140}
    assert shipped().keys() == {f"{number:03d}" for number in range(1000)}
    assert [shipped()[name] for name in ("071", "720", "953")] == ["train", "val", "test"]


def test_official_works_without_a_hunt_for_files(tmp_path: Path) -> None:
    for pair in PAIRS:
        touch(tmp_path, *videos("c23", pair))
    index = FFPP().index(tmp_path)
    assert index.problems == ()
    assert {r.official_split for r in index.records} == {"train", "val", "test"}
    assert all(r.official_split == shipped()[r.identities[0]] for r in index.records)
    official = OfficialSplit().assign(index.records)
    assert official == {r.key: r.official_split for r in index.records} == StrictSplit().assign(index.records)


def official_of(index: Index) -> set[str | None]:
    return {record.official_split for record in index.records}


def test_a_part_that_it_cannot_divide_is_divided_otherwise(tmp_path: Path) -> None:
    touch(tmp_path, *videos("c23", PAIRS[0]))
    index = FFPP().index(tmp_path)
    assert official_of(index) == {None}
    assert any("is not taken: of the 2 real videos of YouTube clips it has none in test" in p for p in index.problems)
    touch(tmp_path, *videos("c23", PAIRS[2]))
    assert official_of(FFPP().index(tmp_path)) == {"train", "test"}


def test_a_whole_part_is_what_it_is(tmp_path: Path) -> None:
    tests = [name for name, split in shipped().items() if split == "test"]
    touch(tmp_path, *[f"original_sequences/youtube/c23/videos/{name}.mp4" for name in tests[:80]])
    assert official_of(FFPP().index(tmp_path)) == {"test"}


def test_fakes_of_other_pairs_are_another_data_set(tmp_path: Path) -> None:
    for a, b in zip(range(0, 20, 2), range(1, 20, 2), strict=True):
        touch(tmp_path, *videos("c23", (f"{a:03d}", f"{b:03d}")))
    index = FFPP().index(tmp_path)
    assert official_of(index) == {None}
    assert any("of pairs that it does not have" in line for line in index.problems)


def test_own_files_win_and_contradictions_are_said(tmp_path: Path) -> None:
    for pair in PAIRS:
        touch(tmp_path, *videos("c23", pair))
    write_splits(tmp_path / "splits", train=OFFICIAL["test"], val=OFFICIAL["val"], test=OFFICIAL["train"])
    index = FFPP().index(tmp_path)
    assert {r.official_split for r in index.records if "071" in r.identities} == {"test"}
    (line,) = index.problems
    assert line.startswith("4 ids (054, 071, 953, …) in another split of ")
    assert "not comparable" in line


MIRROR = ["original", "Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter"]


def flat(root: Path, *folders: str, inside: str = "") -> None:
    for folder in folders:
        for a, b in PAIRS:
            names = (a, b) if folder.lower() == "original" else (f"{a}_{b}", f"{b}_{a}")
            touch(root, *[f"{folder}/{inside}{name}.mp4" for name in names])


@pytest.mark.parametrize("inside", ["", "videos/", "c23/videos/"])
def test_flat_copies_are_taken(tmp_path: Path, inside: str) -> None:
    flat(tmp_path, *MIRROR, inside=inside)
    touch(tmp_path, "csv/original.csv", "DeepFakeDetection/" + inside + "01_02__podium__ABCDEFGH.mp4")
    assert isinstance(detect_layout(tmp_path), FFPP)
    index = FFPP().index(tmp_path)
    assert index.problems == ()
    assert len(index.records) == 6 * len(MIRROR) + 1
    compression = "c23" if "c23" in inside else ""
    assert {r.compression for r in index.records} == {compression}
    by_key = {r.key: r for r in index.records}
    fake = by_key[f"ffpp/NeuralTextures/{compression or '-'}/071_054"]
    assert (fake.label, fake.identities, fake.official_split) == (FAKE, ("071", "054"), "train")
    assert fake.original in by_key


def test_the_compression_of_a_flat_copy_is_what_the_user_says(tmp_path: Path) -> None:
    flat(tmp_path, "original", "Deepfakes")
    named = FFPP(compressions=["c23"]).index(tmp_path).records
    assert {r.compression for r in named} == {"c23"}
    assert {r.original for r in named if r.label == FAKE} <= {r.key for r in named}
    with pytest.raises(LayoutError, match=r"one that is not known: name one alone"):
        FFPP(compressions=["c23", "c40"]).index(tmp_path)
    with pytest.raises(LayoutError, match=r"No compression c99: .*raw, c23 and c40"):
        FFPP(compressions=["c99"]).index(tmp_path)


def test_other_spellings_and_what_is_not_known(tmp_path: Path) -> None:
    flat(tmp_path, "Original", "deepfakes", "neural_textures")
    touch(tmp_path, "attributes/x.mp4")
    index = FFPP().index(tmp_path)
    assert {r.method for r in index.records} == {"original", "Deepfakes", "NeuralTextures"}
    assert [line for line in index.problems if "attributes" in line]
    assert {r.method for r in FFPP(methods=["Deepfakes"]).index(tmp_path).records} == {"original", "Deepfakes"}


def test_folders_of_pictures_need_to_say_what_they_hold(tmp_path: Path) -> None:
    flat(tmp_path, "original")
    touch(tmp_path, "Deepfakes/071_054/0.png", "Deepfakes/953_974/0.png")
    assert any("2 folders (071_054, 953_974) not taken: put them into" in p for p in FFPP().index(tmp_path).problems)


def test_the_fakes_alone_name_the_folder_above(tmp_path: Path) -> None:
    touch(tmp_path, *videos("c23", PAIRS[0]))
    assert not FFPP().matches(tmp_path / "manipulated_sequences")
