"""Training from cached features of a frozen encoder."""

from __future__ import annotations

import errno
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer, seed_everything
from torch import Tensor

from resgat_pl.core.errors import ConfigError, MediaError, StorageError
from resgat_pl.core.types import ResGATOutput
from resgat_pl.data.datamodule import FaceDataModule
from resgat_pl.data.loading import node_features
from resgat_pl.data.manifest.table import Manifest
from resgat_pl.data.transforms import FlipAugmentation
from resgat_pl.nn.checkpoint_file import Checkpoint
from resgat_pl.nn.encoder_net import EncoderNet
from resgat_pl.nn.pooled import PooledClassifier
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.training import feature_cache
from resgat_pl.training.feature_cache import describe
from resgat_pl.training.module import ResGATModule

from ..helpers.command import metrics
from ..helpers.tiny_runs import TABLE, tiny

NET = {"encoder": "resnet18", "encoder_stage": 3, "heads": 2, "hidden": 8, "image_size": 64, "train": "frozen"}
CACHED = 108
"""Crops of the training and validation splits."""


class Run:
    """One epoch with the API; what the encoder saw and what came of it."""

    def __init__(self, crops: Path, cache: Path | None, seed: int = 0, net: Any = None, **options: Any) -> None:
        self.encoded = 0
        seed_everything(seed, verbose=False)
        self.net = net if isinstance(net, EncoderNet) else ResGAT(**{**NET, **(net or {})})
        self.net.backbone.register_forward_hook(self._count)
        module = ResGATModule(self.net, mask_loss_weight=float(options.get("masks", False)))
        data = FaceDataModule(crops, image_size=64, num_workers=0, seed=0, features_cache=cache, **options)
        self.trainer = Trainer(
            max_epochs=1,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Lightning advises on settings that a test has on purpose
            self.trainer.fit(module, data)
        self.data = data

    def _count(self, module: object, inputs: tuple[Tensor], output: object) -> None:
        if inputs[0].std(dim=(2, 3)).max() > 1e-6:  # a blank image only gives the number of nodes
            self.encoded += len(inputs[0])

    @property
    def losses(self) -> list[float]:
        return [float(self.trainer.callback_metrics[name]) for name in ("train/loss", "val/loss")]


@pytest.fixture(scope="module")
def cache(ffpp_crops: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that one training has filled."""
    folder = tmp_path_factory.mktemp("features")
    run = Run(ffpp_crops, folder)
    assert run.encoded == CACHED
    return folder


def parts(cache: Path) -> list[Path]:
    return sorted(cache.glob("*/*.keys.npy"))


@pytest.mark.parametrize(("store", "attention"), [("files", "gatv1"), ("shards", "gatv2")])
def test_the_numbers_are_those_of_the_encoder(
    store: str, attention: str, cache: Path, ffpp_crops: Path, shard_crops: Path
) -> None:
    crops = ffpp_crops if store == "files" else shard_crops
    net = {"attention": attention}
    before = torch.get_rng_state()
    cached = Run(crops, cache, net=net)
    assert cached.encoded == 0, "neither training nor validation runs the encoder; graph and store do not matter to it"
    plain = Run(crops, None, net=net)
    assert plain.encoded > CACHED
    assert cached.losses == pytest.approx(plain.losses, abs=2e-5)
    rows = cached.data.manifest.rows_of("val")
    images = torch.stack([cached.data.faces("val")[place]["image"] for place in range(len(rows))]) / 255
    with torch.no_grad():
        there = plain.net.eval().encode(images)
        features = cached.data.features
        assert features is not None
        nodes = torch.stack([features[row] for row in rows.tolist()])
        torch.testing.assert_close(nodes, there, rtol=1e-4, atol=1e-5)
        logits = plain.net.forward_nodes(nodes).logit
        torch.testing.assert_close(logits, plain.net(images).logit, rtol=0, atol=1e-5)
    torch.set_rng_state(before)


def test_mask_guidance_is_the_same(cache: Path, ffpp_crops: Path) -> None:
    cached, plain = (Run(ffpp_crops, folder, masks=True) for folder in (cache, None))
    assert cached.encoded == 0
    assert "train/mask_loss" in cached.trainer.callback_metrics
    assert cached.losses == pytest.approx(plain.losses, abs=2e-5)


def test_a_frozen_encoder_is_in_evaluation_mode_from_the_first_step(ffpp_crops: Path) -> None:
    run = Run(ffpp_crops, None)
    seed_everything(0, verbose=False)
    before = ResGAT(**NET).backbone.state_dict()
    for name, value in run.net.backbone.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_what_changed_is_computed(cache: Path, ffpp_crops: Path, tmp_path: Path) -> None:
    """One crop of another content; then other weights, another size, and another normalisation."""
    crops, folder = tmp_path / "crops", tmp_path / "cache"
    shutil.copytree(ffpp_crops, crops)
    shutil.copytree(cache, folder)
    manifest = Manifest.read(crops)
    row = int(manifest.rows_of("val")[0])
    data = bytearray(manifest.crop(int(manifest.rows_of("test")[0])).read_bytes())
    manifest.crop(row).write_bytes(data)
    assert Run(crops, folder).encoded == 1
    assert Run(crops, folder).encoded == 0
    assert Run(crops, folder, seed=1).encoded == CACHED
    assert Run(crops, folder, net={"normalize": "none"}).encoded == CACHED
    assert len(list(folder.iterdir())) == 3


def test_an_interrupted_cache_is_completed(ffpp_crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_cache, "PART_BYTES", 40 * 4 * 16 * 256)
    written = []

    def stop_at_the_second(path: Path, data: Any) -> None:
        written.append(path)
        if len(written) == 3:
            path.with_name(".0123.tmp").write_bytes(b"half")
            raise KeyboardInterrupt
        path.write_bytes(data)

    with monkeypatch.context() as patch:
        patch.setattr(node_features, "write_atomic", stop_at_the_second)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            Run(ffpp_crops, tmp_path)
    assert len(parts(tmp_path)) == 1
    (first,) = parts(tmp_path)
    stamp = first.stat().st_mtime_ns
    done = len(np.load(first))
    assert Run(ffpp_crops, tmp_path).encoded == CACHED - done
    assert first.stat().st_mtime_ns == stamp
    assert len(parts(tmp_path)) > 1
    assert not list(tmp_path.glob("*/.*"))


def test_a_full_disk_is_one_error(ffpp_crops: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(feature_cache.shutil, "disk_usage", lambda path: usage._replace(free=10**6))
        with pytest.raises(StorageError, match=r"no space for the features of 108 of 108 crops, 1\.8 MB \(16 nodes"):
            Run(ffpp_crops, tmp_path)

    def full(path: Path, data: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(node_features, "write_atomic", full)
    with pytest.raises(StorageError, match=r"\.npy cannot be written: No space left on device\. Once that is fixed"):
        Run(ffpp_crops, tmp_path)


def test_a_missing_crop_is_named(cache: Path, ffpp_crops: Path, tmp_path: Path) -> None:
    shutil.copytree(ffpp_crops, tmp_path / "crops")
    manifest = Manifest.read(tmp_path / "crops")
    lost = manifest.crop(int(manifest.rows_of("train")[5]))
    lost.unlink()
    with pytest.raises(MediaError, match=lost.name):
        Run(tmp_path / "crops", cache)


@pytest.mark.parametrize("train", ["full", "norms"])
def test_an_encoder_that_is_trained_is_refused(train: str, ffpp_crops: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"net\.train is {train}.*Set --net\.train frozen"):
        Run(ffpp_crops, tmp_path, net={"train": train})
    assert not list(tmp_path.iterdir())


class Scaled(ResGAT):
    """Nodes that depend on more than the encoder."""

    def __init__(self, scale: float = 1.0, trained: bool = False, seed: int = 0, **options: Any) -> None:
        super().__init__(**options)
        noise = torch.randn(256, generator=torch.Generator().manual_seed(seed))
        self.scale, self.shift = scale, torch.nn.Parameter(noise, requires_grad=trained)

    def encode(self, images: Tensor) -> Tensor:
        return self.scale * super().encode(images) + self.shift


class Longer(ResGAT):
    def forward(self, images: Tensor) -> ResGATOutput:
        return super().forward(images.flip(3))


def test_a_limited_encoder_has_features_apart() -> None:
    """Also where a pooling alone is limited, which has no weights."""
    options: dict[str, Any] = {"encoder": "resnet18", "encoder_stage": 3, "heads": 1, "hidden": 2, "train": "frozen"}
    plain, limited = (ResGAT(**options, image_size=64, receptive=limit) for limit in (None, 65))
    assert "receptive" not in describe(plain, 64, (16, 256))  # folders of before are found again
    assert describe(limited, 64, (16, 256))["receptive"] == 65


def test_nodes_of_another_class_are_found_by_its_arguments_and_tensors() -> None:
    nets = [Scaled(**options, **NET) for options in ({}, {"scale": 2.0}, {"seed": 1})]
    for net in nets[1:]:
        net.backbone.load_state_dict(nets[0].backbone.state_dict())
    keys = [describe(net, 64, (16, 256)) for net in nets]
    assert keys[0] == describe(nets[0], 64, (16, 256))
    assert keys[0] != keys[1]
    assert keys[0]["class"]["tensors"] != keys[2]["class"]["tensors"]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Scaled(trained=True, **NET), "encode of Scaled has parameters that are trained"),
        (lambda: Longer(**NET), "Longer has a forward of its own"),
    ],
)
def test_a_network_that_is_more_than_its_nodes_is_refused(
    make: Callable[[], ResGAT], says: str, ffpp_crops: Path, tmp_path: Path
) -> None:
    """Training from its nodes would be that of another network."""
    with pytest.raises(ConfigError, match=says):
        Run(ffpp_crops, tmp_path, net=make())
    assert not list(tmp_path.iterdir())


def test_a_detector_without_a_graph_is_cached_too(ffpp_crops: Path, tmp_path: Path) -> None:
    def make() -> PooledClassifier:
        torch.manual_seed(0)
        return PooledClassifier("resnet18", image_size=64, encoder_stage=3, train="frozen")

    plain, cached = Run(ffpp_crops, None, net=make()), Run(ffpp_crops, tmp_path, net=make())
    assert cached.encoded == CACHED
    assert cached.losses == pytest.approx(plain.losses, abs=1e-4)


def test_what_cannot_be_cached_is_refused(ffpp_crops: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.augmentation is FlipAugmentation.*--data\.augmentation null"):
        FaceDataModule(ffpp_crops, augmentation=FlipAugmentation(), features_cache="features")
    with pytest.raises(ConfigError, match="Name a local folder"):
        FaceDataModule(ffpp_crops, features_cache="s3://bucket/features")


def test_the_command_line_refuses_before_it_builds(ffpp_crops: Path, tmp_path: Path) -> None:
    refused = tiny("fit", tmp_path, ffpp_crops, "--data.features_cache", tmp_path / "features")
    assert refused.status == 2
    assert "net.train is full" in refused.errors
    assert not list(tmp_path.iterdir())


@pytest.mark.long
def test_the_command_line_and_its_checkpoints(ffpp_crops: Path, tmp_path: Path) -> None:
    """Best and last checkpoints are those of a training without the cache, and so is their test."""
    options = ("--net.train", "frozen", *TABLE)
    cached = ("--data.features_cache", tmp_path / "features")
    for name, more in (("plain", ()), ("cached", cached)):
        assert tiny("fit", tmp_path / name, ffpp_crops, *options, *more).status == 0
    plain, from_cache = metrics(tmp_path / "plain"), metrics(tmp_path / "cached")
    assert from_cache == pytest.approx(plain, abs=1e-3)
    found = [Checkpoint.read(tmp_path / name / "checkpoints" / "best.ckpt") for name in ("plain", "cached")]
    assert found[0].net_config == found[1].net_config
    for name, value in found[0].net_state.items():
        torch.testing.assert_close(found[1].net_state[name], value, rtol=0, atol=5e-3)
    done = tiny("test", tmp_path / "t", ffpp_crops, *options, *cached, "--ckpt_path",
                tmp_path / "cached" / "checkpoints" / "best.ckpt")  # fmt: skip
    assert done.status == 0
