"""Encoders of timm, by its smallest models; the ones that users take are built without memory for their values."""

from __future__ import annotations

import math
import socket
import sys
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from resgat_pl.core.errors import ConfigError, WeightsError
from resgat_pl.nn.encoders.timm_models import TimmEncoder
from resgat_pl.nn.node_geometry import Geometry
from resgat_pl.nn.resgat import ResGAT

timm = pytest.importorskip("timm")
CNNS = ["timm/test_resnet", "timm/test_convnext", "timm/test_efficientnet"]
VITS = ["timm/test_vit", "timm/test_vit2"]


@pytest.mark.parametrize("stage", [3, 4])
@pytest.mark.parametrize("name", CNNS)
def test_stage_of_a_convolutional_network(name: str, stage: Literal[3, 4]) -> None:
    encoder = TimmEncoder(name, stage=stage).eval()
    assert encoder.stride == 2 ** (stage + 1)
    for size in ((64, 96), (97, 130)):
        features = encoder(torch.rand(2, 3, *size))
        assert features.shape == (2, encoder.out_channels, *encoder.grid_shape(*size))
        assert encoder.lattice(*size).shape == encoder.grid_shape(*size)


@pytest.mark.parametrize(("stage", "blocks"), [(3, 5), (4, 6)])
def test_nodes_of_a_vision_transformer_are_its_patches(stage: Literal[3, 4], blocks: int) -> None:
    encoder = TimmEncoder("timm/test_vit", stage=stage).eval()
    assert len(encoder.model.blocks) == blocks
    images = torch.rand(1, 3, 48, 80)
    features = encoder(images)
    assert features.shape == (1, 64, 3, 5)
    tokens = encoder.model.forward_features(images)  # the class token first
    torch.testing.assert_close(features.flatten(2).transpose(1, 2), tokens[:, 1:])
    assert encoder.lattice(48, 80).columns == (8.0, 24.0, 40.0, 56.0, 72.0)
    assert math.isinf(encoder.geometry.field)


def test_registers_are_no_nodes() -> None:
    encoder = TimmEncoder("timm/test_vit2").eval()
    assert encoder.model.num_prefix_tokens == 1
    images = torch.rand(1, 3, 32, 32)
    tokens = encoder.model.forward_features(images)
    torch.testing.assert_close(encoder(images).flatten(2).transpose(1, 2), tokens[:, 1:])


@pytest.mark.parametrize(
    ("name", "stage", "grid", "channels"),
    [
        ("timm/resnet50", 4, (7, 7), 2048),
        ("timm/xception41", 4, (7, 7), 2048),
        ("timm/legacy_xception", 3, (14, 14), 728),
        ("timm/efficientnet_b4", 4, (7, 7), 448),
        ("timm/tf_efficientnet_b0", 4, (7, 7), 320),
        ("timm/convnext_tiny", 3, (14, 14), 384),
        ("timm/vit_small_patch16_224", 4, (14, 14), 384),
        ("timm/vit_small_patch14_dinov2.lvd142m", 4, (16, 16), 384),
        ("timm/vit_small_patch14_reg4_dinov2", 3, (16, 16), 384),
        ("timm/vit_base_patch16_clip_224.openai", 4, (14, 14), 768),
    ],
)
def test_encoders_of_the_literature(name: str, stage: Literal[3, 4], grid: tuple[int, int], channels: int) -> None:
    with torch.device("meta"):
        encoder = TimmEncoder(name, stage=stage).eval()
        assert encoder(torch.rand(1, 3, 224, 224)).shape == (1, channels, *grid)
    assert encoder.out_channels == channels
    assert encoder.grid_shape(224, 224) == encoder.lattice(224, 224).shape == grid


def test_a_new_size_calls_no_hook_and_leaves_no_trace() -> None:
    net = ResGAT(encoder="timm/test_resnet", heads=1, hidden=2, image_size=64).train()
    seen: list[Tensor] = []
    net.backbone.register_forward_hook(lambda *given: seen.append(given[2]))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert net.backbone.grid_shape(96, 100) == (3, 4)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    net(torch.rand(2, 3, 130, 64))
    assert [one.shape[2:] for one in seen] == [(5, 2)]


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match=r"timm/resnet50 needs timm: pip install \"resgat-pl\[encoders\]\""):
        TimmEncoder("timm/resnet50")


def test_normalisation_is_that_of_the_weights() -> None:
    with torch.device("meta"):
        encoder = TimmEncoder("timm/vit_base_patch16_clip_224.openai")
    assert encoder.mean == (0.48145466, 0.4578275, 0.40821073)


