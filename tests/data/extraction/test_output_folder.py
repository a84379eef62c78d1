"""Crops of other settings, versions and data sets are not replaced by mistake."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from resgat_pl import FaceDataModule
from resgat_pl.core.errors import ConfigError, ManifestError
from resgat_pl.data.extraction.command import extract, is_current
from resgat_pl.data.extraction.settings import Extraction
from resgat_pl.data.manifest.table import Manifest

SMALL = Extraction(frames=3, size=64)


def digest(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_other_settings_replace_the_crops_only_if_told_to(ffpp_root: Path, tmp_path: Path) -> None:
    extract(ffpp_root, tmp_path, extraction=SMALL)
    before = digest(tmp_path)
    other = Extraction(frames=2, size=48, image_format="jpg")
    assert not is_current(ffpp_root, tmp_path, None, other)
    for has_settings in (True, False):  # before there was the file, the manifest said it alone
        with pytest.raises(ConfigError, match=r"frames 3 there and 2 here, image png there and jpg-95 here, size 64"):
            extract(ffpp_root, tmp_path, extraction=other)
        if has_settings:
            assert digest(tmp_path) == before
            (tmp_path / "extraction.json").unlink()
    extract(ffpp_root, tmp_path, extraction=other, replace=True)
    extract(ffpp_root, tmp_path, extraction=other)
    assert not [path for path in (tmp_path / "crops").rglob("*.png") if not path.stem.endswith("mask")]
    assert {len(v) for v in np.split(np.arange(len(Manifest.read(tmp_path))), 1)} == {2 * 42}


def test_crops_of_an_earlier_version_are_kept_and_can_be_trained_on(
    ffpp_root: Path, ffpp_crops: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(ffpp_crops, tmp_path / "crops"))
    settings = json.loads((out / "extraction.json").read_text())
    (out / "extraction.json").write_text(json.dumps({**settings, "version": 1}))
    before = digest(out)
    told = r"another version of resgat-pl cut \(version 1 there and 2 here;.*--replace true; or .* --data\.root null"
    with pytest.raises(ConfigError, match=told):
        extract(ffpp_root, out, extraction=SMALL)
    assert digest(out) == before
    FaceDataModule(out).prepare_data()  # without the data set nothing is asked
    extract(ffpp_root, out, extraction=SMALL, replace=True)
    assert digest(out) == digest(ffpp_crops)


def test_crops_of_another_data_set_are_not_replaced(ffpp_root: Path, ffpp_crops: Path, tmp_path: Path) -> None:
    from resgat_pl.data.synth.generate import synthesize

    synthesize(tmp_path / "other", layout="celebdf", videos=8, fakes_per_real=1, frames=2, size=192)
    out = Path(shutil.copytree(ffpp_crops, tmp_path / "crops"))
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match="another data set or form of it, and nothing was changed"):
        extract(tmp_path / "other", out, extraction=Extraction(frames=2, size=64))
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    extract(ffpp_root, out, extraction=Extraction(frames=3, size=64))  # its own is as welcome as ever


@pytest.mark.parametrize("notes", [{"version": 99, "resgat_pl": "9.1"}, {"version": 99, "protocol": ["of a new form"]}])
def test_crops_of_a_newer_program_are_not_replaced(
    notes: dict[str, Any], ffpp_root: Path, ffpp_crops: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(ffpp_crops, tmp_path / "crops"))
    table = pq.read_table(out / "manifest.parquet").drop_columns(["sharpness"])
    pq.write_table(table.replace_schema_metadata({"resgat": json.dumps(notes)}), out / "manifest.parquet")
    before = digest(out)
    remedy = "resgat-pl>=9.1" if "resgat_pl" in notes else "--upgrade resgat-pl"
    told = rf"manifest\.parquet has format 99; this resgat-pl .* reads 1\. .*pip install .*{remedy}"
    for settings in (SMALL, Extraction(frames=2, size=48)):
        with pytest.raises(ManifestError, match=told):
            extract(ffpp_root, out, extraction=settings)
        with pytest.raises(ManifestError, match=told):
            is_current(ffpp_root, out, None, settings)  # as fit asks
    with pytest.raises(ManifestError, match=told):
        Manifest.read(out)
    assert digest(out) == before
