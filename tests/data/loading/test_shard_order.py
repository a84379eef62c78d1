"""The order of crops in shards: which crop comes when, on any number of ranks and loading processes."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from resgat_pl.core.errors import ConfigError
from resgat_pl.data.crop_store.reader import shards_of
from resgat_pl.data.datamodule import FaceDataModule
from resgat_pl.data.loading.dataset import FaceCrops
from resgat_pl.data.loading.resumable import ResumableLoader
from resgat_pl.data.loading.samplers import Order
from resgat_pl.data.loading.shard_order import Lanes, ShardSampler, shuffle_windows, spread
from resgat_pl.data.manifest.table import Manifest

from ...helpers.shard_batches import Batches, epoch, rows, same, shard_loader, split_rows


@given(
    total=st.integers(1, 400),
    ranks=st.integers(1, 5),
    each=st.integers(1, 4),
    batch_size=st.integers(1, 9),
    even=st.booleans(),
)
def test_lanes_share_an_epoch(total: int, ranks: int, each: int, batch_size: int, even: bool) -> None:
    lanes = Lanes(ranks, each, batch_size, even)
    lengths = lanes.lengths([total])[0]
    assert lengths.sum() == total
    assert lengths.max() - lengths.min() <= 1
    sizes = [np.diff(lanes.batches(lengths, lane)) for lane in range(len(lengths))]
    if even and total < len(lengths):
        return  # there are fewer lanes where there are few crops
    assert [size.sum() for size in sizes] == lengths.tolist()
    assert all((size > 0).all() and (size <= max(batch_size, 2 if even else 0)).all() for size in sizes)
    assert all(size.max() - size.min() <= 1 for size in sizes if len(size))
    if even:
        assert len({len(size) for size in sizes}) == 1


@given(real=st.integers(0, 200), fake=st.integers(0, 200), ranks=st.integers(1, 8), each=st.integers(1, 4))
def test_lanes_and_ranks_get_the_same_share_of_fakes(real: int, fake: int, ranks: int, each: int) -> None:
    lengths = Lanes(ranks, each, 8, even=True).lengths([real, fake])
    assert lengths.sum(axis=1).tolist() == [real, fake]
    by_rank = lengths.reshape(2, ranks, -1).sum(axis=2)
    for dealt in (lengths, by_rank):
        for counts in (*dealt, dealt.sum(axis=0)):
            assert counts.max() - counts.min() <= 1
    for lane in lengths.T:
        kinds = spread(lane)
        assert np.bincount(kinds, minlength=2).tolist() == lane.tolist()
        due = np.arange(1, len(kinds) + 1) * lane[1] / max(1, lane.sum())
        assert (np.abs(np.cumsum(kinds) - due) <= 1).all()  # at any time


@given(count=st.integers(0, 300), window=st.integers(1, 350), seed=st.integers(0, 9))
def test_windows_are_shuffled_each_for_itself(count: int, window: int, seed: int) -> None:
    order = shuffle_windows(count, window, np.random.default_rng(seed))
    assert sorted(order.tolist()) == list(range(count))
    assert (order // window == np.arange(count) // window).all()


def test_a_window_as_large_as_the_sequence_shuffles_evenly() -> None:
    orders = np.stack([shuffle_windows(6, 6, np.random.default_rng(seed)) for seed in range(3000)])
    counts = np.stack([np.bincount(orders[:, place], minlength=6) for place in range(6)])
    assert (np.abs(counts - 500) < 5 * np.sqrt(500 * 5 / 6)).all()


@pytest.fixture(scope="module")
def real(shard_crops: Path) -> list[tuple[int, list[Batches]]]:
    """Epochs 0, 1 and 0 again of two ranks with two real loading processes each, that live on between epochs."""
    found = []
    for rank in range(2):
        of = shard_loader(shard_crops, ranks=2, rank=rank, workers=2)
        found.append((len(of), [epoch(of, number) for number in (0, 1, 0)]))
        del of
    return found


def test_each_crop_once_an_epoch_over_ranks_and_workers(
    real: list[tuple[int, list[Batches]]], shard_crops: Path
) -> None:
    for number in range(3):
        seen = [row for _, epochs in real for row in rows(epochs[number])]
        assert sorted(seen) == split_rows(shard_crops)
    lengths = {len(batches) for _, epochs in real for batches in epochs} | {length for length, _ in real}
    assert len(lengths) == 1  # ranks that take different numbers of steps hang
    assert len(split_rows(shard_crops)) % 4  # or it would not show that odd numbers are shared out


def test_order_depends_on_seed_and_epoch_only(real: list[tuple[int, list[Batches]]], shard_crops: Path) -> None:
    for rank, (_, (first, second, again)) in enumerate(real):
        assert same(first, again)
        assert rows(first) != rows(second)
        assert not same(first, epoch(shard_loader(shard_crops, ranks=2, rank=rank, seed=4), 0))
        # not on the number of loading processes
        assert same(second, epoch(shard_loader(shard_crops, ranks=2, rank=rank, workers=0), 1))


@pytest.mark.parametrize("ranks", range(1, 9))
@pytest.mark.parametrize("lanes", [1, 3])
def test_every_rank_and_batch_gets_the_same_share_of_fakes(shard_crops: Path, ranks: int, lanes: int) -> None:
    """Whole shards are of one class, as where a data set lists its originals first."""
    manifest = Manifest.read(shard_crops)
    shards = shards_of(manifest)
    assert shards is not None
    fake = np.asarray(shards.shard >= 3).astype(np.int64)
    fakes, sizes, mixed, seen = [], [], [], []
    for rank in range(ranks):
        faces = FaceCrops(manifest, np.arange(len(manifest)), 48)
        faces.labels = fake
        sampler = ShardSampler(faces, shards, ranks, rank, 8, seed=3, buffer=6, lanes=lanes)
        sampler.set_epoch(2)
        drawn = np.array([draw.position for draw in sampler])
        cuts = sampler.cuts(8)
        labels = [fake[drawn[first:last]] for first, last in pairwise(cuts)]
        mixed += [0 < batch.mean() < 1 for batch in labels if len(batch) > 4]
        fakes.append(int(fake[drawn].sum()))
        sizes.append(len(drawn))
        seen += drawn.tolist()
    assert sorted(seen) == list(range(len(fake)))
    assert lanes * ranks > 8 or np.mean(mixed) > 0.8
    assert max(fakes) - min(fakes) <= 1
    assert max(sizes) - min(sizes) <= 1


def test_an_epoch_mixes_shards_and_classes(shard_crops: Path) -> None:
    manifest = Manifest.read(shard_crops)
    labels = [batch["label"] for batch in epoch(shard_loader(shard_crops, buffer=60), 0)]
    assert len(split_rows(shard_crops)) > 60
    assert np.mean([len(set(label.tolist())) == 2 for label in labels]) > 0.8
    videos = [len(set(manifest.video_codes[rows([batch])].tolist())) for batch in epoch(shard_loader(shard_crops), 0)]
    assert np.mean(videos) > 4


def test_one_buffer_serves_all_lanes(shard_crops: Path) -> None:
    """A single process, which reads all of them, holds little more than ``buffer`` crops; of four each a quarter."""
    sampler = shard_loader(shard_crops, buffer=48, lanes=4).sampler
    assert isinstance(sampler, ShardSampler)
    single = sampler.cached(1)
    assert single == sampler.cached(0) == sampler.cached(3)
    assert 48 * sampler.runs.mean <= single < 2 * 48 * sampler.runs.mean
    assert [sampler.cached(workers) for workers in (2, 4, 8)] == [single // 2, single // 4, single // 4]


def test_augmentation_is_new_in_each_epoch(shard_crops: Path) -> None:
    def pictures(number: int) -> dict[int, torch.Tensor]:
        return {
            row: image
            for batch in epoch(shard_loader(shard_crops), number)
            for row, image in zip(batch["row"].tolist(), batch["image"], strict=True)
        }

    one, other = pictures(0), pictures(1)
    changed = sum(not torch.equal(one[row], other[row]) for row in one)
    assert 0.25 * len(one) < changed < 0.75 * len(one)  # half of them are flipped
    assert all(torch.equal(one[row], other[row]) or torch.equal(one[row], other[row].flip(2)) for row in one)


def test_the_seed_of_a_crop_does_not_depend_on_its_place(shard_crops: Path) -> None:
    def seeds(ranks: int, buffer: int) -> dict[int, int | None]:
        of = [shard_loader(shard_crops, ranks=ranks, rank=rank, buffer=buffer).sampler for rank in range(ranks)]
        return dict(draw for sampler in of for draw in sampler)

    assert seeds(1, 20) == seeds(3, 5)


@pytest.mark.parametrize("ranks", [1, 2, 5])
def test_evaluation_sees_each_crop_once(shard_crops: Path, ranks: int) -> None:
    found = [epoch(shard_loader(shard_crops, "test", ranks, rank, buffer=0), 0) for rank in range(ranks)]
    assert sorted(row for batches in found for row in rows(batches)) == split_rows(shard_crops, "test")
    lengths = [len(shard_loader(shard_crops, "test", ranks, rank, buffer=0)) for rank in range(ranks)]
    assert lengths == [len(batches) for batches in found]


def sampler_of(crops: Path, order: Order, ranks: int, rank: int, lanes: int | None = None) -> ShardSampler:
    manifest = Manifest.read(crops)
    shards = shards_of(manifest)
    assert shards is not None
    faces = FaceCrops(manifest, manifest.rows_of("train"), 48)
    return ShardSampler(faces, shards, ranks, rank, 8, seed=1, order=order, buffer=16, lanes=lanes)


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("lanes", [None, 2])
def test_balanced_order(shard_crops: Path, ranks: int, lanes: int | None) -> None:
    for rank in range(ranks):
        sampler = sampler_of(shard_crops, "balanced", ranks, rank, lanes)
        draws = list(sampler)
        labels = sampler.faces.labels[[draw.position for draw in draws]]
        assert len(draws) == len(sampler) == len(sampler_of(shard_crops, "balanced", ranks, 0, lanes))
        assert (labels[::2] == rank % 2).all()
        assert (labels[1::2] == 1 - rank % 2).all()
        assert len(draws) * ranks >= len(sampler.faces)
        assert len({draw.seed for draw in draws}) > 0.9 * len(draws)


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("lanes", [None, 2])
def test_paired_order(shard_crops: Path, ranks: int, lanes: int | None) -> None:
    pairs = []
    for rank in range(ranks):
        sampler = sampler_of(shard_crops, "paired", ranks, rank, lanes)
        draws = list(sampler)
        assert len(draws) == len(sampler) == len(sampler_of(shard_crops, "paired", ranks, 0, lanes))
        assert all(fake.seed == real.seed for fake, real in zip(draws[::2], draws[1::2], strict=True))
        assert not (sampler.cuts(8) % 2).any()  # no batch divides a pair
        pairs += [(fake.position, real.position) for fake, real in zip(draws[::2], draws[1::2], strict=True)]
    expected = [tuple(pair) for pair in sampler.faces.pairs().tolist()]
    assert set(pairs) == set(expected)
    assert len(pairs) < len(expected) + ranks


@pytest.mark.parametrize("order", ["shuffled", "balanced", "paired"])
def test_all_orders_train_from_shards(shard_crops: Path, order: Any) -> None:
    data = FaceDataModule(shard_crops, order=order, num_workers=0, image_size=64)
    batches = list(data.train_dataloader())
    assert set(rows(batches)) <= set(split_rows(shard_crops))
    if order != "shuffled":
        assert np.mean([float(batch["label"].mean()) for batch in batches]) == 0.5


def test_few_crops_lie_in_fewer_lanes(shard_crops: Path) -> None:
    """Batches are full however many ranks and shards there are: there is no minimum of shards."""
    for ranks in (1, 4, 16):
        loader = shard_loader(shard_crops, ranks=ranks, batch_size=2)
        assert isinstance(loader.sampler, ShardSampler)
        assert 1 <= loader.sampler.lanes.each <= 4
        sizes = [len(batch["row"]) for batch in loader]
        assert len(sizes) == -(-len(loader.sampler) // 2) or max(sizes) - min(sizes) <= 1


def test_the_data_module_sees_how_crops_are_stored(shard_crops: Path, ffpp_crops: Path) -> None:
    found = {}
    for crops in (shard_crops, ffpp_crops):
        data = FaceDataModule(crops, num_workers=0, image_size=64, batch_size=7)
        loaders = (data.train_dataloader(), data.val_dataloader(), data.test_dataloader(), data.predict_dataloader())
        found[crops] = [Counter(rows(list(of))) for of in loaders]
        assert isinstance(loaders[0], ResumableLoader)
        assert isinstance(loaders[0].sampler, ShardSampler) == (crops == shard_crops)
    assert found[shard_crops][1:] == found[ffpp_crops][1:]
    assert sorted(found[shard_crops][0]) == split_rows(shard_crops)
    with pytest.raises(ConfigError, match="shuffle_buffer is 0"):
        FaceDataModule(shard_crops, shuffle_buffer=0)
