"""Training that goes on within an epoch, from either store."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from resgat_pl.core.errors import ConfigError
from resgat_pl.data.datamodule import FaceDataModule
from resgat_pl.data.loading.dataset import FaceCrops
from resgat_pl.data.loading.resumable import ResumableLoader
from resgat_pl.data.loading.samplers import TrainSampler
from resgat_pl.data.manifest.table import Manifest

from ...helpers.shard_batches import epoch, rows, same, shard_loader


def file_loader(crops: Path, batch_size: int = 8, ranks: int = 1, workers: int = 0) -> ResumableLoader:
    manifest = Manifest.read(crops)
    faces = FaceCrops(manifest, manifest.rows_of("train"), 48)
    return ResumableLoader(faces, TrainSampler(faces, ranks, 0, 3, "shuffled"), batch_size, workers)


@pytest.mark.parametrize("store", ["files", "shards", "lanes"])
@pytest.mark.parametrize("taken", [0, 1, 2, 5])
def test_a_resumed_epoch_goes_on_at_the_very_batch(store: str, ffpp_crops: Path, shard_crops: Path, taken: int) -> None:
    def loader() -> ResumableLoader:
        if store == "files":
            return file_loader(ffpp_crops, 5)
        return shard_loader(shard_crops, batch_size=5, lanes=3 if store == "lanes" else None)

    expected = epoch(loader(), 1)
    other = loader()
    other.load_state_dict({**other.state_dict(), "epoch": 1, "batches": taken})
    assert same(epoch(other, 1), expected[taken:])
    assert len(epoch(other, 2)) == len(other) == len(expected)  # the next epoch is whole again


@pytest.mark.parametrize("store", ["files", "shards"])
@pytest.mark.parametrize("workers", [1, 2])
def test_processes_go_on_too(store: str, ffpp_crops: Path, shard_crops: Path, workers: int) -> None:
    """Stopped with none, resumed with some."""

    def loader(workers: int) -> ResumableLoader:
        if store == "files":
            return file_loader(ffpp_crops, 5, workers=workers)
        return shard_loader(shard_crops, batch_size=5, lanes=3, workers=workers)

    of = loader(0)
    expected = epoch(of, 0)
    batches = iter(of)
    for _ in range(4):
        next(batches)
    other = loader(workers)
    other.load_state_dict(of.state_dict())
    assert same(epoch(other, 0), expected[4:])


@pytest.mark.parametrize("store", ["files", "shards"])
def test_processes_are_sent_no_manifest(store: str, ffpp_crops: Path, shard_crops: Path) -> None:
    """However many rows it has: only what a crop needs, with each batch."""
    of = file_loader(ffpp_crops) if store == "files" else shard_loader(shard_crops, masks=True)
    loader = of._loader
    assert len(pickle.dumps(loader.dataset)) < 1500
    for batch in loader.batch_sampler:  # type: ignore[union-attr] # it has one
        assert len(pickle.dumps(batch)) < 300 * (len(batch) + 1)


def test_state_counts_what_was_given_out(shard_crops: Path) -> None:
    of = shard_loader(shard_crops, batch_size=5)
    of.sampler.set_epoch(7)
    batches = iter(of)
    expected = list(of)
    of.sampler.set_epoch(7)
    for number in range(1, 4):
        next(batches)
        state = of.state_dict()
        assert (state["epoch"], state["batches"]) == (7, number)
    other = shard_loader(shard_crops, batch_size=5)
    other.load_state_dict(state)
    assert same(epoch(other, 7), expected[3:])
    other.load_state_dict(state)
    assert len(epoch(other, 8)) == len(other)  # the checkpoint of an epoch's end


@pytest.mark.parametrize("store", ["files", "shards"])
def test_a_resumed_epoch_needs_the_settings_it_began_with(store: str, ffpp_crops: Path, shard_crops: Path) -> None:
    make, crops = (file_loader, ffpp_crops) if store == "files" else (shard_loader, shard_crops)
    of = make(crops)
    next(iter(of))
    other = make(crops, batch_size=4, ranks=2)
    other.load_state_dict(of.state_dict())
    message = r"middle of epoch 0.*devices: 1 then, 2 now; .*data.batch_size: 8 then, 4 now.*epoch's end"
    with pytest.raises(ConfigError, match=message):
        next(iter(other))
    other.load_state_dict(of.state_dict())
    assert epoch(other, 1)


def test_a_store_cannot_be_changed_within_an_epoch(ffpp_crops: Path, shard_crops: Path) -> None:
    of, other = file_loader(ffpp_crops), shard_loader(shard_crops)
    next(iter(of))
    other.load_state_dict(of.state_dict())
    with pytest.raises(ConfigError, match=r"\(store: files then, shards now\)"):
        next(iter(other))


def test_classes_that_an_older_version_left_to_chance(shard_crops: Path) -> None:
    of = shard_loader(shard_crops)
    next(iter(of))
    older = of.state_dict()
    del older["order"]["classes"]
    other = shard_loader(shard_crops)
    other.load_state_dict(older)
    with pytest.raises(ConfigError, match=r"\(classes: left to chance, by an older version then, dealt evenly now\)"):
        next(iter(other))


def older_state(**changed: object) -> dict[str, object]:
    """The state of the loader for shards of version 0.1.0, after three batches."""
    order = {"store": "shards", "devices": 1, "data.num_workers": 2, "data.batch_size": 8, "data.shuffle_buffer": 20,
             "data.seed": 3, "crops": "0123456789abcdef-0123456789abcdef", "classes": "dealt evenly"}  # fmt: skip
    return {"epoch": 0, "batches": 3, "order": {**order, **changed}}


def test_an_older_state_of_shards_goes_on_in_the_present_order(shard_crops: Path) -> None:
    expected = epoch(shard_loader(shard_crops), 0)
    other = shard_loader(shard_crops)
    other.load_state_dict(older_state())
    with pytest.warns(UserWarning, match=r"middle of epoch 0 of a version .* after batch 3 .* some crops come twice"):
        assert same(epoch(other, 0), expected[3:])
    assert len(epoch(other, 1)) == len(other)
    other.load_state_dict(older_state(**{"data.batch_size": 4}))
    with pytest.raises(ConfigError, match=r"data.batch_size: 4 then, 8 now"):
        epoch(other, 0)


def test_an_older_state_of_files_goes_on_at_the_very_batch(ffpp_crops: Path) -> None:
    """Its keys are those of version 0.1.0."""
    of = file_loader(ffpp_crops)
    expected = epoch(of, 0)
    order = {"store": "files", "devices": 1, "data.batch_size": 8, "data.order": "shuffled", "data.seed": 3,
             "crops": of._digest}  # fmt: skip
    assert of.state_dict()["order"] == order
    of.load_state_dict({"epoch": 0, "batches": 3, "order": order})
    assert same(epoch(of, 0), expected[3:])


def test_the_last_batch_of_files(ffpp_crops: Path) -> None:
    """It is left out unless it is full or the only one."""
    count = len(Manifest.read(ffpp_crops).rows_of("train"))
    for size in (count - 1, count, count + 1, 7):
        of = file_loader(ffpp_crops, size)
        found = [len(batch["row"]) for batch in of]
        assert len(of) == len(found)
        assert found == ([count] if size > count else [size] * (count // size))


def test_a_checkpoint_of_one_number_of_workers_resumes_with_another(shard_crops: Path) -> None:
    data = [FaceDataModule(shard_crops, num_workers=workers, image_size=32, batch_size=4) for workers in (0, 2)]
    one, other = (module.train_dataloader() for module in data)
    batches = iter(one)
    for _ in range(5):
        next(batches)
    other.load_state_dict(one.state_dict())
    assert np.array_equal(rows(list(other)), rows(list(batches)))