@pytest.mark.parametrize(
    ("name", "stage"), [("timm/test_convnext", 3), ("timm/test_convnext2", 4), ("timm/legacy_xception", 3)]
)
def test_a_node_looks_where_its_lattice_says(name: str, stage: Literal[3, 4]) -> None:
    """The gradient of a node in the middle, with weights under which nothing cancels out, is around its centre."""
    encoder = TimmEncoder(name, stage=stage).double().eval()
    assert encoder.geometry is not None
    side = 16 * encoder.stride + 1
    picture = torch.rand(1, 3, side, side, dtype=torch.float64, requires_grad=True)
    features = encoder(picture)
    middle = features.shape[-1] // 2
    (gradient,) = torch.autograd.grad(features[0, :, middle, middle].square().sum(), picture)
    mass = gradient[0].square().sum(dim=(0, 1))
    found = float((mass * (torch.arange(side) + 0.5)).sum() / mass.sum())
    assert found == pytest.approx(encoder.lattice(side, side).columns[middle], abs=encoder.stride / 2)


@pytest.mark.parametrize(
    ("name", "offset", "field"),
    [
        ("timm/resnet50", 0.0, 427.0),
        ("timm/xception41", 0.0, 1147.0),
        ("timm/legacy_xception", 3.0, 1083.0),  # its first convolutions have no padding
        ("timm/efficientnet_b4", 0.0, math.inf),
        ("timm/convnext_tiny", 15.5, 1688.0),
    ],
)
def test_geometry_by_arithmetic(name: str, offset: float, field: float) -> None:
    with torch.device("meta"):
        assert TimmEncoder(name).geometry == Geometry(32, offset, field)


@pytest.mark.parametrize("name", ["timm/tf_efficientnet_b0", "timm/test_resnet"])
def test_cells_are_even_where_nodes_have_no_one_place(name: str) -> None:
    """Padding that depends on the size; branches that look at different places."""
    with torch.device("meta"):
        encoder = TimmEncoder(name)
    assert encoder.geometry is None
    assert encoder.lattice(224, 224).rows[0] == 16.0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm/resnet_50", r"no model 'resnet_50'; did you mean .*timm/resnet50"),
        ("timm/hf-hub:somebody/model", "no model 'hf-hub"),
        ("timm/local-dir:/tmp", "no model 'local-dir"),
        ("timm/test_resnet.nonsense", "cannot make.*nonsense"),
        ("timm/mixer_s32_224", r"takes no images of 96×96 pixels.*choose another size"),
    ],
)
def test_what_timm_does_not_have_is_named(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TimmEncoder(name).grid_shape(96, 96)


def test_image_sizes_that_do_not_fit_are_named() -> None:
    vit, cnn = TimmEncoder("timm/test_vit"), TimmEncoder("timm/test_resnet")
    with pytest.raises(ConfigError, match=r"96×100 pixels.*16×16: choose a multiple of 16, such as 96"):
        vit.grid_shape(96, 100)
    with pytest.raises(ConfigError, match="give 1×4"):
        vit.grid_shape(16, 64)
    with pytest.raises(ConfigError, match=r"32×64 pixels are too small.*give 1×2"):
        cnn.grid_shape(32, 64)
    with pytest.raises(ConfigError, match=r"stride 32.*it has 8, 16\. Set the other"), torch.device("meta"):
        TimmEncoder("timm/volo_d1_224")


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("name", ["timm/test_resnet", "timm/test_vit"])
def test_weights_of_a_file_are_those_of_the_whole_model(name: str, suffix: str, tmp_path: Path) -> None:
    model = timm.create_model(name.removeprefix("timm/"), num_classes=10).eval()
    file = tmp_path / f"weights.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)(model.state_dict(), file)
    encoder = TimmEncoder(name, file).eval()
    images = torch.rand(1, 3, 160, 160)
    features = model.forward_features(images)
    nodes = encoder(images)
    if encoder.isotropic:
        nodes, features = nodes.flatten(2).transpose(1, 2), features[:, 1:]
    torch.testing.assert_close(nodes, features)
    with pytest.raises(WeightsError, match="another architecture"):
        TimmEncoder("timm/test_convnext", file)


@pytest.mark.parametrize("name", ["timm/test_resnet.r160_in1k", "timm/test_vit"])
def test_without_network_the_error_names_the_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match=r"model\.safetensors of the hub's repository timm/test_.*--net\.weights"):
        TimmEncoder(name, "timm")


@pytest.mark.parametrize("name", CNNS + VITS)
@pytest.mark.parametrize("stage", [3, 4])
def test_every_parameter_learns(name: str, stage: Literal[3, 4]) -> None:
    net = ResGAT(encoder=name, encoder_stage=stage, heads=1, hidden=2, image_size=64).train()
    net(torch.rand(2, 3, 64, 64)).logit.square().sum().backward()
    assert [key for key, value in net.named_parameters() if value.grad is None] == []
