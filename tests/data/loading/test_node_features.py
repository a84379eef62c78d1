"""Parts of cached features on disk."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from resgat_pl.core.errors import MediaError
from resgat_pl.data.loading.node_features import DIGEST, FeatureStore, crop_digests
from resgat_pl.data.manifest.table import Manifest

SHAPE = (4, 3)
KEYS = [bytes([number]) * DIGEST for number in range(6)]
VALUES = np.arange(6 * 12, dtype=np.float32).reshape(6, *SHAPE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two parts of three crops each."""
    store = FeatureStore(tmp_path / "features", SHAPE)
    for part in (slice(0, 3), slice(3, 6)):
        store.add(KEYS[part], VALUES[part])
    return tmp_path / "features"


def test_rows_are_found_by_digest_in_any_process(folder: Path) -> None:
    store = FeatureStore(folder, SHAPE)
    assert len(store.missing(KEYS)) == 0
    rows = np.array([7, 2, 9])
    features = store.rows(10, rows, [KEYS[5], KEYS[0], KEYS[5]])
    read = features[7]
    assert torch.equal(read, torch.from_numpy(VALUES[5]))
    there = pickle.dumps(features)
    assert len(there) < 1500, "names and places, no features"
    again = pickle.loads(there)  # noqa: S301 - its own
    for row, value in zip(rows.tolist(), (5, 0, 5), strict=True):
        assert torch.equal(again[row], torch.from_numpy(VALUES[value]))
    read.zero_()  # a copy: nothing writes to the file
    assert torch.equal(again[7], torch.from_numpy(VALUES[5]))


def test_missing_names_each_digest_once(folder: Path) -> None:
    new = b"n" * DIGEST
    assert FeatureStore(folder, SHAPE).missing([KEYS[0], new, KEYS[1], new]).tolist() == [1]


def broken(folder: Path, how: str) -> None:
    keys = sorted(folder.glob("*.keys.npy"))[0]
    features = keys.with_name(keys.name.replace(".keys.npy", ".npy"))
    if how == "no keys":
        keys.unlink()
    elif how == "no features":
        features.unlink()
    elif how == "cut off":
        features.write_bytes(features.read_bytes()[:-8])
    elif how == "keys cut off":
        keys.write_bytes(keys.read_bytes()[:-8])
    elif how == "empty":
        keys.write_bytes(b"")
    elif how == "other numbers":
        np.save(features, VALUES[:3].astype(np.float64))
    elif how == "objects":
        np.save(keys, np.array([{"a": 1}] * 3, object), allow_pickle=True)


@pytest.mark.parametrize(
    "how", ["no keys", "no features", "cut off", "keys cut off", "empty", "other numbers", "objects"]
)
def test_a_broken_part_is_written_again(folder: Path, how: str) -> None:
    broken(folder, how)
    store = FeatureStore(folder, SHAPE)
    lost = store.missing(KEYS)
    assert sorted(lost.tolist()) in ([0, 1, 2], [3, 4, 5])
    store.add([KEYS[place] for place in lost], VALUES[lost])
    whole = FeatureStore(folder, SHAPE)
    assert len(whole.missing(KEYS)) == 0
    features = whole.rows(6, np.arange(6), KEYS)
    assert all(torch.equal(features[row], torch.from_numpy(VALUES[row])) for row in range(6))
    assert len(list(folder.iterdir())) == 4


def test_another_shape_is_another_store(folder: Path) -> None:
    assert len(FeatureStore(folder, (4, 4)).missing(KEYS)) == 6


def test_digests_are_of_content(ffpp_crops: Path, shard_crops: Path, tmp_path: Path) -> None:
    """Equal in files and in shards, and after a copy; another for a crop that changed."""
    crops = tmp_path / "crops"
    shutil.copytree(ffpp_crops, crops)
    rows = np.arange(20)
    found = [list(crop_digests(Manifest.read(path), rows)) for path in (ffpp_crops, shard_crops, crops)]
    assert found[0] == found[1] == found[2]
    assert len(set(found[0])) > 15
    manifest = Manifest.read(crops)
    manifest.crop(3).write_bytes(manifest.crop(4).read_bytes())
    after = list(crop_digests(manifest, rows))
    assert [place for place in range(20) if after[place] != found[0][place]] == [3]
    manifest.crop(5).unlink()
    with pytest.raises(MediaError, match="cannot be read"):
        list(crop_digests(manifest, rows))
