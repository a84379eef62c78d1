"""Only what the encoder's source gives bit by bit is left out, and it comes back the same."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save, save_file
from torch import Tensor
from torchvision import models

from resgat_pl.core.errors import WeightsError
from resgat_pl.nn.encoder_source import BACKBONE, EncoderSource, leave_out, same_bits
from resgat_pl.nn.resgat import ResGAT

from ..helpers.hub import put, without_network

VIT = "timm/test_vit.r160_in1k"  # 0.4 million parameters, made by timm for tests
SMALL: dict[str, Any] = {"heads": 1, "hidden": 4, "image_size": 64}


@pytest.fixture
def vit_file(tmp_path: Path) -> Path:
    """Weights of a whole timm model."""
    path = tmp_path / "elsewhere" / "vit.safetensors"
    path.parent.mkdir()
    save_file(timm.create_model("test_vit").state_dict(), path)
    return path


def state_of(net: ResGAT) -> dict[str, Tensor]:
    return {f"net.{name}": value for name, value in net.state_dict().items()}


@torch.no_grad()
def train_a_little(net: ResGAT) -> None:
    """Change what training would, with batch statistics of images."""
    net.train()
    net.backbone(torch.rand(2, 3, 64, 64))
    for parameter in net.parameters():
        if parameter.requires_grad:
            parameter.add_(0.01 * torch.randn_like(parameter))
    net.eval()


@pytest.mark.parametrize("train", ["frozen", "norms", "lora"])
def test_what_was_not_trained_is_left_out(vit_file: Path, train: str) -> None:
    net = ResGAT(encoder=VIT, weights=vit_file, train=train, **SMALL)  # type: ignore[arg-type]
    train_a_little(net)
    state = state_of(net)
    found = leave_out(state, net.config)
    trained = {f"net.{name}" for name, parameter in net.named_parameters() if parameter.requires_grad}
    assert found.source is not None
    assert not found.names & trained
    assert found.names == {name for name in state if name.startswith(BACKBONE)} - trained
    assert found.source.sha256 == hashlib.sha256(vit_file.read_bytes()).hexdigest()
    assert (found.source.weights, found.file, found.note) == ("vit.safetensors", vit_file, "")
    again = found.source.state(vit_file)
    assert all(same_bits(again[name], state[name]) for name in found.names)


def test_batch_statistics_that_training_moved_are_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    torch.save(models.resnet18().state_dict(), tmp_path / "checkpoints" / "resnet18-f37072fd.pth")
    found = {}
    for train in ("norms", "frozen"):
        net = ResGAT(encoder="resnet18", weights="imagenet", encoder_stage=3, train=train, **SMALL)  # type: ignore[arg-type]
        train_a_little(net)
        found[train] = leave_out(state_of(net), net.config)
        assert found[train].source == EncoderSource("resnet18", "imagenet", None, 3, train)  # type: ignore[arg-type]
    assert {name.rpartition(".")[2] for name in found["norms"].names} == {"weight"}  # of convolutions
    assert any(name.endswith("running_mean") for name in found["frozen"].names)


def test_a_limited_encoder_comes_back_limited(tmp_path: Path) -> None:
    torch.save(models.resnet18().state_dict(), tmp_path / "resnet18.pth")
    options: dict[str, Any] = {"encoder": "resnet18", "encoder_stage": 3, "train": "frozen", **SMALL}
    net = ResGAT(weights=tmp_path / "resnet18.pth", receptive=65, **options)
    found = leave_out(state_of(net), net.config)
    assert found.source is not None
    assert found.names == {name for name in state_of(net) if name.startswith(BACKBONE)}
    again = EncoderSource.read(found.source.plain(), "config.json")
    assert again.receptive == 65
    state = again.state(tmp_path / "resnet18.pth")
    assert all(same_bits(state[name], state_of(net)[name]) for name in found.names)
    unlimited = ResGAT(weights=tmp_path / "resnet18.pth", **options)
    source = leave_out(state_of(unlimited), unlimited.config).source
    assert source is not None
    assert "receptive" not in source.plain()  # as it was written before there was one
    old = {name: value for name, value in unlimited.config.items() if name != "receptive"}
    assert leave_out(state_of(unlimited), old).source == source


def test_timms_own_weights_are_named_with_their_tag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = without_network(monkeypatch, tmp_path)
    put(cache, "timm/test_vit.r160_in1k", {"model.safetensors": save(timm.create_model("test_vit").state_dict())})
    net = ResGAT(encoder="timm/test_vit", weights="timm", train="norms", **SMALL)
    found = leave_out(state_of(net), net.config)
    assert found.source == EncoderSource(VIT, "timm", None, 4, "norms")
    assert len(found.names) > 30


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"train": "full"}, "the whole encoder was trained"),
        ({"weights": None}, "first weights were random"),
        ({"encoder": "outside.Patches"}, "neither of torchvision nor of timm"),
        ({"weights": "nowhere.pth"}, r"cannot be had here \(.*nowhere\.pth"),
    ],
)
def test_all_is_stored_where_the_source_is_not_known(
    vit_file: Path, changes: dict[str, Any], note: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    net = ResGAT(encoder=VIT, weights=vit_file, train="frozen", **SMALL)
    found = leave_out(state_of(net), {**net.config, **changes})
    assert (found.names, found.source) == (frozenset(), None)
    assert re.search(note, found.note)


def test_other_weights_than_the_sources_are_stored(vit_file: Path) -> None:
    net = ResGAT(encoder=VIT, weights=vit_file, train="frozen", **SMALL)
    state = state_of(net)
    changed = next(name for name in state if name.startswith(BACKBONE) and name.endswith("qkv.weight"))
    state[changed] = state[changed].clone()
    state[changed].view(-1)[0] = torch.nextafter(state[changed].view(-1)[0], torch.tensor(9.0))  # the last bit
    assert changed not in leave_out(state, net.config).names
    random = ResGAT(encoder=VIT, train="frozen", **SMALL)
    assert leave_out({**state_of(random)}, net.config).source is not None  # what is constant, such as norms, is equal


def test_first_values_of_low_rank_updates_are_stored(vit_file: Path) -> None:
    for seed in (0, 1, 42):
        torch.manual_seed(seed)
        net = ResGAT(encoder=VIT, weights=vit_file, train="lora", **SMALL)
        left_out = leave_out(state_of(net), net.config).names
        assert not [name for name in left_out if name.endswith((".down", ".up"))]


def test_random_numbers_of_others_are_not_disturbed(vit_file: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    EncoderSource(VIT, vit_file.name, None, 4, "lora").state(vit_file)
    assert torch.equal(torch.rand(3), expected)


def test_a_file_is_looked_for_where_torch_stores_its_own(
    vit_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    source = EncoderSource(VIT, vit_file.name, "0" * 64, 4, "frozen")
    with pytest.raises(
        WeightsError, match=rf"vit\.safetensors \(SHA-256 0+\).*put vit\.safetensors into {tmp_path}/checkpoints"
    ):
        source.state()
    (tmp_path / "checkpoints").mkdir()
    vit_file.rename(tmp_path / "checkpoints" / vit_file.name)
    assert len(source.state()) > 30


def test_a_file_is_taken_for_weights_that_cannot_be_fetched(
    vit_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_network(monkeypatch, tmp_path / "hub")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    source = EncoderSource(VIT, "timm", None, 4, "frozen")
    place = tmp_path / "checkpoints" / "test_vit.r160_in1k.safetensors"
    with pytest.raises(WeightsError, match=rf"not stored with the detector.*put {place.name} into {place.parent}"):
        source.state()
    place.parent.mkdir()
    vit_file.rename(place)
    assert all(same_bits(value, source.state(place)[name]) for name, value in source.state().items())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", "os.system"), ("name", "my_package.Encoder"), ("name", 3),
        ("name", "hf-hub:evil/model"), ("name", "timm/../../evil"), ("name", "timm/hf-hub:evil/model"),
        ("weights", "../../etc/passwd"), ("weights", "/etc/passwd"), ("weights", ""), ("weights", ".."), ("weights", 3),
        ("sha256", "abc"), ("sha256", 3), ("stage", 9), ("stage", "4"), ("train", "full of it"), ("extra", 1),
        ("receptive", 0), ("receptive", True), ("receptive", "65"),
    ],
)  # fmt: skip
def test_a_file_names_no_other_encoder(name: str, value: object) -> None:
    stored = EncoderSource(VIT, "timm", None, 4, "norms").plain()
    with pytest.raises(WeightsError, match=r"config\.json names no encoder of torchvision or timm"):
        EncoderSource.read({**stored, name: value}, "config.json")
    for other in (None, [], {}, "timm"):
        with pytest.raises(WeightsError, match="config"):
            EncoderSource.read(other, "config.json")


def test_bits_are_compared_not_values() -> None:
    nan, zero = torch.tensor([float("nan")]), torch.tensor(0.0)
    assert same_bits(nan, nan.clone())
    assert not same_bits(zero, -zero)
    assert not same_bits(zero, zero.double())
    assert not same_bits(zero, zero.view(1))
    assert same_bits(torch.rand(3, 4).bfloat16().t(), torch.zeros(4, 3).bfloat16()) is False
