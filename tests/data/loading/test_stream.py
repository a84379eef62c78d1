"""Streaming from shards: who reads what and when, on any number of ranks and workers."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from resgat_pl.core.errors import ConfigError, MediaError
from resgat_pl.data.crop_store.reader import FOLDER, shards_of
from resgat_pl.data.datamodule import FaceDataModule
from resgat_pl.data.loading import stream as streaming
from resgat_pl.data.loading.dataset import FaceCrops
from resgat_pl.data.loading.stream import FaceStream, ShardLoader, Streams, draw, read_members, spread
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.data.transforms import FlipAugmentation

Batches = list[dict[str, Any]]


def loader(
    crops: Path,
    split: str = "train",
    ranks: int = 1,
    rank: int = 0,
    workers: int = 0,
    batch_size: int = 8,
    buffer: int = 20,
    masks: bool = False,
    seed: int = 3,
) -> ShardLoader:
    manifest = Manifest.read(crops)
    shards = shards_of(manifest)
    assert shards is not None
    rows = np.flatnonzero(manifest.column("split") == split)
    faces = FaceCrops(manifest, rows, 48, FlipAugmentation(0.5), masks=masks)
    streams = Streams(ranks, workers, batch_size, even=bool(buffer))
    return ShardLoader(FaceStream(faces, shards, streams, rank, seed, buffer))


def epoch(of: ShardLoader, number: int) -> Batches:
    of.set_epoch(number)
    return list(of)


def rows(batches: Batches) -> list[int]:
    return [row for batch in batches for row in batch["row"].tolist()]


def same(one: Batches, other: Batches) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a[name], b[name]) for a, b in zip(one, other, strict=True) for name in a
    )


def wanted(crops: Path, split: str = "train") -> list[int]:
    return [int(row) for row in np.flatnonzero(Manifest.read(crops).column("split") == split)]


@given(
    total=st.integers(1, 400),
    ranks=st.integers(1, 5),
    workers=st.integers(0, 4),
    batch_size=st.integers(1, 9),
    even=st.booleans(),
)
def test_streams_share_an_epoch(total: int, ranks: int, workers: int, batch_size: int, even: bool) -> None:
    streams = Streams(ranks, workers, batch_size, even)
    lengths = streams.lengths([total])[0]
    assert lengths.sum() == total
    assert lengths.max() - lengths.min() <= 1
    sizes = [np.diff(streams.batches(lengths, stream)) for stream in range(len(lengths))]
    if even and total < len(lengths):
        return  # refused before: fewer crops than streams
    assert [size.sum() for size in sizes] == lengths.tolist()
    assert all((size > 0).all() and (size <= max(batch_size, 2 if even else 0)).all() for size in sizes)
    assert all(size.max() - size.min() <= 1 for size in sizes if len(size))
    steps = [streams.steps(lengths, rank) for rank in range(ranks)]
    assert sum(steps) == sum(map(len, sizes))
    if even:
        assert len({len(size) for size in sizes}) == 1
    if total >= ranks:
        assert min(steps) >= 1


@given(real=st.integers(0, 200), fake=st.integers(0, 200), ranks=st.integers(1, 8), workers=st.integers(0, 4))
def test_streams_and_ranks_get_the_same_share_of_fakes(real: int, fake: int, ranks: int, workers: int) -> None:
    lengths = Streams(ranks, workers, 8, even=True).lengths([real, fake])
    assert lengths.sum(axis=1).tolist() == [real, fake]
    by_rank = lengths.reshape(2, ranks, -1).sum(axis=2)
    for dealt in (lengths, by_rank):
        for counts in (*dealt, dealt.sum(axis=0)):
            assert counts.max() - counts.min() <= 1
    for stream in lengths.T:
        kinds = spread(stream)
        assert np.bincount(kinds, minlength=2).tolist() == stream.tolist()
        due = np.arange(1, len(kinds) + 1) * stream[1] / max(1, stream.sum())
        assert (np.abs(np.cumsum(kinds) - due) <= 1).all()  # at any time


@given(count=st.integers(0, 300), buffer=st.integers(1, 350), seed=st.integers(0, 9))
def test_a_buffer_gives_each_once_and_none_before_it_can(count: int, buffer: int, seed: int) -> None:
    order = draw(count, buffer, np.random.default_rng(seed))
    assert sorted(order.tolist()) == list(range(count))
    assert (order <= np.arange(count) + buffer - 1).all()
    if buffer == 1:
        assert order.tolist() == list(range(count))


def test_a_buffer_as_large_as_the_sequence_shuffles_evenly() -> None:
    orders = np.stack([draw(6, 6, np.random.default_rng(seed)) for seed in range(3000)])
    counts = np.stack([np.bincount(orders[:, place], minlength=6) for place in range(6)])
    assert (np.abs(counts - 500) < 5 * np.sqrt(500 * 5 / 6)).all()


@pytest.fixture(scope="module")
def real(shard_crops: Path) -> list[tuple[int, int, list[Batches]]]:
    """Epochs 0, 1 and 0 again of two ranks with two real loading processes each, that live on between epochs."""
    found = []
    for rank in range(2):
        of = loader(shard_crops, ranks=2, rank=rank, workers=2)
        found.append(
            (len(of), of.stream.streams.steps(of.stream.lengths.sum(axis=0), rank), [epoch(of, n) for n in (0, 1, 0)])
        )
        del of
    return found


def test_each_crop_once_an_epoch_over_ranks_and_workers(
    real: list[tuple[int, int, list[Batches]]], shard_crops: Path
) -> None:
    for number in range(3):
        seen = [row for _, _, epochs in real for row in rows(epochs[number])]
        assert sorted(seen) == wanted(shard_crops)
    lengths = {len(batches) for _, _, epochs in real for batches in epochs} | {length for length, _, _ in real}
    assert len(lengths) == 1  # ranks that take different numbers of steps hang
    assert len(wanted(shard_crops)) % 4  # or it would not show that odd numbers are shared out


def test_order_depends_on_seed_and_epoch_only(real: list[tuple[int, int, list[Batches]]], shard_crops: Path) -> None:
    for rank, (_, _, (first, second, again)) in enumerate(real):
        assert same(first, again)
        assert rows(first) != rows(second)
        assert not same(first, epoch(loader(shard_crops, ranks=2, rank=rank, seed=4), 0))
        # what the two workers give in turn is what they give in this process
        of = loader(shard_crops, ranks=2, rank=rank, workers=2)
        turns = zip(of.stream.batches(1, 0), of.stream.batches(1, 1), strict=True)
        assert same(second, [batch for pair in turns for batch in pair])


@pytest.mark.parametrize("ranks", range(1, 9))
def test_every_rank_and_batch_gets_the_same_share_of_fakes(shard_crops: Path, ranks: int) -> None:
    """Whole shards are of one class, as where a data set lists its originals first."""
    manifest = Manifest.read(shard_crops)
    shards = shards_of(manifest)
    assert shards is not None
    fake = np.asarray(shards.shard >= 3).astype(np.int64)
    fakes, sizes, mixed = [], [], []
    for rank in range(ranks):
        faces = FaceCrops(manifest, np.arange(len(manifest)), 48)
        faces.labels = fake
        of = FaceStream(faces, shards, Streams(ranks, 0, 8, even=True), rank, 3, buffer=6)
        batches = [fake[rows([batch])] for batch in of.batches(2, 0)]
        mixed += [0 < labels.mean() < 1 for labels in batches]
        fakes.append(int(np.concatenate(batches).sum()))
        sizes.append(sum(map(len, batches)))
    assert np.mean(mixed) > 0.8
    assert (sum(fakes), sum(sizes)) == (fake.sum(), len(fake))
    assert max(fakes) - min(fakes) <= 1
    assert max(sizes) - min(sizes) <= 1


def test_an_epoch_mixes_shards_and_classes(shard_crops: Path) -> None:
    manifest = Manifest.read(shard_crops)
    labels = [batch["label"] for batch in epoch(loader(shard_crops, buffer=60), 0)]
    assert len(wanted(shard_crops)) > 60
    assert np.mean([len(set(label.tolist())) == 2 for label in labels]) > 0.8
    videos = [len(set(manifest.video_codes[rows([batch])].tolist())) for batch in epoch(loader(shard_crops), 0)]
    assert np.mean(videos) > 4


def test_augmentation_is_new_in_each_epoch(shard_crops: Path) -> None:
    def pictures(number: int) -> dict[int, torch.Tensor]:
        return {
            row: image
            for batch in epoch(loader(shard_crops), number)
            for row, image in zip(batch["row"].tolist(), batch["image"], strict=True)
        }

    one, other = pictures(0), pictures(1)
    changed = sum(not torch.equal(one[row], other[row]) for row in one)
    assert 0.25 * len(one) < changed < 0.75 * len(one)  # half of them are flipped
    assert all(torch.equal(one[row], other[row]) or torch.equal(one[row], other[row].flip(2)) for row in one)


def test_streamed_samples_are_those_of_the_file_store(ffpp_crops: Path, shard_crops: Path) -> None:
    files = Manifest.read(ffpp_crops)
    for buffer in (0, 20):
        of = loader(shard_crops, "test", masks=True, buffer=buffer)
        of.stream.faces.augmentation = None
        expected = FaceCrops(files, of.stream.faces.rows, 48, masks=True)
        places = {int(row): place for place, row in enumerate(expected.rows)}
        for batch in epoch(of, 0):
            for number, row in enumerate(batch["row"].tolist()):
                sample: dict[str, Any] = {**expected[places[row]]}
                assert batch.keys() == sample.keys()
                for name, value in sample.items():
                    assert torch.equal(batch[name][number], torch.as_tensor(value, dtype=batch[name].dtype)), name


@pytest.mark.parametrize("ranks", [1, 2, 5])
def test_evaluation_sees_each_crop_once(shard_crops: Path, ranks: int) -> None:
    found = [
        [batch for worker in range(3) for batch in loader(
            shard_crops, "test", ranks, rank, workers=3, buffer=0).stream.batches(0, worker)]
        for rank in range(ranks)
    ]  # fmt: skip
    assert sorted(row for batches in found for row in rows(batches)) == wanted(shard_crops, "test")
    lengths = [len(loader(shard_crops, "test", ranks, rank, workers=3, buffer=0)) for rank in range(ranks)]
    assert lengths == [len(batches) for batches in found]


def test_shards_without_a_wanted_crop_are_not_opened(
    shard_crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = Manifest.read(shard_crops)
    shards = shards_of(manifest)
    assert shards is not None
    use = np.flatnonzero(np.isin(shards.shard, (2, 5)))
    faces = FaceCrops(manifest, use, 48)
    opened: list[str] = []
    original = streaming.read_members
    monkeypatch.setattr(
        streaming,
        "read_members",
        lambda shard, place: opened.append(shard.path.name) or original(shard, place),  # type: ignore[func-returns-value]
    )
    of = ShardLoader(FaceStream(faces, shards, Streams(1, 0, 8, even=True), 0, 0, 16))
    assert sorted(rows(list(of))) == use.tolist()
    assert set(opened) == {"crops-000002.tar", "crops-000005.tar"}
    assert len(opened) <= 4  # once for each class


@pytest.mark.parametrize(("gap", "run"), [(0, 1), (1 << 16, 1 << 22), (1, 30_000), (1 << 30, 1 << 30)])
def test_however_reads_are_joined_the_bytes_are_the_same(
    shard_crops: Path, gap: int, run: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "GAP", gap)
    monkeypatch.setattr(streaming, "RUN", run)
    (held,) = loader(shard_crops, "val", buffer=0).stream.wanted
    for number, shard in enumerate(held.shards):
        part = slice(*held.starts[number : number + 2].tolist())
        tar = shard.path.read_bytes()
        for (crop, mask), (at, size, mask_at, mask_size) in zip(
            read_members(shard, held.place[part]), held.place[part].tolist(), strict=True
        ):
            assert crop == tar[at : at + size]
            assert mask == (None if mask_at < 0 else tar[mask_at : mask_at + mask_size])


@pytest.mark.parametrize("workers", [0, 2, 3])
@pytest.mark.parametrize("taken", [0, 1, 2, 5])
def test_a_resumed_epoch_goes_on_at_the_very_batch(shard_crops: Path, workers: int, taken: int) -> None:
    def in_turn(of: ShardLoader) -> Batches:
        """What its loading processes would give, without starting them."""
        each = of.stream.streams.each
        epoch, start = of.stream.start.tolist()
        turns = [(worker + start) % each for worker in range(each)]
        streams = [of.stream.batches(epoch, turn, len(range(turn, start, each))) for turn in turns]
        found: Batches = []
        while len(found) < len(of) - start:
            found.append(next(streams[len(found) % each]))
        return found

    def begin(of: ShardLoader, number: int) -> None:
        of.set_epoch(number)
        of.stream.start[:] = torch.tensor([number, of._skipped()])

    whole = loader(shard_crops, workers=workers, batch_size=5)
    begin(whole, 1)
    expected = in_turn(whole)
    state = {**whole.state_dict(), "epoch": 1, "batches": taken}
    other = loader(shard_crops, workers=workers, batch_size=5)
    other.load_state_dict(state)
    begin(other, 1)
    assert same(in_turn(other), expected[taken:])
    begin(other, 2)  # the next epoch is whole again
    assert len(in_turn(other)) == len(other)


def test_state_counts_what_was_given_out(shard_crops: Path) -> None:
    of = loader(shard_crops, batch_size=5)
    of.set_epoch(7)
    batches = iter(of)
    expected = list(of)
    of.set_epoch(7)
    for number in range(1, 4):
        next(batches)
        state = of.state_dict()
        assert (state["epoch"], state["batches"]) == (7, number)
    other = loader(shard_crops, batch_size=5)
    other.load_state_dict(state)
    other.set_epoch(7)
    assert same(list(other), expected[3:])
    other.load_state_dict(state)
    assert len(epoch(other, 8)) == len(other)  # the checkpoint of an epoch's end


def test_a_resumed_epoch_needs_the_settings_it_began_with(shard_crops: Path) -> None:
    of = loader(shard_crops)
    next(iter(of))
    other = loader(shard_crops, batch_size=4, ranks=2)
    other.load_state_dict(of.state_dict())
    message = r"middle of epoch 0.*devices: 1 then, 2 now; data.batch_size: 8 then, 4 now.*epoch's end"
    with pytest.raises(ConfigError, match=message):
        next(iter(other))
    other.load_state_dict(of.state_dict())
    assert epoch(other, 1)
    older = of.state_dict()
    del older["order"]["classes"]
    other = loader(shard_crops)
    other.load_state_dict(older)
    with pytest.raises(ConfigError, match=r"\(classes: left to chance, by an older version then, dealt evenly now\)"):
        next(iter(other))


def test_fewer_shards_than_streams(shard_crops: Path) -> None:
    with pytest.raises(ConfigError, match=r"in (9|10) shards, fewer than the 16 .*4 processes × 4.*shard_megabytes"):
        loader(shard_crops, ranks=4, workers=4)
    assert len(loader(shard_crops, "val", ranks=4, workers=4, buffer=0)) >= 1  # evaluation may cut them up


@pytest.mark.parametrize("how", ["missing", "truncated"])
def test_a_damaged_shard_is_told_before_training(shard_crops: Path, tmp_path: Path, how: str) -> None:
    crops = Path(shutil.copytree(shard_crops, tmp_path / "crops"))
    path = crops / FOLDER / "crops-000004.tar"
    size = path.stat().st_size
    path.unlink() if how == "missing" else path.write_bytes(path.read_bytes()[:1000])
    found = f"is missing (expected {size:,} bytes)" if how == "missing" else f"has 1,000 bytes, expected {size:,}"
    with pytest.raises(MediaError) as caught:
        loader(crops)
    assert f"{path} {found}. Run `resgat extract ROOT {crops}` again" in str(caught.value)


def test_a_shard_that_vanishes_while_it_is_read(shard_crops: Path, tmp_path: Path) -> None:
    crops = Path(shutil.copytree(shard_crops, tmp_path / "crops"))
    of = loader(crops)
    for path in (crops / FOLDER).glob("*.tar"):
        path.unlink()
    with pytest.raises(MediaError, match="is missing"):
        list(of)


@pytest.mark.parametrize("order", ["balanced", "paired"])
def test_other_orders_need_files(shard_crops: Path, order: Any) -> None:
    data = FaceDataModule(shard_crops, order=order, num_workers=0, image_size=64)
    with pytest.raises(ConfigError, match=rf"data.order is {order}.*shards.*pos_weight.*--store files"):
        data.train_dataloader()
    data.val_dataloader()


def test_the_data_module_sees_how_crops_are_stored(shard_crops: Path, ffpp_crops: Path) -> None:
    found = {}
    for crops in (shard_crops, ffpp_crops):
        data = FaceDataModule(crops, num_workers=0, image_size=64, batch_size=7)
        found[crops] = [
            Counter(rows(list(of)))
            for of in (
                data.train_dataloader(),
                data.val_dataloader(),
                data.test_dataloader(),
                data.predict_dataloader(),
            )
        ]
        assert isinstance(data.train_dataloader(), ShardLoader) == (crops == shard_crops)
    assert found[shard_crops][1:] == found[ffpp_crops][1:]
    assert sorted(found[shard_crops][0]) == wanted(shard_crops)
    with pytest.raises(ConfigError, match="shuffle_buffer is 0"):
        FaceDataModule(shard_crops, shuffle_buffer=0)
