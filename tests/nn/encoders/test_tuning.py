"""Parts of an encoder that are trained."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from resgat_pl.core.errors import ConfigError
from resgat_pl.nn.encoders.tuning import RANK, TrainMode
from resgat_pl.nn.resgat import ResGAT


def make(train: TrainMode, encoder: str = "resnet18") -> ResGAT:
    torch.manual_seed(0)
    return ResGAT(encoder=encoder, encoder_stage=3, heads=1, hidden=2, image_size=64, train=train)


def trained(net: ResGAT) -> set[str]:
    return {name for name, value in net.backbone.named_parameters() if value.requires_grad}


def test_modes_of_a_convolutional_network() -> None:
    full = make("full")
    assert trained(full) == {name for name, _ in full.backbone.named_parameters()}
    assert trained(make("frozen")) == set()
    assert not make("frozen").backbone.training, "Lightning trains in the mode that a network is built in"
    assert full.backbone.training
    norms = make("norms")
    assert trained(norms) == set(norms.backbone.norm_names())
    assert len(trained(norms)) == 2 * sum(isinstance(one, nn.BatchNorm2d) for one in norms.modules())
    assert all(value.requires_grad for part in (norms.gat, norms.head) for value in part.parameters())
    with pytest.raises(ConfigError, match=r"net\.train is lora.*no attention layers"):
        make("lora")


@pytest.mark.parametrize("encoder", ["resnet18", "timm/test_vit"])
@pytest.mark.parametrize("mode", get_args(TrainMode))
def test_a_step_changes_what_is_trained_and_nothing_else(mode: TrainMode, encoder: str) -> None:
    if encoder.startswith("timm/"):
        pytest.importorskip("timm")
    elif mode == "lora":
        return
    net = make(mode, encoder).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    optimizer = torch.optim.SGD([value for value in net.parameters() if value.requires_grad], lr=1.0)
    for _ in range(2):  # the first step moves B of LoRA, the second A
        optimizer.zero_grad()
        net(torch.rand(2, 3, 64, 64)).logit.sub(3).square().sum().backward()
        assert all(value.grad is not None for value in net.parameters() if value.requires_grad)
        optimizer.step()
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    free = {f"backbone.{name}" for name in trained(net)}
    frozen = {f"backbone.{name}" for name, _ in net.backbone.named_parameters()} - free
    assert not changed & frozen
    assert {name for name in changed if name.startswith("backbone.")} or mode == "frozen"
    if mode == "frozen":
        assert all(not name.startswith("backbone.") for name in changed), "batch statistics stay too"
        assert not net.backbone.training
        assert net.gat.training


def test_lora_starts_as_the_encoder_and_becomes_ordinary_weights() -> None:
    pytest.importorskip("timm")
    images = torch.rand(1, 3, 64, 64)
    plain, net = make("frozen", "timm/test_vit").eval(), make("lora", "timm/test_vit").eval()
    assert torch.equal(net.backbone(images), plain.backbone(images))
    assert {name.rpartition(".")[2] for name in trained(net)} == {"up", "down"}
    layers = [one for one in net.backbone.modules() if parametrize.is_parametrized(one)]
    assert len(layers) == 2 * 5  # qkv and proj of five blocks
    with torch.no_grad():
        for name, value in net.backbone.named_parameters():
            if name.endswith("up"):
                value.normal_()
    update = layers[0].weight - layers[0].parametrizations.weight.original
    assert torch.linalg.matrix_rank(update) == RANK
    changed = net.backbone(images)
    assert not torch.allclose(changed, plain.backbone(images))
    for layer in layers:
        parametrize.remove_parametrizations(layer, "weight")
    torch.testing.assert_close(net.backbone(images), changed)
    assert net.backbone.state_dict().keys() == plain.backbone.state_dict().keys()
