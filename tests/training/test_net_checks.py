from __future__ import annotations

from typing import Any

import pytest
from jsonargparse import Namespace
from torch import nn

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.parts import class_path
from resgat_pl.nn.detector_net import DetectorNet
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.training.losses import EdgeBottleneck, MaskGuidance, NodeMask, Restoration, Silence
from resgat_pl.training.module import ResGATModule
from resgat_pl.training.net_checks import check_losses, check_order

from ..helpers.other_nets import Blocks, Cosine


class Made(DetectorNet):
    def __init__(self, layer: nn.Module, image_size: int = 224) -> None:
        super().__init__()
        self.layer = layer


@pytest.mark.parametrize(
    ("net", "weight", "says"),
    [
        (nn.Linear(2, 1), 0, "net is a Linear, not a DetectorNet: derive .* or give resgat_pl.nn.LogitNet"),
        (Made(nn.Linear(2, 1)), 0, "Made: its argument layer is a Linear, which no checkpoint holds"),
        (Blocks(), -1, "mask_loss_weight is -1; it must be 0 or more"),
        (Blocks(), 0.5, "mask_loss_weight is 0.5, but net is a Blocks whose logit is no sum"),
    ],
)
def test_what_cannot_be_trained(net: Any, weight: float, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        check_losses(net, weight, [])
    with pytest.raises(ConfigError, match=says):
        ResGATModule(net, mask_loss_weight=weight)


def test_guidance_needs_a_head_that_adds_up() -> None:
    options: dict[str, Any] = {"encoder": "resnet18", "heads": 1, "hidden": 4, "image_size": 64}
    assert [loss.weight for loss in check_losses(ResGAT(**options, head="mlp"), 1.5, [])] == [1.5]
    assert not check_losses(ResGAT(**options, head=class_path(Cosine)), 0, [])
    with pytest.raises(ConfigError, match="the head linear, mlp or"):
        check_losses(ResGAT(**options, head=class_path(Cosine)), 1.0, [])


def test_losses_that_cannot_be_had() -> None:
    options: dict[str, Any] = {"encoder": "resnet18", "heads": 1, "hidden": 4, "image_size": 64}
    given: Any
    for net, given, says in (
        (Blocks(), [Silence()], "model.losses has Silence, but net is a Blocks"),
        (ResGAT(**options), [nn.MSELoss()], "model.losses has a MSELoss; derive"),
        (ResGAT(**options), [Silence(), Silence(2)], "two that are logged as silence"),
    ):
        with pytest.raises(ConfigError, match=says):
            ResGATModule(net, losses=given)
    with pytest.raises(ConfigError, match="two that are logged as mask_loss"):
        ResGATModule(ResGAT(**options), mask_loss_weight=1, losses=[MaskGuidance()])


def test_parts_and_the_losses_that_train_them_belong_together() -> None:
    options: dict[str, Any] = {"encoder": "resnet18", "heads": 1, "hidden": 4, "image_size": 64}
    for net, losses, says in (
        (ResGAT(**options), [NodeMask()], "net.mask_head is none: set it to aux or gate"),
        (ResGAT(**options), [EdgeBottleneck()], "net.bottleneck is false: set it to true"),
        (ResGAT(**options, mask_head="aux"), [], "nothing trains it: add resgat_pl.training.losses.NodeMask"),
    ):
        with pytest.raises(ConfigError, match=says):
            check_losses(net, 0, losses)
    check_losses(ResGAT(**options, mask_head="aux"), 0, [NodeMask()])
    check_losses(ResGAT(**options, mask_head="gate"), 0, [])  # detection trains it
    check_losses(ResGAT(**options, bottleneck=True), 0, [EdgeBottleneck()])


def test_losses_of_pairs_need_pairs_of_pictures() -> None:
    check_order([Restoration()], Namespace(order="paired", features_cache=None))
    check_order([Restoration()], None)  # loaders of the user's own
    check_order([Silence()], Namespace(order="shuffled"))
    with pytest.raises(ConfigError, match="set --data"):
        check_order([Restoration()], Namespace(order="balanced"))
    with pytest.raises(ConfigError, match="holds features"):
        check_order([Restoration()], Namespace(order="paired", features_cache="f"))
