from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, strategies as st

from resgat_pl.core.errors import SplitError
from resgat_pl.data.loading.dataset import Draw, FaceCrops
from resgat_pl.data.loading.samplers import EvalSampler, Order, TrainSampler
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.data.transforms import DFDCAugmentation, FlipAugmentation

EARLIER = {
    "shuffled": [(4, 1821912379), (2, 1753501242), (0, 1751142125), (6, 1155210758), (5, 1224559477),
                 (3, 1110885179), (1, 1269733365)],
    "balanced": [(0, 1751142125), (4, 1155210758), (2, 1224559477), (6, 1110885179), (1, 1269733365),
                 (5, 451446471), (2, 1917679421)],
    "paired": [(5, 1494391660), (2, 1494391660), (3, 1821912379), (0, 1821912379), (6, 1753501242),
               (0, 1753501242), (4, 1751142125), (1, 1751142125)],
}  # fmt: skip
"""Draws that version 0.1.0 made of 3 real and 4 fake crops on one rank, with seed 5, in epoch 1."""


@pytest.fixture(scope="module")
def faces(ffpp_crops: Path) -> FaceCrops:
    manifest = Manifest.read(ffpp_crops)
    return FaceCrops(manifest, np.arange(len(manifest)), 48, FlipAugmentation(1.0))


def test_a_sample(faces: FaceCrops) -> None:
    sample = faces[7]
    assert sample["image"].shape == (3, 48, 48)
    assert sample["image"].dtype == torch.uint8
    assert sample["row"] == 7
    assert sample["label"] == faces.labels[7]
    assert torch.equal(faces[Draw(7, 3)]["image"], sample["image"].flip(2))


def test_masks(faces: FaceCrops) -> None:
    fake, real = int(np.flatnonzero(faces.labels == 1)[0]), int(np.flatnonzero(faces.labels == 0)[0])
    mask = faces.mask(fake)
    assert mask is not None
    assert mask.shape == (48, 48)
    assert faces.mask(real) is None


def test_pairs_are_fake_and_original_of_the_same_frame(faces: FaceCrops) -> None:
    rows = faces.manifest.table.to_pylist()
    pairs = faces.pairs()
    assert len(pairs) == (faces.labels == 1).sum()
    for fake, real in pairs:
        assert rows[fake]["source_video"] == f"ffpp/original/c23/{rows[real]['video']}"
        assert rows[fake]["frame_index"] == rows[real]["frame_index"]


@pytest.mark.parametrize("order", ["shuffled", "balanced", "paired"])
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_ranks_share_an_epoch(faces: FaceCrops, order: Order, ranks: int) -> None:
    samplers = [TrainSampler(faces, ranks, rank, seed=1, order=order) for rank in range(ranks)]
    drawn = [list(sampler) for sampler in samplers]
    assert {len(draws) for draws in drawn} == {len(samplers[0])}
    everything = [draw.position for draws in drawn for draw in draws]
    if order == "shuffled":
        assert set(everything) == set(range(len(faces)))
        assert len(everything) < len(faces) + ranks
    else:
        labels = faces.labels[everything]
        assert abs(int((labels == 0).sum()) - int((labels == 1).sum())) <= ranks
    if order == "paired":
        pairs = {tuple(pair) for pair in faces.pairs().tolist()}
        for draws in drawn:
            for fake, real in zip(draws[::2], draws[1::2], strict=True):
                assert (fake.position, real.position) in pairs
                assert fake.seed == real.seed


class _Labels:
    """As much of ``FaceCrops`` as a sampler looks at."""

    def __init__(self, labels: np.ndarray) -> None:
        self.labels = labels

    def __len__(self) -> int:
        return len(self.labels)

    def pairs(self) -> np.ndarray:
        real, fake = (np.flatnonzero(self.labels == label) for label in (0, 1))
        return np.stack([fake, np.resize(real, len(fake))], axis=1)


