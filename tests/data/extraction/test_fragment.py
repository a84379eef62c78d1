"""Fragments that are damaged, and folders that lack what their fragments list."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from resgat_pl.core.errors import ManifestError
from resgat_pl.data.extraction.command import extract
from resgat_pl.data.extraction.fragment import read_fragment
from resgat_pl.data.manifest.table import Manifest

from ...helpers.folders import SMALL, tree


def test_a_folder_with_some_of_its_crops_is_cut_again(ffpp_root: Path, ffpp_crops: Path, tmp_path: Path) -> None:
    """Whoever removed the others; the fragment says how many there were."""
    out = Path(shutil.copytree(ffpp_crops, tmp_path / "crops"))
    manifest = Manifest.read(out)
    row = next(row for row in range(len(manifest)) if manifest.mask(row) is not None)
    mask = manifest.mask(row)
    assert mask is not None
    mask.unlink()
    manifest.crop(row - row % 3 - 3).unlink()
    (out / "fragments" / ".0a1b.tmp").mkdir()  # of a run that was killed
    extract(ffpp_root, out, extraction=SMALL)
    assert tree(out) == tree(ffpp_crops)
    assert not list(out.rglob(".*"))


def test_a_damaged_fragment_is_named(ffpp_root: Path, ffpp_crops: Path, tmp_path: Path) -> None:
    """Not taken for a disk that cannot be written, which Arrow's errors look like."""
    good = sorted((ffpp_crops / "fragments").glob("*.parquet"))[0]
    expected, data = read_fragment(good, good), good.read_bytes()
    chance = np.random.default_rng(0)
    path = tmp_path / "fragment.parquet"
    refused = 0
    for place in chance.integers(0, len(data), 200).tolist():
        path.write_bytes(data[:place] + bytes([data[place] ^ 255]) + data[place + 1 :])
        try:
            same = read_fragment(path, path).num_rows == expected.num_rows
        except ManifestError as error:
            assert f"{path}" in str(error)
            refused += 1
        else:
            assert same
    assert refused > 100
    for name, column in (("label", ["one"]), ("label", [7]), ("video", [None]), ("crop_path", [b"\xff.png"])):
        place = expected.schema.get_field_index(name)
        pq.write_table(expected.set_column(place, name, [column * len(expected)]), path)
        with pytest.raises(ManifestError, match=rf"{path}.* Remove it, and give the same command again"):
            read_fragment(path, path)
    with pytest.raises(FileNotFoundError):
        read_fragment(tmp_path / "absent", tmp_path / "absent")
