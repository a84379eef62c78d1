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


@pytest.mark.parametrize("head", ["linear", "mlp", "normalised"])
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


def test_the_class_token_alone() -> None:
    pytest.importorskip("timm")
    net = make(encoder="timm/test_vit", encoder_stage=4, pooling="cls")
    images = torch.rand(2, 3, 64, 64)
    nodes = net.encode(images)
    expected = net.backbone.get_submodule("model").forward_features((images - net.mean) / net.std)
    torch.testing.assert_close(nodes, expected[:, :1])
    assert net.lattice(64, 64).shape == (4, 4)
    net(images).logit.sum().backward()
    assert [name for name, value in net.named_parameters() if value.grad is None] == []  # else DDP would stop
    with pytest.raises(ConfigError, match="test_vit2 has no class token"):  # a register is none
        make(encoder="timm/test_vit2", encoder_stage=4, pooling="cls")


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
