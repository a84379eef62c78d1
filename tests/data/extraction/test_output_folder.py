"""Crops of other settings, versions and data sets are not replaced by mistake."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from resgat_pl import FaceDataModule
from resgat_pl.core.errors import ConfigError, ManifestError
from resgat_pl.data.extraction.command import extract, is_current
from resgat_pl.data.extraction.settings import Extraction
from resgat_pl.data.manifest.table import Manifest

from ...helpers.folders import SMALL, touch, tree


@pytest.fixture
def out(ffpp_crops: Path, tmp_path: Path) -> Path:
    """A copy of the crops."""
    return Path(shutil.copytree(ffpp_crops, tmp_path / "crops"))


def test_other_settings_replace_the_crops_only_if_asked_to(ffpp_root: Path, out: Path) -> None:
    before = tree(out)
    other = Extraction(frames=2, size=48, image_format="jpg")
    assert not is_current(ffpp_root, out, None, other)
    for has_settings in (True, False):  # before there was the file, the manifest said it alone
        with pytest.raises(ConfigError, match=r"frames 3 there and 2 here, image png there and jpg-95 here, size 64"):
            extract(ffpp_root, out, extraction=other)
        if has_settings:
            assert tree(out) == before
            (out / "extraction.json").unlink()
    extract(ffpp_root, out, extraction=other, replace=True)
    extract(ffpp_root, out, extraction=other)
    assert not [path for path in (out / "crops").rglob("*.png") if not path.stem.endswith("mask")]
    assert len(Manifest.read(out)) == 2 * 42


def test_crops_of_an_earlier_version_are_unchanged_and_can_be_trained_on(
    ffpp_root: Path, ffpp_crops: Path, out: Path
) -> None:
    settings = json.loads((out / "extraction.json").read_text())
    (out / "extraction.json").write_text(json.dumps({**settings, "version": 1}))
    before = tree(out)
    error = r"another version of resgat-pl cut \(version 1 there and 2 here;.*--replace true; or .* --data\.root null"
    with pytest.raises(ConfigError, match=error):
        extract(ffpp_root, out, extraction=SMALL)
    assert tree(out) == before
    FaceDataModule(out).prepare_data()  # without the data set nothing is asked
    extract(ffpp_root, out, extraction=SMALL, replace=True)
    assert tree(out) == tree(ffpp_crops)


def test_crops_of_another_data_set_are_not_replaced(ffpp_root: Path, out: Path, tmp_path: Path) -> None:
    touch(tmp_path / "other", "real/a.mp4", "fake/b.mp4")
    before = tree(out)
    with pytest.raises(ConfigError, match="another data set or form of it, and nothing was changed"):
        extract(tmp_path / "other", out, extraction=Extraction(frames=2, size=64))
    assert tree(out) == before
    extract(ffpp_root, out, extraction=SMALL)  # its own is as welcome as ever


@pytest.mark.parametrize("notes", [{"version": 99, "resgat_pl": "9.1"}, {"version": 99, "protocol": ["of a new form"]}])
def test_crops_of_a_newer_program_are_not_replaced(notes: dict[str, Any], ffpp_root: Path, out: Path) -> None:
    table = pq.read_table(out / "manifest.parquet").drop_columns(["sharpness"])
    pq.write_table(table.replace_schema_metadata({"resgat": json.dumps(notes)}), out / "manifest.parquet")
    before = tree(out)
    remedy = "resgat-pl>=9.1" if "resgat_pl" in notes else "--upgrade resgat-pl"
    error = rf"manifest\.parquet has format 99; this resgat-pl .* reads 1\. .*pip install .*{remedy}"
    for settings in (SMALL, Extraction(frames=2, size=48)):
        with pytest.raises(ManifestError, match=error):
            extract(ffpp_root, out, extraction=settings)
        with pytest.raises(ManifestError, match=error):
            is_current(ffpp_root, out, None, settings)  # as fit asks
    with pytest.raises(ManifestError, match=error):
        Manifest.read(out)
    assert tree(out) == before
