from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Literal
from urllib.error import URLError

import pytest
import torch
from torchvision import models

from resgat_pl.core.errors import ConfigError, WeightsError
from resgat_pl.nn.encoders.torchvision_cnns import ENCODERS, Encoder


@pytest.fixture
def resnet18(tmp_path: Path) -> tuple[models.ResNet, Path]:
    """A classifier with random weights and batch statistics, and the file of its state dict."""
    model = models.resnet18()
    model(torch.rand(4, 3, 64, 64))
    file = tmp_path / "resnet18.pth"
    torch.save(model.state_dict(), file)
    return model.eval(), file


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """URLs of weights that were asked for without a network; nothing is in torch.hub's folder ``hub``."""
    urls: list[str] = []

    def no_network(url: str, *args: object, **kwargs: object) -> None:
        urls.append(url)
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    return urls


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "efficientnet_b0"])
@pytest.mark.parametrize("stage", [3, 4])
def test_feature_map_has_the_stride_and_channels_it_says(name: str, stage: Literal[3, 4]) -> None:
    encoder = Encoder(name, stage=stage).eval()
    assert encoder.stride == 2 ** (stage + 1)
    features = encoder(torch.rand(1, 3, 97, 160))
    assert features.shape == (1, encoder.out_channels, *encoder.grid_shape(97, 160))


def test_stage_3_ends_where_the_resolution_next_halves(resnet18: tuple[models.ResNet, Path]) -> None:
    model, file = resnet18
    x = torch.rand(1, 3, 96, 96)
    stem = model.maxpool(model.relu(model.bn1(model.conv1(x))))
    third = model.layer3(model.layer2(model.layer1(stem)))
    torch.testing.assert_close(Encoder("resnet18", file, stage=3).eval()(x), third)
    torch.testing.assert_close(Encoder("resnet18", str(file)).eval()(x), model.layer4(third))
    # every layer of stride 16, not only the first
    assert len(Encoder("mobilenet_v2", stage=3)) == 14
    assert len(Encoder("efficientnet_b0", stage=3)) == 6


def test_resnet_keys_are_those_of_the_authors() -> None:
    keys = Encoder("resnet18").state_dict().keys()
    assert {key.split(".")[0] for key in keys} == {"0", "1", "4", "5", "6", "7"}
    assert "0.weight" in keys


def test_building_leaves_no_trace_in_batch_statistics() -> None:
    encoder = Encoder("resnet18")
    assert encoder.training
    assert all(m.training for m in encoder.modules())
    assert int(encoder[1].num_batches_tracked) == 0


def test_unknown_name_suggests_near_ones() -> None:
    with pytest.raises(ConfigError, match=r"'resnet_50'.*resnet50"):
        Encoder("resnet_50")
    with pytest.raises(ConfigError, match="efficientnet_b0"):
        Encoder("?")


def test_earlier_class_path_is_the_same_class() -> None:
    assert import_module("resgat_pl.nn.encoder").Encoder is Encoder


def test_every_encoder_has_first_version_weights() -> None:
    assert {"resnet50", "resnext50_32x4d", "wide_resnet50_2", "mobilenet_v2", "efficientnet_v2_s"} <= set(ENCODERS)
    assert all("IMAGENET1K_V1" in models.get_model_weights(name).__members__ for name in ENCODERS)


def test_weights_of_another_architecture_are_refused(resnet18: tuple[models.ResNet, Path]) -> None:
    with pytest.raises(WeightsError, match=r"resnet18\.pth.*missing.*layer1\.2"):
        Encoder("resnet34", resnet18[1])


def test_backbone_entries_must_all_be_there(resnet18: tuple[models.ResNet, Path]) -> None:
    model, file = resnet18
    state = model.state_dict()
    del state["layer1.0.conv1.weight"], state["fc.weight"]
    torch.save(state, file)
    with pytest.raises(WeightsError, match=r"1 missing \(layer1\.0\.conv1\.weight\)"):
        Encoder("resnet18", file)


@pytest.mark.usefixtures("asked")
def test_without_network_the_error_says_where_to_put_which_file(
    tmp_path: Path, resnet18: tuple[models.ResNet, Path]
) -> None:
    with pytest.raises(WeightsError) as caught:
        Encoder("resnet18", "imagenet")
    folder = tmp_path / "hub" / "checkpoints"
    assert str(folder) in str(caught.value)
    file = re.search(r"resnet18-[0-9a-f]+\.pth", str(caught.value))
    assert file is not None

    # What the message advises helps.
    model, source = resnet18
    (folder / file[0]).write_bytes(source.read_bytes())
    assert torch.equal(Encoder("resnet18", "imagenet")[0].weight, model.conv1.weight)


def test_resnet50_takes_the_weights_of_the_papers_time(asked: list[str]) -> None:
    with pytest.raises(WeightsError):
        Encoder("resnet50", "imagenet")
    assert asked == [models.ResNet50_Weights.IMAGENET1K_V1.url]
