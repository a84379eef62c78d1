"""``trainer.overfit_batches``: the same crops in every epoch, validated on, in every order and store."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pytest
from lightning.pytorch import Callback

from resgat_pl.data.datamodule import FaceDataModule
from resgat_pl.data.loading.dataset import FaceCrops
from resgat_pl.data.loading.samplers import Order, SameSampler, TrainSampler
from resgat_pl.data.manifest.table import Manifest

from ..helpers.command import metrics
from ..helpers.tiny_runs import TABLE, Done, tiny, variant

SEEN: dict[str, list[list[int]]] = {"train": [], "val": []}
IMAGES: set[float] = set()


class Rows(Callback):
    """Notes the rows of all batches."""

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        SEEN["train"].append(batch["row"].tolist())
        IMAGES.add(float(batch["image"].sum()))

    def on_validation_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        SEEN["val"].append(batch["row"].tolist())
        IMAGES.add(float(batch["image"].sum()))


def overfit(root: Path, crops: Path, *more: object) -> Done:
    SEEN["train"], SEEN["val"] = [], []
    IMAGES.clear()
    return tiny("fit", root, crops, "--trainer.overfit_batches", 2, "--trainer.num_sanity_val_steps", 0,
                "--trainer.callbacks", f"{__name__}.Rows", "--heatmaps.faces", 0, *more)  # fmt: skip


@pytest.mark.parametrize("order", get_args(Order))
def test_draws_do_not_depend_on_the_epoch(order: Order, ffpp_crops: Path) -> None:
    manifest = Manifest.read(ffpp_crops)
    faces = FaceCrops(manifest, manifest.rows_of("train"), 48)
    for rank in range(2):
        sampler = SameSampler(TrainSampler(faces, 2, rank, seed=3, order=order))
        first = list(sampler)
        sampler.set_epoch(4)
        assert list(sampler) == first
        assert len(first) == len(sampler)
        expected = TrainSampler(faces, 2, rank, seed=3, order=order)
        assert [(draw.position, None) for draw in expected] == first


@pytest.mark.parametrize("store", ["files", pytest.param("shards", marks=pytest.mark.long)])
def test_the_same_crops_in_every_epoch(store: str, ffpp_crops: Path, shard_crops: Path, tmp_path: Path) -> None:
    crops = ffpp_crops if store == "files" else shard_crops
    augmentation = ("--data.augmentation", "resgat_pl.data.transforms.FlipAugmentation")
    done = overfit(tmp_path, crops, "--trainer.max_epochs", 3, *augmentation)
    assert done.status == 0, done.errors
    assert len(SEEN["train"]) == 6
    first = SEEN["train"][:2]
    assert SEEN["train"] == SEEN["val"] == first * 3
    assert len(IMAGES) == 2  # not augmented
    assert any("overfit_batches is set" in text for text in done.warned)
    assert not any("turning off" in text for text in done.warned)


def test_unaltered_faces_are_not_overfitted(ffpp_crops: Path, tmp_path: Path) -> None:
    manifest = Manifest.read(ffpp_crops)
    fakes = manifest.column("label") == 1
    known = manifest.table.column_names.index("altered")
    altered = pa.array(np.where(fakes & (np.arange(len(fakes)) % 2 == 0), False, None), pa.bool_())
    table = manifest.table.set_column(known, "altered", altered)
    crops = variant(ffpp_crops, tmp_path / "crops")
    Manifest(crops, table, manifest.info).write()
    data = FaceDataModule(crops, image_size=48, num_workers=0)
    state = SimpleNamespace(fn="fit")
    trainer: Any = SimpleNamespace(world_size=1, global_rank=0, state=state, overfit_batches=2)
    data.trainer = trainer
    seen = [row for batch in data.train_dataloader() for row in batch["row"].tolist()]
    assert any(data.manifest.untouched[data.manifest.rows_of("train")])
    assert not any(data.manifest.untouched[seen])


@pytest.mark.long
def test_it_overfits(ffpp_crops: Path, tmp_path: Path) -> None:
    done = overfit(tmp_path, ffpp_crops, "--trainer.max_epochs", 10, "--trainer.overfit_batches", 1, *TABLE)
    assert done.status == 0, done.errors
    found = metrics(tmp_path)
    assert found["val/frame_auroc"] == 1
    assert found["train/loss"] < 0.2


def test_a_metric_without_a_value_is_named(ffpp_crops: Path, tmp_path: Path) -> None:
    """Two crops that are validated again and again are of one class."""
    done = overfit(tmp_path, ffpp_crops, "--trainer.overfit_batches", 1, "--data.batch_size", 2, "--data.seed", 1)
    assert done.status == 0, done.errors
    undefined = "is undefined (NaN): the crops that were validated are of one class"
    message = [text for text in done.warned if undefined in text]
    labels = {row for rows in SEEN["val"] for row in rows}
    assert len(labels) == 2
    assert len(message) == 1
    assert "val/video_auroc" in message[0]
