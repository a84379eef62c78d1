from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.parts import class_path
from resgat_pl.nn.pooled import PooledClassifier
from resgat_pl.nn.resgat import ResGAT

from ..helpers.other_nets import Gated


def make(**arguments: Any) -> PooledClassifier:
    return PooledClassifier(**{"encoder": "resnet18", "encoder_stage": 3, "image_size": 64, **arguments}).eval()


@pytest.mark.parametrize("head", ["linear", "mlp"])
@pytest.mark.parametrize("normalize", ["imagenet", "none"])
def test_the_logit_is_that_of_the_mean_node(images: Tensor, head: str, normalize: str) -> None:
    net = make(head=head, normalize=normalize)
    nodes = net.encode(images)
    given = (images - net.mean) / net.std if normalize == "imagenet" else images
    torch.testing.assert_close(nodes, net.backbone(given).flatten(2).transpose(1, 2))
    output = net(images)
    torch.testing.assert_close(output.logit, net.head(nodes.mean(dim=1)))
    torch.testing.assert_close(output.probability, output.logit.sigmoid())
    assert torch.equal(net.forward_nodes(nodes).logit, output.logit)
    assert net.lattice(96, 128).shape == (6, 8)


def test_encoder_and_training_are_those_of_resgat(images: Tensor) -> None:
    torch.manual_seed(3)
    net = make(train="norms")
    torch.manual_seed(3)
    resgat = ResGAT(encoder="resnet18", encoder_stage=3, heads=1, hidden=4, image_size=64, train="norms").eval()
    assert torch.equal(net.encode(images), resgat.encode(images))
    trained = {name for name, value in net.backbone.named_parameters() if value.requires_grad}
    assert trained == set(net.backbone.norm_names())
    frozen = make(train="frozen").train()
    assert not frozen.backbone.training
    assert frozen.head.training


@pytest.mark.parametrize("name", ["test_vit", "test_vit2", "test_vit3", "test_eva"])
def test_the_class_token_alone(name: str) -> None:
    timm = pytest.importorskip("timm")
    if not timm.is_model(name):
        pytest.skip(f"this timm has no {name}")
    torch.manual_seed(0)
    try:
        net = make(encoder=f"timm/{name}", encoder_stage=4, pooling="cls", image_size=160)
    except ConfigError as error:
        assert "has no class token" in str(error)
        return
    images = torch.rand(2, 3, 160, 160)
    nodes = net.encode(images)
    assert nodes.shape == (2, 1, net.backbone.out_channels)
    given = (images - net.mean) / net.std
    expected = net.backbone.model.norm(net.backbone.model.forward_features(given))[:, 0]
    if type(net.backbone.model.norm).__name__ != "Identity":  # forward_features has normalised already
        expected = net.backbone.model.forward_features(given)[:, 0]
    torch.testing.assert_close(nodes[:, 0], expected)
    net.head.train().requires_grad_(True)
    net(images).logit.sum().backward()
    assert [name for name, value in net.named_parameters() if value.requires_grad and value.grad is None] == []


def test_what_cannot_be() -> None:
    with pytest.raises(ConfigError, match=r"pooling is cls, but the encoder resnet18 has no class token: set mean"):
        make(pooling="cls")
    with pytest.raises(ConfigError, match="pooling is 'max'; it must be mean or cls"):
        make(pooling="max")
    with pytest.raises(ConfigError, match="dropout is 1; it must be at least 0"):
        make(dropout=1)
    with pytest.raises(ConfigError, match=r"There is no head 'lineal'\. Did you mean linear"):
        make(head="lineal")


def test_a_head_from_outside(images: Tensor) -> None:
    net = make(head=class_path(Gated))
    torch.testing.assert_close(net(images).logit, net.head(net.encode(images).mean(dim=1)))
    assert not net.has_contributions
