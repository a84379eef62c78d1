from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from resgat_pl.data.extraction.command import extract, is_current
from resgat_pl.data.extraction.pairs_folder import crops_of
from resgat_pl.data.extraction.settings import Extraction
from resgat_pl.data.layouts.folder import Folder
from resgat_pl.data.layouts.pairs import Pairs
from resgat_pl.data.loading.dataset import FaceCrops
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.data.self_blends.blender import SelfBlend

from ...helpers.drawn_faces import drawn_face

SIDE = 128
SMALL = Extraction(size=96)


def save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image[..., ::-1] if image.ndim == 3 else image)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs of cut out faces: with and without a mask, shifted, of other people, of other sizes."""
    folder = tmp_path_factory.mktemp("pairs")
    for person in range(5):
        image, landmarks = drawn_face(person, SIDE)
        pair = SelfBlend({"patch": 1}, {"lower": 1})(image, landmarks, seed=person)
        save(folder / f"original/{person}.png", pair.genuine)
        fake = pair.fake
        if person == 2:
            fake = np.roll(fake, 5, axis=1)
        if person == 3:
            fake = drawn_face(9, SIDE)[0]
        if person == 4:
            fake = fake[:-20]
        save(folder / f"fake/patch/{person}.png", fake)
        if person == 1:
            save(folder / "mask/patch/1.png", pair.mask // 128)  # 0 and 1, as label images have it
    return folder


def test_pairs_are_extracted_with_masks_and_others_left_out(root: Path, tmp_path: Path) -> None:
    summary = extract(root, tmp_path, Pairs(cropped=True), SMALL)
    assert set(summary.skipped) == {"pairs/patch/-/2", "pairs/patch/-/3", "pairs/patch/-/4"}
    assert "not aligned with its original: it has frames of [128, 128] px" in summary.skipped["pairs/patch/-/4"]
    assert "shifted by" in summary.skipped["pairs/patch/-/2"]
    assert "of what is around the face shows the same" in summary.skipped["pairs/patch/-/3"]
    manifest = Manifest.read(tmp_path)
    faces = FaceCrops(manifest, manifest.rows_of("test"), 96)
    assert len(faces.pairs()) == 2
    for fake, _ in faces.pairs():
        mask = faces.mask(int(fake))
        assert mask is not None
        assert 0.02 < (mask > 127).mean() < 0.5
        assert manifest.column("method")[faces.rows[fake]] == "patch"
    assert is_current(root, tmp_path, Pairs(cropped=True), SMALL)


def test_computed_masks_are_like_those_that_are_given(root: Path, tmp_path: Path) -> None:
    found = []
    for masks in (None, False):
        out = tmp_path / str(masks)
        extract(root, out, Pairs(cropped=True), Extraction(size=96, difference_masks=masks))
        manifest = Manifest.read(out)
        videos = manifest.column("video")
        found.append({videos[row]: manifest.mask(row) is not None for row in np.flatnonzero(manifest.column("label"))})
    assert found == [{"0": True, "1": True}, {"0": False, "1": True}]


def test_old_settings_are_the_same(root: Path) -> None:
    """Crops that were cut before there were computed masks stay valid."""
    assert "difference_masks" not in Extraction().of_layout(Folder().difference_masks).spec
    assert Extraction().of_layout(Pairs().difference_masks).spec["difference_masks"] is True
    assert Extraction(difference_masks=False).of_layout(True).difference_masks is False


def test_faces_are_found_in_whole_frames(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image, landmarks = drawn_face(0, 256)
    pair = SelfBlend({"patch": 1}, {"lower": 1})(image, landmarks, seed=0)
    save(tmp_path / "pairs/original/a.png", pair.genuine)
    save(tmp_path / "pairs/fake/a.png", pair.fake)
    save(tmp_path / "pairs/original/none.png", np.full((128, 128, 3), 90, np.uint8))
    save(tmp_path / "pairs/fake/none.png", np.full((128, 128, 3), 91, np.uint8))
    out = crops_of(tmp_path / "pairs", tmp_path / "crops", SMALL)
    assert out == tmp_path / "crops"
    said = capsys.readouterr().err
    assert "holds pairs and no crops" in said
    assert "its original gave no face" in said
    manifest = Manifest.read(out)
    assert manifest.column("mask_path").astype(bool).sum() == 1
    assert all(points is not None for points in manifest.table.column("landmarks").to_pylist())
    assert crops_of(out, tmp_path / "other") == out
    assert crops_of(tmp_path / "absent", tmp_path / "other") == tmp_path / "absent"
