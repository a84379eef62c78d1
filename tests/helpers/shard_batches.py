"""Loaders of batches from shards, and the comparison of what they give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from resgat_pl.data.crop_store.reader import shards_of
from resgat_pl.data.loading.dataset import FaceCrops
from resgat_pl.data.loading.resumable import ResumableLoader
from resgat_pl.data.loading.shard_order import ShardSampler
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.data.transforms import FlipAugmentation

Batches = list[dict[str, Any]]


def shard_loader(
    crops: Path,
    split: str = "train",
    ranks: int = 1,
    rank: int = 0,
    workers: int = 0,
    batch_size: int = 8,
    buffer: int = 20,
    masks: bool = False,
    seed: int = 3,
    lanes: int | None = None,
) -> ResumableLoader:
    """A loader for training, or for evaluation if ``buffer`` is 0."""
    manifest = Manifest.read(crops)
    shards = shards_of(manifest)
    assert shards is not None
    faces = FaceCrops(manifest, np.array(split_rows(crops, split)), 48, FlipAugmentation(0.5), masks=masks)
    order = "shuffled" if buffer else None
    sampler = ShardSampler(faces, shards, ranks, rank, batch_size, seed, order, buffer, lanes)
    return ResumableLoader(faces, sampler, batch_size, workers)


def epoch(of: ResumableLoader, number: int) -> Batches:
    """The batches of an epoch."""
    of.sampler.set_epoch(number)
    return list(of)


def rows(batches: Batches) -> list[int]:
    """The rows of the manifest in batches."""
    return [row for batch in batches for row in batch["row"].tolist()]


def same(one: Batches, other: Batches) -> bool:
    """Whether batches are equal bit for bit."""
    return len(one) == len(other) and all(
        torch.equal(a[name], b[name]) for a, b in zip(one, other, strict=True) for name in a
    )


def split_rows(crops: Path, split: str = "train") -> list[int]:
    """The rows of a split."""
    return [int(row) for row in np.flatnonzero(Manifest.read(crops).column("split") == split)]
