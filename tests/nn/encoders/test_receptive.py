"""Receptive fields limited by choice, measured by gradients."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.parts import class_path
from resgat_pl.nn.contribution import contributions
from resgat_pl.nn.encoders.base import GridEncoder
from resgat_pl.nn.encoders.receptive import limit_receptive
from resgat_pl.nn.encoders.registry import build_encoder
from resgat_pl.nn.encoders.torchvision_cnns import Encoder
from resgat_pl.nn.resgat import ResGAT


def lively(encoder: GridEncoder) -> GridEncoder:
    """Evaluation mode, 64 bits, and no path through the network that is closed."""
    encoder.double().eval()
    for layer in encoder.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.constant_(layer.weight, 1)  # timm closes residual branches at first
            nn.init.constant_(layer.bias, 0.5)
    return encoder


def seen_by(encoder: GridEncoder, row: int, column: int, side: int) -> tuple[Tensor, Tensor]:
    """Pixels of each row and of each column of a picture on which a node depends, bool ``(side,)``."""
    torch.manual_seed(0)
    picture = torch.rand(1, 3, side, side, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(encoder(picture)[0, :, row, column].square().sum(), picture)
    on = gradient[0].abs().sum(dim=0) > 0
    return on.any(dim=1), on.any(dim=0)


@pytest.mark.parametrize("limit", [129, 65, 33])
@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", "timm/resnet18", "timm/test_convnext"])
def test_no_node_sees_beyond_its_square_and_some_reach_its_rim(name: str, limit: int) -> None:
    if name.startswith("timm/"):
        pytest.importorskip("timm")
    side = 160
    encoder = lively(build_encoder(name, stage=3, receptive=limit))
    geometry = encoder.geometry
    assert geometry is not None
    assert geometry.field <= limit
    assert encoder.grid_shape(side, side) == tuple(encoder(torch.zeros(1, 3, side, side).double()).shape[2:])
    for row, column in ((5, 5), (0, 9)):
        for seen, index in zip(seen_by(encoder, row, column, side), (row, column), strict=True):
            first, last = geometry.seen(index)
            pixels = seen.nonzero().flatten().tolist()
            assert (pixels[0], pixels[-1]) == (max(0, math.ceil(first)), min(side - 1, math.floor(last)))


def test_without_a_limit_nodes_see_further() -> None:
    encoder = lively(Encoder("mobilenet_v2", stage=3))
    rows, _ = seen_by(encoder, 5, 5, 160)
    assert bool(rows.all())  # so that the test above could fail


def test_only_the_deepest_layers_change_and_the_grid_and_channels_stay(tmp_path: Path) -> None:
    torch.save(models.mobilenet_v2().state_dict(), tmp_path / "net.pth")
    before = Encoder("mobilenet_v2", tmp_path / "net.pth", 3)
    after = build_encoder("mobilenet_v2", tmp_path / "net.pth", 3, receptive=65)
    old, new = dict(before.named_modules()), dict(after.named_modules())
    assert list(old) == list(new)
    changed = [
        name for name, layer in new.items() if getattr(layer, "kernel_size", 0) != getattr(old[name], "kernel_size", 0)
    ]
    windows = [name for name, layer in old.items() if getattr(layer, "kernel_size", 0) == (3, 3)]
    assert changed == windows[-len(changed) :]
    assert 0 < len(changed) < len(windows)
    for name in changed:
        assert torch.equal(new[name].weight, old[name].weight[:, :, 1:2, 1:2])  # type: ignore[index, union-attr]
        assert new[name].stride == old[name].stride  # type: ignore[union-attr]
    assert (after.out_channels, after.stride) == (before.out_channels, before.stride)
    assert after.lattice(160, 224) == before.lattice(160, 224)  # nodes are where they were


def test_a_wide_limit_changes_nothing() -> None:
    torch.manual_seed(0)
    plain = Encoder("resnet18", stage=3).eval()
    torch.manual_seed(0)
    limited = build_encoder("resnet18", stage=3, receptive=211).eval()
    picture = torch.rand(1, 3, 64, 64)
    assert torch.equal(limited(picture), plain(picture))
    assert limited.geometry == plain.geometry


def test_pooling_is_limited_too() -> None:
    encoder = Pooled()
    limit_receptive(encoder, 3, "pooled")
    assert encoder.pool.kernel_size == 1
    assert encoder.geometry == (2, 0.0, 3.0)
    assert encoder(torch.rand(1, 3, 33, 33)).shape == (1, 4, *encoder.grid_shape(33, 33))


class Pooled(GridEncoder):
    """Pooled after its convolution."""

    def __init__(self, name: str = "", weights: Any = None, stage: Any = 4) -> None:
        super().__init__()
        self.out_channels, self.stride = 4, 2
        self.features, self.pool = nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(3, 2, 1)

    def forward(self, images: Tensor) -> Tensor:
        maps: Tensor = self.pool(self.features(images))
        return maps


class Branching(Pooled):
    """Depends on numbers, so that its steps cannot be listed."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images if images.sum() > 0 else -images)


@pytest.mark.parametrize(
    ("name", "limit", "says"),
    [
        ("efficientnet_b0", 65, r"through 1\.0\.block\.1 \(SqueezeExcitation\) they see the whole image"),
        ("timm/test_efficientnet", 65, r"through model\.blocks\.\d\.\d\.se \(SqueezeExcite\) they see the whole image"),
        (
            "timm/mobilenetv3_small_050",
            65,
            r"cannot limit those of timm/mobilenetv3_small_050: through .* they",
        ),
        ("timm/test_vit", 65, r"through attention or mixing .* after an earlier block as well.* such as resnet50"),
        (class_path(Branching), 65, r"Branching: where they look is not known"),
        ("mobilenet_v2", 9, r"9, which is too little .* nodes are 16 px apart, .* without gaps between them is 19 px"),
        ("resnet18", 0, r"net\.receptive is 0; it must be a number of pixels, such as 65, or null"),
        ("resnet18", "65", r"net\.receptive is '65'"),
        ("resnet18", True, r"net\.receptive is True"),
    ],
)
def test_what_cannot_be_limited_is_refused_by_name(name: str, limit: Any, says: str) -> None:
    if name.startswith("timm/"):
        pytest.importorskip("timm")
    with pytest.raises(ConfigError, match=says):
        build_encoder(name, stage=3, image_size=64, receptive=limit)


@pytest.mark.parametrize("attention", ["gatv1", "gatv2"])
@torch.no_grad()
def test_contributions_are_exact_and_local(attention: Any) -> None:
    """The value of a node far from a change is the same bits; its contribution differs by attention alone."""
    torch.manual_seed(0)
    net = ResGAT(attention, "resnet18", encoder_stage=3, heads=2, hidden=4, image_size=160, receptive=65).eval()
    images = torch.rand(1, 3, 160, 160).repeat(2, 1, 1, 1)
    images[1, :, :20, :20] = 0
    found = contributions(net, images)
    torch.testing.assert_close(found.node.sum(dim=1) + found.bias, found.output.logit, atol=1e-5, rtol=1e-5)
    values = found.evidence.reshape(2, 10, 10)
    assert torch.equal(values[0, 5:, 5:], values[1, 5:, 5:])
    assert float((values[0, :2, :2] - values[1, :2, :2]).abs().min()) > 1e-5
