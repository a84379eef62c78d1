from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from resgat_pl.core.errors import ConfigError
from resgat_pl.data.datamodule import FaceDataModule
from resgat_pl.data.loading.dataset import Draw
from resgat_pl.data.loading.resumable import ResumableLoader
from resgat_pl.data.loading.samplers import TrainSampler
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.data.self_blends.blender import SelfBlend
from resgat_pl.data.self_blends.crops import SelfBlendedCrops
from resgat_pl.data.transforms import FlipAugmentation

from ...helpers.drawn_faces import drawn_crops
from ...helpers.shard_batches import epoch, same

PEOPLE = 7


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return drawn_crops(tmp_path_factory.mktemp("crops"), ["train"] * PEOPLE + ["val"], side=64)


@pytest.fixture
def faces(manifest: Manifest) -> SelfBlendedCrops:
    return SelfBlendedCrops(manifest, manifest.rows_of("train"), 64, SelfBlend())


def loader(faces: SelfBlendedCrops, rank: int = 0, ranks: int = 1, batch: int = 4) -> ResumableLoader:
    return ResumableLoader(faces, TrainSampler(faces, ranks, rank, 3, "paired"), batch, 0)


def test_each_genuine_crop_is_there_twice(faces: SelfBlendedCrops) -> None:
    assert len(faces) == 2 * PEOPLE
    assert faces.labels.tolist() == [0] * PEOPLE + [1] * PEOPLE
    assert [faces.labels[pair].tolist() for pair in faces.pairs()] == [[1, 0]] * PEOPLE
    assert all(faces.rows[fake] == faces.rows[real] for fake, real in faces.pairs())


def test_a_pair_that_is_drawn_is_one_pair(faces: SelfBlendedCrops) -> None:
    """Both partners of one seed come from one camera, and other seeds give another forgery."""
    for batch in epoch(loader(faces), 0):
        for place in range(0, len(batch["label"]), 2):
            real, fake = (place, place + 1) if batch["label"][place] == 0 else (place + 1, place)
            assert batch["row"][real] == batch["row"][fake]
            assert not batch["mask"][real].any()
            mask = batch["mask"][fake]
            assert batch["mask_known"][real]
            difference = (batch["image"][real].float() - batch["image"][fake].float()).abs().mean(0)
            assert difference[mask == 0].mean() < 0.5 * difference[mask > mask.max() / 2].mean()
    one, other = (faces[Draw(PEOPLE, seed)]["image"] for seed in (1, 2))
    assert not torch.equal(one, other)
    assert torch.equal(one, faces[Draw(PEOPLE, 1)]["image"])


def test_partners_are_augmented_alike(manifest: Manifest) -> None:
    rows = manifest.rows_of("train")
    plain, flipped = (
        SelfBlendedCrops(manifest, rows, 64, SelfBlend(), change) for change in (None, FlipAugmentation(1))
    )
    for place in (0, PEOPLE):
        assert torch.equal(flipped[Draw(place, 5)]["image"], plain[Draw(place, 5)]["image"].flip(2))
    assert torch.equal(flipped[Draw(PEOPLE, 5)]["mask"], plain[Draw(PEOPLE, 5)]["mask"].flip(1))


@pytest.mark.parametrize("taken", [1, 2])
def test_a_resumed_epoch_gives_the_same_pairs(faces: SelfBlendedCrops, taken: int) -> None:
    expected = epoch(loader(faces), 1)
    other = loader(faces)
    other.load_state_dict({**other.state_dict(), "epoch": 1, "batches": taken})
    assert same(epoch(other, 1), expected[taken:])
    assert not same(epoch(loader(faces), 2), expected)  # each epoch has others


def test_ranks_get_whole_pairs(faces: SelfBlendedCrops) -> None:
    drawn = []
    for rank in range(2):
        draws = list(TrainSampler(faces, 2, rank, 3, "paired"))
        places = np.array([draw.position for draw in draws]).reshape(-1, 2)
        assert sorted(set(faces.labels[places].sum(axis=1).tolist())) == [1]
        assert (faces.rows[places[:, 0]] == faces.rows[places[:, 1]]).all()
        assert all(draws[place].seed == draws[place + 1].seed for place in range(0, len(draws), 2))
        drawn.append(set(faces.rows[places[:, 0]].tolist()))
    assert drawn[0] | drawn[1] == set(faces.rows.tolist())


def test_fakes_and_crops_without_landmarks_are_left_out(manifest: Manifest) -> None:
    rows = manifest.table.to_pylist()
    rows[0]["landmarks"] = None
    rows[1] |= {"label": 1, "method": "swap"}
    other = Manifest(manifest.folder, manifest.table.from_pylist(rows, manifest.table.schema), {})
    faces = SelfBlendedCrops(other, other.rows_of("train"), 64, SelfBlend())
    assert len(faces) == 2 * (PEOPLE - 2)
    assert faces.without_landmarks == 1
    assert not {0, 1} & set(faces.rows.tolist())
    with pytest.raises(ConfigError, match="1 are genuine, none of them with landmarks"):
        SelfBlendedCrops(other, np.array([0, 1]), 64, SelfBlend())


def test_a_training_draws_pairs_by_the_data_module(manifest: Manifest) -> None:
    data = FaceDataModule(
        manifest.folder, image_size=64, batch_size=4, num_workers=0, order="paired", self_blend=SelfBlend()
    )
    batch = next(iter(data.train_dataloader()))
    assert sorted(batch["label"].tolist()) == [0, 0, 1, 1]
    assert batch["mask"].shape == (4, 64, 64)


def test_requests_carry_what_a_loading_process_needs(faces: SelfBlendedCrops, tmp_path: Path) -> None:
    request = faces.request(Draw(PEOPLE + 2, 9))
    assert request.landmarks is not None
    points = faces.manifest.table.column("landmarks")[int(faces.rows[2])].as_py()
    assert np.allclose(request.landmarks, points)
    loading = replace(faces.loader(), folder=tmp_path)
    with pytest.raises(Exception, match="cannot be read"):
        loading[request]


def test_several_pairs_of_each_crop(manifest: Manifest) -> None:
    faces = SelfBlendedCrops(manifest, manifest.rows_of("train"), 64, SelfBlend(pairs_per_crop=3))
    assert len(faces) == 6 * PEOPLE
    assert (faces.rows[faces.pairs()[:, 0]] == faces.rows[faces.pairs()[:, 1]]).all()
    drawn = [faces[Draw(place, seed)]["image"] for place, seed in ((3 * PEOPLE, 1), (4 * PEOPLE, 1), (4 * PEOPLE, 2))]
    assert torch.equal(drawn[0], drawn[1])  # the same crop and seed
    assert not torch.equal(drawn[1], drawn[2])


def test_a_loading_process_mixes_no_pairs_up(faces: SelfBlendedCrops) -> None:
    """It stores the last pair, since the partner is asked for next."""
    loading = faces.loader()
    draws = [(0, 1), (PEOPLE, 1), (PEOPLE, 2), (1, 2), (PEOPLE + 1, 2), (0, 1)]
    for draw in (Draw(*draw) for draw in draws):
        assert torch.equal(loading[faces.request(draw)]["image"], faces[draw]["image"])
