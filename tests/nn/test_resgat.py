from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from resgat_pl.core.errors import ConfigError, WeightsError
from resgat_pl.nn.checkpoint_file import CHECKPOINT_VERSION
from resgat_pl.nn.encoder_net import Normalization
from resgat_pl.nn.resgat import ResGAT, check_compatible

from .conftest import MakeNet


def save(net: ResGAT, file: Path, **changes: Any) -> None:
    """Write what ``resgat fit`` writes, as far as the network is concerned."""
    checkpoint = {
        "resgat": {"version": CHECKPOINT_VERSION, "net": net.config},
        "state_dict": {f"net.{key}": value for key, value in net.state_dict().items()}
        | {"val_loss.value": torch.ones(1)},
        "epoch": 3,
    }
    torch.save({**checkpoint, **changes}, file)


@pytest.mark.parametrize(
    ("encoder", "stage", "shape"),
    [("resnet18", 4, (3, 4)), ("resnet18", 3, (6, 8)), ("mobilenet_v2", 4, (3, 4)), ("efficientnet_b0", 3, (6, 8))],
)
def test_output_of_any_encoder(
    make_net: MakeNet, images: Tensor, encoder: str, stage: int, shape: tuple[int, int]
) -> None:
    net = make_net(encoder=encoder, encoder_stage=stage)
    output = net(images)
    rows, columns = shape
    edges = 5 * rows * columns - 2 * rows - 2 * columns
    assert net.grid.shape == shape
    assert output.logit.shape == output.probability.shape == (3,)
    assert output.edge_index.shape == (2, edges)
    assert output.attention.shape == (3, edges, 3)
    torch.testing.assert_close(output.probability, output.logit.sigmoid())
    received = torch.zeros(3, rows * columns, 3).index_add(1, output.edge_index[1], output.attention)
    torch.testing.assert_close(received, torch.ones_like(received))


def test_sizes_may_change_between_calls(make_net: MakeNet, images: Tensor) -> None:
    net = make_net()
    before = net(images).logit
    net(torch.rand(2, 3, 64, 97))
    assert net.grid.shape == (2, 4)
    assert torch.equal(net(images).logit, before)


@pytest.mark.parametrize("attention", ["gatv1", "gatv2"])
def test_an_image_is_judged_alone(make_net: MakeNet, images: Tensor, attention: str) -> None:
    net, images = make_net(attention=attention).double(), images.double()  # convolutions round by the batch's size
    together = net(images)
    assert together.logit.std() > 1e-3, "images differ"
    assert together.attention.std(dim=0).max() > 1e-3
    for i in range(len(images)):
        alone = net(images[i : i + 1])
        torch.testing.assert_close(alone.logit[0], together.logit[i], atol=1e-10, rtol=1e-10)
        torch.testing.assert_close(alone.attention[0], together.attention[i], atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("attention", ["gatv1", "gatv2"])
@pytest.mark.parametrize("head", ["linear", "mlp", "normalised"])
def test_every_parameter_learns(make_net: MakeNet, images: Tensor, attention: str, head: str) -> None:
    """A parameter without gradient would also stop DistributedDataParallel."""
    net = make_net(attention=attention, head=head, dropout=0.1).train()
    net(images).logit.square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize(("stage", "side", "least"), [(4, 32, 33), (3, 16, 17)])
def test_too_small_images_are_refused_with_the_minimum(make_net: MakeNet, stage: Any, side: int, least: int) -> None:
    net = make_net(encoder_stage=stage)
    message = rf"{side}×100 pixels.*at least {least} pixels"
    with pytest.raises(ConfigError, match=message):
        net(torch.rand(1, 3, side, 100))
    assert net(torch.rand(1, 3, least, 100)).logit.isfinite().all()
    with pytest.raises(ConfigError, match="too small"):
        ResGAT(encoder="resnet18", encoder_stage=stage, image_size=side)


def test_features_must_fit_the_grid(make_net: MakeNet, images: Tensor) -> None:
    net = make_net()
    features = net.encode(images)
    net.encode(torch.rand(1, 3, 224, 224))
    with pytest.raises(ConfigError, match=r"12 nodes.*7×7"):
        net.graph(features)


def test_nodes_may_come_from_elsewhere(make_net: MakeNet, images: Tensor) -> None:
    net = make_net()
    nodes = net.encode(images)
    assert torch.equal(net.forward_nodes(nodes).logit, net(images).logit)


def test_imagenet_normalisation_is_torchvisions(make_net: MakeNet, images: Tensor) -> None:
    net = make_net()
    expected = net(images).logit
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    plain = ResGAT(**{**net.config, "normalize": "none"}).eval()
    plain.load_state_dict(net.state_dict())
    torch.testing.assert_close(plain((images - mean[:, None, None]) / std[:, None, None]).logit, expected)
    assert not torch.allclose(plain(images).logit, expected)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("attention", "gatv3"),
        ("head", "none"),
        ("normalize", "yes"),
        ("encoder_stage", 5),
        ("heads", 0),
        ("hidden", -1),
        ("dropout", 1.0),
    ],
)
def test_arguments_out_of_range_are_named(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"{name} (is )?{value!r}"):
        ResGAT(**{"encoder": "resnet18", name: value})


