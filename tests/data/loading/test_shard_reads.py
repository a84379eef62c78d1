"""Reading of crops in shards with their neighbours."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from resgat_pl.core.errors import MediaError
from resgat_pl.data.crop_store.reader import FOLDER, Shard, crop_of, mask_of, shards_of
from resgat_pl.data.loading import shard_order, shard_reads
from resgat_pl.data.loading.dataset import FaceCrops
from resgat_pl.data.loading.resumable import ResumableLoader
from resgat_pl.data.loading.shard_order import ShardSampler
from resgat_pl.data.loading.shard_reads import Run, RunCache, Runs, join
from resgat_pl.data.manifest.table import Manifest

from ...helpers.shard_batches import epoch, rows, shard_loader


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int]]:
    """The reads from shards: name, first byte, bytes."""
    done: list[tuple[str, int, int]] = []
    original = shard_reads.read_run

    def note(shard: Shard, run: Run) -> bytes:
        done.append((shard.path.name, *run))
        return original(shard, run)

    monkeypatch.setattr(shard_reads, "read_run", note)
    return done


@given(
    sizes=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 90_000), st.integers(1, 3_000_000)), max_size=40),
    most=st.integers(1, 9),
    seed=st.integers(0, 9),
)
def test_runs_cover_their_members(sizes: list[tuple[int, int, int]], most: int, seed: int) -> None:
    """In any order of the members; a run is longer than ``RUN`` by one member at most."""
    group = np.sort(np.array([kind for kind, _, _ in sizes], np.int64))
    steps = np.array([[gap, size] for _, gap, size in sizes], np.int64).reshape(-1, 2)
    end = np.cumsum(steps.sum(axis=1))
    begin = end - steps[:, 1]
    order = np.random.default_rng(seed).permutation(len(group))
    run, places = join(group[order], begin[order], end[order], most)
    assert (places[run, 0] <= begin[order]).all()
    assert (places[run].sum(axis=1) >= end[order]).all()
    assert all(len(set(group[order][run == number])) == 1 for number in range(len(places)))
    assert (places[:, 1] <= shard_reads.RUN + 3_000_000).all()
    assert (np.bincount(run, minlength=1) <= most).all()
    if len(group):
        assert places[:, 1].sum() <= steps.sum()


@pytest.mark.parametrize(("gap", "run"), [(0, 1), (1 << 16, 1 << 22), (1, 30_000), (1 << 30, 1 << 30)])
@pytest.mark.parametrize("crops", [0, 10**6])
def test_however_reads_are_joined_the_bytes_are_the_same(
    shard_crops: Path, gap: int, run: int, crops: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_reads, "GAP", gap)
    monkeypatch.setattr(shard_reads, "RUN", run)
    manifest = Manifest.read(shard_crops)
    shards = shards_of(manifest)
    assert shards is not None
    chosen = np.random.default_rng(0).permutation(len(manifest))[:60]
    runs = Runs(shards, chosen, manifest.column("label")[chosen].astype(np.int64), masks=True, most=10**6)
    cache = RunCache(crops * runs.mean)
    for index, row in enumerate(chosen.tolist()):
        for member in (crop_of(manifest, row), mask_of(manifest, row)):
            if member is not None:
                assert cache.read(member, runs.of(index)) == member.read_bytes()  # type: ignore[arg-type] # they are in shards
    assert cache._size <= cache.capacity + run + 30_000


def test_a_window_is_read_once(shard_crops: Path, requests: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Far fewer requests than crops, and no byte twice but at the ends of windows."""
    monkeypatch.setattr(shard_order, "RUNS", 10)
    of = shard_loader(shard_crops, buffer=30)
    seen = rows(epoch(of, 0))
    assert len(requests) < 0.7 * len(seen)  # of three crops each; 4 MB hold dozens
    windows, kinds = -(-len(seen) // 30), 2
    assert len(requests) - len(set(requests)) <= kinds * (windows - 1)


def test_shards_without_a_wanted_crop_are_not_opened(shard_crops: Path, requests: list[Any]) -> None:
    manifest = Manifest.read(shard_crops)
    shards = shards_of(manifest)
    assert shards is not None
    use = np.flatnonzero(np.isin(shards.shard, (2, 5)))
    faces = FaceCrops(manifest, use, 48)
    of = ResumableLoader(faces, ShardSampler(faces, shards, 1, 0, 8, buffer=16), 8, 0)
    assert sorted(rows(list(of))) == use.tolist()
    assert {name for name, _, _ in requests} == {"crops-000002.tar", "crops-000005.tar"}


def test_samples_from_shards_are_those_of_the_file_store(ffpp_crops: Path, shard_crops: Path) -> None:
    files = Manifest.read(ffpp_crops)
    for buffer in (0, 20):
        of = shard_loader(shard_crops, "test", masks=True, buffer=buffer)
        of.faces.augmentation = None
        expected = FaceCrops(files, of.faces.rows, 48, masks=True)
        places = {int(row): place for place, row in enumerate(expected.rows)}
        for batch in epoch(of, 0):
            for number, row in enumerate(batch["row"].tolist()):
                sample: dict[str, Any] = {**expected[places[row]]}
                assert batch.keys() == sample.keys()
                for name, value in sample.items():
                    assert torch.equal(batch[name][number], torch.as_tensor(value, dtype=batch[name].dtype)), name


@pytest.mark.parametrize("how", ["missing", "truncated"])
def test_a_damaged_shard_is_reported_before_training(shard_crops: Path, tmp_path: Path, how: str) -> None:
    crops = Path(shutil.copytree(shard_crops, tmp_path / "crops"))
    path = crops / FOLDER / "crops-000004.tar"
    size = path.stat().st_size
    path.unlink() if how == "missing" else path.write_bytes(path.read_bytes()[:1000])
    found = f"is missing (expected {size:,} bytes)" if how == "missing" else f"has 1,000 bytes, expected {size:,}"
    with pytest.raises(MediaError) as caught:
        shard_loader(crops)
    assert f"{path} {found}. Run `resgat extract ROOT {crops}` again" in str(caught.value)


def test_a_shard_that_vanishes_while_it_is_read(shard_crops: Path, tmp_path: Path) -> None:
    crops = Path(shutil.copytree(shard_crops, tmp_path / "crops"))
    of = shard_loader(crops)
    for path in (crops / FOLDER).glob("*.tar"):
        path.unlink()
    with pytest.raises(MediaError, match="is missing"):
        list(of)
