from __future__ import annotations

import json
from pathlib import Path

import pytest

from resgat_pl.core.errors import LayoutError, SplitError
from resgat_pl.core.types import FAKE, REAL
from resgat_pl.data.layouts.ffpp import FFPP

from ...helpers.folders import touch

METHODS = ["Deepfakes", "Face2Face", "FaceShifter", "FaceSwap", "NeuralTextures"]
SCENE = "outside_talking_still_laughing"
DFD = f"24_23__{SCENE}__YR5OVD4S"


def videos(compression: str, ids: tuple[str, str], methods: list[str] = METHODS) -> list[str]:
    a, b = ids
    reals = [f"original_sequences/youtube/{compression}/videos/{name}.mp4" for name in ids]
    fakes = [
        f"manipulated_sequences/{m}/{compression}/videos/{pair}.mp4"
        for m in methods
        for pair in (f"{a}_{b}", f"{b}_{a}")
    ]
    return reals + fakes


def actors(compression: str) -> list[str]:
    return [
        f"original_sequences/actors/{compression}/videos/24__{SCENE}.mp4",
        f"manipulated_sequences/DeepFakeDetection/{compression}/videos/{DFD}.mp4",
    ]


def write_splits(folder: Path, **pairs: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for split, value in pairs.items():
        (folder / f"{split}.json").write_text(json.dumps(value))


OFFICIAL = {"train": [["071", "054"]], "val": [["720", "672"]], "test": [["953", "974"]]}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for pair in (("071", "054"), ("720", "672"), ("953", "974")):
        touch(tmp_path, *videos("c23", pair))
    touch(tmp_path, *actors("c23"))
    return tmp_path


def test_every_video_has_its_people_original_and_label(root: Path) -> None:
    index = FFPP().index(root)
    assert index.problems == ()
    assert len(index.records) == 6 + 6 * len(METHODS) + 2
    assert [r.key for r in index.records] == sorted({r.key for r in index.records})
    by_key = {r.key: r for r in index.records}
    for record in index.records:
        assert record.kind == "video"
        assert record.files[0].is_file()
        assert record.files[0].is_absolute()
        assert record.part == ""
        assert (record.label == REAL) == (record.method == "original") == (record.original is None)
        if record.label == FAKE:
            assert record.original is not None
            target = by_key[record.original]
            assert target.label == REAL
            assert target.compression == record.compression
            assert target.identities == record.identities[:1]
            assert record.video.startswith("_".join(record.identities))
    assert by_key["ffpp/Face2Face/c23/054_071"].identities == ("054", "071")
    assert by_key["ffpp/Face2Face/c23/054_071"].original == "ffpp/original/c23/054"
    assert by_key[f"ffpp/DeepFakeDetection/c23/{DFD}"].original == f"ffpp/original/c23/24__{SCENE}"


@pytest.mark.parametrize("folder", ["raw", "c0"])
def test_c0_is_raw(tmp_path: Path, folder: str) -> None:
    touch(tmp_path, *videos(folder, ("071", "054")))
    for layout in (FFPP(), FFPP(compressions=["raw"]), FFPP(compressions=["c0"])):
        assert {r.compression for r in layout.index(tmp_path).records} == {"raw"}


def test_several_compressions_must_be_chosen_from(root: Path) -> None:
    touch(root, *videos("c40", ("071", "054")))
    with pytest.raises(LayoutError, match=r"c23, c40: choose with `compressions`"):
        FFPP().index(root)
    with pytest.raises(LayoutError, match=r"compression raw: there are c23, c40"):
        FFPP(compressions=["raw"]).index(root)
    c40 = FFPP(compressions=["c40"]).index(root)
    assert {r.compression for r in c40.records} == {"c40"}
    assert all(r.original is None or "/c40/" in r.original for r in c40.records)
    assert any("DeepFakeDetection has nothing in compression c40" in line for line in c40.problems)
    both = FFPP(compressions=["c23", "c40"]).index(root).records
    assert len(both) == len(c40.records) + len(FFPP(compressions=["c23"]).index(root).records)


def test_empty_compression_folder_does_not_count(root: Path) -> None:
    (root / "original_sequences/youtube/c40/videos").mkdir(parents=True)
    assert {r.compression for r in FFPP().index(root).records} == {"c23"}


def test_methods_bring_their_originals_along(root: Path) -> None:
    chosen = FFPP(methods=["FaceSwap"]).index(root).records
    assert {r.method for r in chosen} == {"original", "FaceSwap"}
    assert {len(r.identities[0]) for r in chosen} == {3}
    dfd = FFPP(methods=["DeepFakeDetection"]).index(root).records
    assert sorted(r.video for r in dfd) == [DFD, f"24__{SCENE}"]
    with pytest.raises(LayoutError, match=r"No method faceswap .* Deepfakes, .*Correct `methods`"):
        FFPP(methods=["faceswap"]).index(root)


def test_official_split_goes_by_id_to_every_method(root: Path) -> None:
    write_splits(root / "splits", **OFFICIAL)
    wanted = {name: split for split, pairs in OFFICIAL.items() for pair in pairs for name in pair}
    index = FFPP().index(root)
    assert index.problems == ()
    for record in index.records:
        for name in record.identities:
            assert record.official_split == wanted.get(name)  # the actors have none


@pytest.mark.parametrize("place", ["splits", ".", "elsewhere"])
def test_places_of_the_split_files(root: Path, tmp_path_factory: pytest.TempPathFactory, place: str) -> None:
    folder = tmp_path_factory.mktemp("json") if place == "elsewhere" else root / place
    write_splits(folder, **OFFICIAL)
    layout = FFPP(splits=folder) if place == "elsewhere" else FFPP()
    assert {r.official_split for r in layout.index(root).records} == {"train", "val", "test", None}


def test_named_splits_win_and_must_exist(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    write_splits(root / "splits", **OFFICIAL)
    other = tmp_path_factory.mktemp("json")
    with pytest.raises(LayoutError, match="correct `splits`"):
        FFPP(splits=other).index(root)
    write_splits(other, train=OFFICIAL["test"], val=[], test=OFFICIAL["train"])
    by_video = {r.video: r.official_split for r in FFPP(splits=other).index(root).records}
    assert by_video["071"] == "test"
    assert by_video["720"] is None


@pytest.mark.parametrize("text", ["[[", '{"train": []}', '[["071"]]', "[[71, 54]]", '["071_054"]', "null"])
def test_malformed_split_file_is_named(root: Path, text: str) -> None:
    write_splits(root / "splits", **OFFICIAL)
    (root / "splits" / "val.json").write_text(text)
    with pytest.raises(LayoutError, match=r"val\.json"):
        FFPP().index(root)


def test_id_in_two_splits_is_named(root: Path) -> None:
    write_splits(root / "splits", **{**OFFICIAL, "test": [["953", "071"]]})
    with pytest.raises(SplitError, match=r"id 071 is in both train\.json and .*test\.json"):
        FFPP().index(root)


def test_partial_downloads_are_problem_lines(root: Path) -> None:
    write_splits(root / "splits", train=[*OFFICIAL["train"], ["111", "112"]], test=OFFICIAL["test"])
    index = FFPP().index(root)
    assert any("2 ids (111, 112) of the official split not on disk" in line for line in index.problems)
    assert any("val.json missing" in line for line in index.problems)
    assert {r.official_split for r in index.records if "720" in r.identities} == {None}


def test_fake_across_splits_has_no_official_split(root: Path) -> None:
    write_splits(root / "splits", **OFFICIAL)
    touch(root, "manipulated_sequences/FaceSwap/c23/videos/071_953.mp4")
    index = FFPP().index(root)
    assert [r.official_split for r in index.records if r.video == "071_953"] == [None]
    assert any("071_953" in line for line in index.problems)


def test_masks_lie_beside_the_compressions(root: Path) -> None:
    touch(
        root,
        "manipulated_sequences/Deepfakes/masks/videos/071_054.mp4",
        "manipulated_sequences/Deepfakes/masks/videos/111_112.mp4",
    )
    index = FFPP().index(root)
    masked = [r for r in index.records if r.mask]
    assert [r.key for r in masked] == ["ffpp/Deepfakes/c23/071_054"]
    assert masked[0].mask == root / "manipulated_sequences/Deepfakes/masks/videos/071_054.mp4"
    assert [line for line in index.problems if "mask" in line] == [
        "manipulated_sequences/Deepfakes: 1 mask (111_112) without a video"
    ]


def test_frames_and_crops_and_which_form_wins(root: Path) -> None:
    base = "manipulated_sequences/Deepfakes/c23"
    touch(root, "manipulated_sequences/Deepfakes/masks/videos/100_101.mp4")
    touch(root, "manipulated_sequences/Deepfakes/masks/videos/102_103.mp4")
    for number in (10, 9, 0):
        touch(root, f"{base}/images/100_101/{number}.png", f"{base}/frames/100_101/{number:03d}.png")
        touch(root, f"{base}/frames/102_103/{number:03d}.png", f"{base}/images/071_054/{number:04d}.png")
    (root / base / "images" / "102_103").mkdir()  # empty: the crops must still be found
    index = FFPP().index(root)
    by_video = {r.video: r for r in index.records if r.method == "Deepfakes"}
    assert by_video["071_054"].kind == "video"
    assert by_video["100_101"].kind == "frames"
    assert [path.name for path in by_video["100_101"].files] == ["0.png", "9.png", "10.png"]
    assert by_video["100_101"].mask is not None
    assert by_video["102_103"].kind == "crops"
    assert by_video["102_103"].mask is None  # the mask video is in full-frame pixels
    assert any("102_103) skipped, without an image" in line for line in index.problems)


def test_strange_names_are_problem_lines(root: Path) -> None:
    expected = FFPP().index(root).records
    touch(
        root,
        "original_sequences/youtube/c23/videos/copy of 071.mp4",
        "original_sequences/other/c23/videos/071.mp4",
        "manipulated_sequences/FaceSwap/c23/videos/071.mp4",
        "manipulated_sequences/FaceSwap/c23/videos/071_054.txt",
        "manipulated_sequences/FaceSwap/c23/videos/._071_054.mp4",
        "manipulated_sequences/DeepFakeDetection/c23/videos/24_23__scene.mp4",
    )
    index = FFPP().index(root)
    assert index.records == expected
    assert len(index.problems) == 4


def test_one_class_only(tmp_path: Path) -> None:
    touch(tmp_path, "original_sequences/youtube/c23/videos/071.mp4")
    assert [line for line in FFPP().index(tmp_path).problems if "official" not in line] == ["no fake video found"]