def test_memory_format_changes_nothing(make_net: MakeNet, images: Tensor) -> None:
    net = make_net()
    expected = net(images).logit
    net.to(memory_format=torch.channels_last)
    found = net(images.contiguous(memory_format=torch.channels_last)).logit
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"attention": "gatv1", "head": "mlp", "encoder_stage": 3, "dropout": 0.1},
        {"head": "normalised", "receptive": 65},
    ],
)
def test_load_restores_network_and_configuration(
    make_net: MakeNet, images: Tensor, tmp_path: Path, arguments: dict[str, Any]
) -> None:
    net = make_net(**arguments)
    net.config["weights"] = "imagenet"  # must be neither needed nor fetched
    save(net, tmp_path / "best.ckpt")
    loaded = ResGAT.load(tmp_path / "best.ckpt")
    assert not loaded.training
    assert torch.equal(loaded(images).logit, net(images).logit)
    assert {**loaded.config, "weights": "imagenet"} == net.config


def test_load_says_what_is_wrong(make_net: MakeNet, tmp_path: Path) -> None:
    net = make_net()
    file = tmp_path / "x.ckpt"

    def refused(match: str, **changes: Any) -> None:
        save(net, file, **changes)
        with pytest.raises(WeightsError, match=match) as caught:
            ResGAT.load(file)
        assert "x.ckpt" in str(caught.value)

    version = CHECKPOINT_VERSION
    with pytest.raises(WeightsError, match=r"gone\.ckpt"):
        ResGAT.load(tmp_path / "gone.ckpt")
    refused("not a ResGAT checkpoint", resgat=None)
    refused("not a ResGAT checkpoint", state_dict=3)
    refused(f"format {version + 1}.*upgrade", resgat={"version": version + 1, "net": net.config})
    refused("resnet19", resgat={"version": version, "net": {**net.config, "encoder": "resnet19"}})
    refused("depth", resgat={"version": version, "net": {**net.config, "depth": 2}})
    refused(r"missing \(.*gat\.att_src", resgat={"version": version, "net": {**net.config, "attention": "gatv1"}})
    refused("missing", state_dict={})


def test_differing_architecture_is_named() -> None:
    config = {"attention": "gatv1", "encoder": "resnet18", "encoder_stage": 3, "heads": 2, "hidden": 4, "head": "mlp",
              "normalize": "none", "receptive": 65}  # fmt: skip
    check_compatible(config, {**config, "weights": "imagenet", "dropout": 0.5, "image_size": 299})
    for name, value in config.items():
        with pytest.raises(WeightsError, match=rf"{name} is other there and {value} here"):
            check_compatible(config, {**config, name: "other"})


def test_building_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:  # nor importing: tests/test_silence.py
    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("network")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    ResGAT(encoder="resnet18")


@pytest.mark.parametrize("normalize", ["none", "imagenet"])
def test_in_64_bits_images_are_too(normalize: Normalization) -> None:
    net = ResGAT(encoder="resnet18", encoder_stage=3, heads=1, hidden=2, normalize=normalize, image_size=64).double()
    assert net(torch.rand(1, 3, 64, 64)).logit.dtype == torch.float64
