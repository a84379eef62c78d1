from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from resgat_pl import FaceDataModule
from resgat_pl.core.errors import ConfigError, SplitError
from resgat_pl.data.extraction.settings import Extraction
from resgat_pl.data.loading.shard_order import ShardSampler
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.data.splits.protocols import IdentitySplit

SMALL = Extraction(frames=3, size=64)


def test_prepare_data_extracts_when_missing_or_stale(ffpp_root: Path, tmp_path: Path) -> None:
    data = FaceDataModule(tmp_path / "crops", root=ffpp_root, extraction=SMALL)
    data.prepare_data()
    written = (tmp_path / "crops" / "manifest.parquet").stat().st_mtime_ns
    data.prepare_data()
    assert (tmp_path / "crops" / "manifest.parquet").stat().st_mtime_ns == written
    other = FaceDataModule(tmp_path / "crops", root=ffpp_root, extraction=Extraction(frames=1, size=64))
    with pytest.raises(ConfigError, match="cut with other settings"):
        other.prepare_data()
    victim = next((tmp_path / "crops" / "fragments").glob("*.parquet"))
    whole = victim.read_bytes()
    victim.unlink()
    (tmp_path / "crops" / "manifest.parquet").unlink()
    data.prepare_data()
    assert victim.read_bytes() == whole
    assert len(Manifest.read(tmp_path / "crops")) == 3 * 42


def test_batches(ffpp_crops: Path) -> None:
    data = FaceDataModule(ffpp_crops, image_size=48, batch_size=5, num_workers=0)
    data.setup("fit")
    batch = data.on_after_batch_transfer(next(iter(data.val_dataloader())), 0)
    assert batch["image"].shape == (5, 3, 48, 48)
    assert batch["image"].dtype == batch["label"].dtype == torch.float32
    assert batch["image"].min() >= 0
    assert 0.5 < batch["image"].max() <= 1
    counted = sum(len(b["row"]) for b in data.val_dataloader())
    assert counted == len(data.faces("val")) == int((Manifest.read(ffpp_crops).column("split") == "val").sum())


def limited(crops: Path, stage: str, limit: float, **options: Any) -> FaceDataModule:
    """A data module whose trainer, as much of it as is asked, looks at some batches of a stage."""
    data = FaceDataModule(crops, image_size=48, batch_size=4, num_workers=0, **options)
    state = SimpleNamespace(fn="fit")
    known = {f"limit_{name}_batches": 1.0 for name in ("val", "test", "predict")} | {f"limit_{stage}_batches": limit}
    trainer: Any = SimpleNamespace(world_size=1, global_rank=0, state=state, overfit_batches=0, **known)
    data.trainer = trainer
    return data


@pytest.mark.parametrize("limit", [2, 0.5, 1.0, 999])
@pytest.mark.parametrize("store", ["files", "shards"])
def test_a_limited_validation_sees_both_classes(store: str, limit: float, ffpp_crops: Path, shard_crops: Path) -> None:
    """A manifest, and each shard, begins with the originals."""
    data = limited(ffpp_crops if store == "files" else shard_crops, "val", limit)
    loader = data.val_dataloader()
    batches = list(loader)
    rows = [row for batch in batches for row in batch["row"].tolist()]
    assert sorted(rows) == data.faces("val").rows.tolist()
    whole = limit in {1.0, 999}
    assert isinstance(loader.sampler, ShardSampler) == (whole and store == "shards")
    if store == "files":
        assert (rows == sorted(rows)) == whole
    if limit == 2:
        assert {label for batch in batches[:2] for label in batch["label"].tolist()} == {0.0, 1.0}


@pytest.mark.parametrize("stage", ["test", "predict"])
def test_a_limit_is_that_of_its_stage(stage: str, ffpp_crops: Path) -> None:
    """What is predicted may be the split of another stage."""
    data = limited(ffpp_crops, stage, 2, predict_split="val")
    for name, loader in (("test", data.test_dataloader()), ("predict", data.predict_dataloader())):
        rows = [row for batch in loader for row in batch["row"].tolist()]
        assert (rows != sorted(rows)) == (name == stage)


def test_workers_give_what_the_main_process_gives(ffpp_crops: Path) -> None:
    from resgat_pl.data.transforms import DFDCAugmentation

    def epoch(workers: int) -> list[torch.Tensor]:
        data = FaceDataModule(ffpp_crops, augmentation=DFDCAugmentation(), image_size=48, num_workers=workers)
        return [batch["image"] for batch in data.train_dataloader()]

    assert all(torch.equal(a, b) for a, b in zip(epoch(0), epoch(2), strict=True))


def test_no_video_and_no_identity_is_on_two_sides(ffpp_crops: Path) -> None:
    for split in (None, IdentitySplit(seed=3)):
        manifest = FaceDataModule(ffpp_crops, split=split).manifest
        sides: dict[str, set[str]] = {}
        for video, side in zip(manifest.table.to_pylist(), manifest.column("split"), strict=True):
            for identity in video["identities"]:
                sides.setdefault(identity, set()).add(side)
        assert all(len(side) == 1 for side in sides.values())
        assert set.union(*sides.values()) == {"train", "val", "test"}


def test_splits_that_cannot_be_used(ffpp_crops: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(ffpp_crops, tmp_path / "crops"))
    manifest = Manifest.read(folder)
    reals = manifest.column("label") == 0
    manifest.with_splits(["train" if real else "val" for real in reals]).write()
    data = FaceDataModule(folder)
    with (
        pytest.warns(UserWarning, match="'val' holds only fake faces"),
        pytest.raises(SplitError, match=r"split .train. has no fake.* train 42 real and 0 fake"),
    ):
        data.setup("fit")
    with pytest.raises(SplitError, match="has no real and no fake"):
        data.setup("test")
    with pytest.raises(SplitError, match="has no crops"):
        data.setup("predict")


def test_neither_root_nor_manifest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.root is not set"):
        FaceDataModule(tmp_path).prepare_data()
