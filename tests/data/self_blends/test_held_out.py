from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from resgat_pl.cli.main import main
from resgat_pl.core.errors import ConfigError, SplitError
from resgat_pl.data.loading.dataset import FaceCrops
from resgat_pl.data.manifest.table import Manifest, rows_to_table
from resgat_pl.data.self_blends.blender import Pair
from resgat_pl.data.self_blends.families import FAMILIES
from resgat_pl.data.self_blends.held_out import INFO, blend
from resgat_pl.data.self_blends.held_out_video import problem_of
from resgat_pl.data.splits.leakage import manifest_leaks

from ...helpers.drawn_faces import drawn_crops
from ...helpers.folders import stamps, tree

SPLITS = ["train"] * 3 + ["val"] * 2 + ["test"] * 8


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return drawn_crops(tmp_path_factory.mktemp("crops"), SPLITS, frames=2, side=96)


@pytest.fixture(scope="module")
def made(crops: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    out = tmp_path_factory.mktemp("made") / "held_out"
    summary = blend(crops.folder, out, per_face=2, jobs=2)
    assert summary.pairs == 40
    assert summary.linked == 6
    assert summary.splits == {"test": 32, "val": 8}
    assert set(summary.families) == set(FAMILIES)
    assert not summary.left_out
    return Manifest.read(out)


def changed(crops: Manifest, folder: Path, **values: object) -> Path:
    """A copy of the crops with other values in the rows of test."""
    shutil.copytree(crops.folder, folder)
    rows = [row | values if row["split"] == "test" else row for row in crops.table.to_pylist()]
    Manifest(folder, rows_to_table(rows), crops.info).write()
    return folder


def test_rows_and_files(crops: Manifest, made: Manifest) -> None:
    rows = made.table.to_pylist()
    assert len({row["crop_path"] for row in rows}) == len(rows) == 6 + 2 * 40
    for row in rows:
        assert (made.folder / row["crop_path"]).is_file()
        assert (row["mask_path"] is not None) == bool(row["label"]) == (row["source_video"] is not None)
        assert row["altered"] == bool(row["label"])
        assert (row["method"] in FAMILIES) == bool(row["label"])
    before = {row["video"]: row for row in crops.table.to_pylist()}
    for row in rows:
        genuine = before[row["video"].partition("~")[0]]
        assert all(row[name] == genuine[name] for name in ("dataset", "identities", "split", "box", "compression"))
        assert ("~" in row["video"]) == (row["split"] != "train")
    assert made.info["synthetic"] == "drawn"
    assert made.info[INFO]["per_face"] == 2
    assert made.info[INFO]["left_out"] == {}


def test_pairs_differ_in_the_forgery_alone(made: Manifest) -> None:
    faces = FaceCrops(made, made.rows_of("test"), 96)
    pairs = faces.pairs()
    assert len(pairs) == 32
    for fake, real in pairs:
        mask = faces.mask(int(fake))
        assert mask is not None
        one, other = (faces[int(place)]["image"].float().numpy() for place in (fake, real))
        difference = np.abs(one - other).mean(axis=0)
        assert difference[mask > mask.max() / 2].mean() >= 1.4
        assert difference[mask == 0].mean() < 0.6 * difference[mask > mask.max() / 2].mean()
    landmarks = made.table.column("landmarks").to_pylist()
    for fake, real in pairs:
        points = landmarks[faces.rows[fake]]
        assert points == landmarks[faces.rows[real]]
        assert -0.1 < points[0] < points[2] < 1.1  # the eyes, from left to right
        assert -0.1 < points[1] < points[7] < 1.1  # above the mouth


def test_genuine_crops_of_other_splits_are_hard_links(crops: Manifest, made: Manifest) -> None:
    rows = made.rows_of("train").tolist()
    assert len(rows) == 6
    for row, before in zip(rows, crops.rows_of("train").tolist(), strict=True):
        assert made.crop(row).samefile(crops.crop(before))


def test_nothing_leaks_and_nothing_is_missing(made: Manifest) -> None:
    assert not manifest_leaks(made)
    assert main(["check", str(made.folder)]) == 0


def test_the_same_arguments_give_the_same_bytes(crops: Manifest, made: Manifest, tmp_path: Path) -> None:
    blend(crops.folder, tmp_path / "again", per_face=2)
    assert tree(tmp_path / "again") == tree(made.folder)
    blend(crops.folder, tmp_path / "other", per_face=2, seed=1)
    assert tree(tmp_path / "other") != tree(made.folder)


def test_a_killed_command_goes_on(crops: Manifest, made: Manifest, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(made.folder, out)
    (out / "manifest.parquet").unlink()
    lost = sorted((out / "fragments").glob("*.parquet"))[::3]
    for path in lost:
        path.unlink()
    shutil.rmtree(out / "crops/folder/original/-/005~0")  # crops without which a fragment is worth nothing
    finished = stamps(out, "*.png")
    blend(crops.folder, out, per_face=2)
    assert tree(out) == tree(made.folder)
    kept = [path for path, stamp in stamps(out, "*.png").items() if finished.get(path) == stamp]
    assert 0 < len(kept) < len(finished)
    before = stamps(out)
    blend(crops.folder, out, per_face=2)
    assert {path: stamp for path, stamp in stamps(out).items() if path.name != "manifest.arrow"} == before


def test_one_family_alone_and_shapes(crops: Manifest, tmp_path: Path) -> None:
    summary = blend(crops.folder, tmp_path / "out", splits="test", families="relight", shapes=["whole", "eyes"])
    assert summary.families == {"relight": 16}
    assert summary.splits == {"test": 16}
    assert summary.linked == 10


@pytest.mark.long
def test_shards_are_unpacked(shard_crops: Path, tmp_path: Path) -> None:
    summary = blend(shard_crops, tmp_path / "out", splits="test", families="blend,clone")
    manifest = Manifest.read(shard_crops)
    genuine = manifest.column("label") == 0
    assert summary.linked == int((genuine & (manifest.column("split") != "test")).sum())
    assert main(["check", str(tmp_path / "out")]) == 0


def test_what_cannot_be_blended_is_counted(crops: Manifest, tmp_path: Path) -> None:
    folder = tmp_path / "crops"
    shutil.copytree(crops.folder, folder)
    rows = crops.table.to_pylist()
    tests = [place for place, row in enumerate(rows) if row["split"] == "test"]
    rows[tests[0]]["landmarks"] = None
    rows[tests[1]]["landmarks"] = [9.0] * 10  # a face outside of its crop
    small = rows[tests[2]]["crop_path"]
    cv2.imwrite(str(folder / small), np.zeros((20, 20, 3), np.uint8))
    Manifest(folder, rows_to_table(rows), crops.info).write()
    summary = blend(folder, tmp_path / "out", splits="test")
    assert summary.pairs == 13
    assert sorted(summary.left_out.values()) == [
        "its masks cover nothing or everything", "smaller than 32 px", "without landmarks"
    ]  # fmt: skip
    assert "1 left out, smaller than 32 px: folder/original/-/006, face 0 of frame 0" in str(summary)
    assert sum(Manifest.read(tmp_path / "out").info[INFO]["left_out"].values()) == 3
    assert blend(folder, tmp_path / "out", splits="test").left_out == summary.left_out  # from the fragments


def test_bad_crops(crops: Manifest, tmp_path: Path) -> None:
    for name, values, error, message in (
        ("fakes", {"label": 1}, SplitError, "None of the 10 genuine crops .* is in test"),
        ("undivided", {"split": None}, SplitError, r"there are: train 6, val 4, no split 16"),
        ("unmarked", {"landmarks": None}, ConfigError, "None of the 16 genuine crops .* has landmarks"),
    ):
        with pytest.raises(error, match=message):
            blend(changed(crops, tmp_path / name, **values), tmp_path / "out", splits="test")
        assert not (tmp_path / "out").exists()
    rows = [row | {"label": 1} for row in crops.table.to_pylist()]
    Manifest(tmp_path / "fakes", rows_to_table(rows), {}).write()
    with pytest.raises(ConfigError, match="no genuine crop among 26"):
        blend(tmp_path / "fakes", tmp_path / "out")
    drawn_crops(tmp_path / "one", [None, None], people=1, side=64)
    with pytest.raises(SplitError, match=r"of one person or recording \(p0\).*cannot be apart"):
        blend(tmp_path / "one", tmp_path / "out")


def test_other_folders_are_left_alone(crops: Manifest, made: Manifest, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="other seed"):
        blend(crops.folder, made.folder, per_face=2, seed=3)
    with pytest.raises(ConfigError, match="into the crops they are made of"):
        blend(crops.folder, crops.folder)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ConfigError, match=r"is not empty \(notes.txt\)"):
        blend(crops.folder, tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"families": "blend,clonee"}, "--families has 'clonee'.*Did you mean"),
        ({"splits": "tests"}, "--splits has 'tests'"),
        ({"shapes": " , "}, "--shapes names nothing"),
        ({"per_face": 0}, "--per_face is 0"),
        ({"seed": -1}, "--seed is -1"),
        ({"source": "film"}, "photo or video"),
    ],
)
def test_bad_options(crops: Manifest, tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        blend(crops.folder, tmp_path / "out", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_masks_of_nothing_or_everything_measure_nothing() -> None:
    image = np.full((64, 64, 3), 90, np.uint8)
    points = np.zeros((5, 2), np.float32)
    mask = np.zeros((64, 64), np.uint8)
    mask[20:30, 20:30] = 255
    fake = image.copy()
    fake[mask > 0] += 20
    assert problem_of(Pair(image, fake, mask, "blend", "part", points)) == ""
    assert "nothing or everything" in problem_of(Pair(image, fake, mask * 0, "blend", "part", points))
    assert "nothing or everything" in problem_of(Pair(image, fake, mask * 0 + 255, "blend", "part", points))
    assert "changes it enough" in problem_of(Pair(image, image, mask, "blend", "part", points))


def test_the_record_names_the_request(made: Manifest) -> None:
    record = json.loads((made.folder / "self_blends.json").read_text())
    assert record["request"]["families"] == list(FAMILIES)
    assert record["schema"] == 1