@pytest.mark.parametrize("order", ["shuffled", "balanced", "paired"])
@given(real=st.integers(1, 60), fake=st.integers(1, 120), ranks=st.integers(1, 8), epoch=st.integers(0, 3))
def test_every_rank_gets_the_same_share_of_fakes(order: Order, real: int, fake: int, ranks: int, epoch: int) -> None:
    faces: Any = _Labels(np.repeat([0, 1], [real, fake]))
    drawn = []
    for rank in range(ranks):
        sampler = TrainSampler(faces, ranks, rank, seed=5, order=order)
        sampler.set_epoch(epoch)
        drawn.append(faces.labels[[draw.position for draw in sampler]])
        assert len(drawn[-1]) == len(sampler)
    fakes = np.array([labels.sum() for labels in drawn])
    assert fakes.max() - fakes.min() <= 1
    if order != "shuffled":
        for size in (1, 2, 5, 8):  # every batch of a rank, and every step of all ranks, as far as parity allows
            for start in range(0, len(drawn[0]), size):
                batches = np.stack([labels[start : start + size] for labels in drawn])
                assert (np.abs(2 * batches.sum(axis=1) - batches.shape[1]) <= 1).all()
                assert order == "paired" or abs(2 * batches.sum() - batches.size) <= 1


def test_orders_of_one_rank_are_those_of_earlier_versions() -> None:
    """A run on one rank that an earlier version began goes on at the very batch."""
    faces: Any = _Labels(np.repeat([0, 1], [3, 4]))
    found = {}
    for order in get_args(Order):
        sampler = TrainSampler(faces, 1, 0, seed=5, order=order)
        sampler.set_epoch(1)
        found[order] = [tuple(draw) for draw in sampler]
    assert found == EARLIER


@pytest.mark.parametrize("order", ["shuffled", "balanced", "paired"])
def test_order_depends_on_seed_and_epoch_only(faces: FaceCrops, order: Order) -> None:
    def draws(seed: int, epoch: int) -> list[Draw]:
        sampler = TrainSampler(faces, 1, 0, seed, order)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert draws(0, 0) == draws(0, 0)
    assert draws(0, 0) != draws(0, 1)
    assert draws(0, 0) != draws(1, 0)
    assert len({draw.seed for draw in draws(0, 0)}) > 10


@pytest.mark.parametrize("ranks", [1, 2, 5])
def test_evaluation_sees_each_crop_once(faces: FaceCrops, ranks: int) -> None:
    drawn = [draw for rank in range(ranks) for draw in EvalSampler(faces, ranks, rank)]
    assert sorted(draw.position for draw in drawn) == list(range(len(faces)))
    assert all(draw.seed == faces.rows[draw.position] for draw in drawn)
    assert sum(len(EvalSampler(faces, ranks, rank)) for rank in range(ranks)) == len(faces)


def test_pairs_need_originals(faces: FaceCrops) -> None:
    only_fakes = FaceCrops(faces.manifest, np.flatnonzero(faces.labels == 1), 48)
    with pytest.raises(SplitError, match="original beside it"):
        TrainSampler(only_fakes, 1, 0, 0, "paired")


def test_masks_move_with_the_picture(faces: FaceCrops) -> None:
    """Where the mask says so, and only there, a fake differs from its original, whatever the augmentation did."""
    augmentation = DFDCAugmentation(blur=0, noise=0, resize=0, transpose=0.5, rotate=0.5)
    both = FaceCrops(faces.manifest, faces.rows, faces.image_size, augmentation, masks=True)
    alone = FaceCrops(faces.manifest, faces.rows, faces.image_size, augmentation)
    moved = 0
    for fake, real in both.pairs()[:6]:
        for seed in range(4):
            forged, genuine = (both[Draw(int(place), seed)] for place in (fake, real))
            assert torch.equal(forged["image"], alone[Draw(int(fake), seed)]["image"])
            assert forged["mask_known"]
            assert genuine["mask_known"]
            assert not genuine["mask"].any()
            difference = (forged["image"].float() - genuine["image"].float()).abs().mean(dim=0)
            inside = forged["mask"] > 200
            assert inside.any()
            assert difference[inside].mean() > 2 * difference[forged["mask"] == 0].mean()
            moved += not torch.equal(forged["mask"], both[Draw(int(fake), None)]["mask"])
    assert moved > 6


def test_a_fake_without_a_mask_is_unknown(faces: FaceCrops) -> None:
    table = faces.manifest.table
    index = table.column_names.index("mask_path")
    table = table.set_column(index, table.schema.field(index), pa.nulls(len(table), pa.string()))
    blind = FaceCrops(Manifest(faces.manifest.folder, table, {}), faces.rows, faces.image_size, masks=True)
    known = [blind[place]["mask_known"] for place in range(len(blind))]
    assert known == (blind.labels == 0).tolist()
