"""Encoders from outside: class paths and entry points, and what a checkpoint may not import."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest
import torch

from resgat_pl.core import parts
from resgat_pl.core.errors import ConfigError, WeightsError
from resgat_pl.nn.checkpoint_file import CHECKPOINT_VERSION
from resgat_pl.nn.encoders.registry import build_encoder
from resgat_pl.nn.encoders.torchvision_cnns import Encoder
from resgat_pl.nn.resgat import ResGAT

MODULE = """
import torch
from resgat_pl.nn.encoders.base import GridEncoder

class Patches(GridEncoder):
    def __init__(self, name, weights=None, stage=4):
        super().__init__()
        self.made_of = name, weights, stage
        self.out_channels, self.stride = 8, 16
        self.project = torch.nn.Conv2d(3, 8, 16, 16)
    def forward(self, images):
        return self.project(images)

class Tokens(Patches):
    def forward(self, images):
        return self.project(images).flatten(2)

class Unset(GridEncoder):
    def __init__(self, *given):
        super().__init__()

class Failing(GridEncoder):
    def __init__(self, *given):
        raise KeyError("no such thing")

def function(*given):
    return 3
"""


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name of a module that can be imported, and has not been."""
    (tmp_path / "outside_encoders.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "outside_encoders", raising=False)
    return "outside_encoders"


def install(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    points = EntryPoints([EntryPoint("mine", value, "resgat_pl.encoders")])
    monkeypatch.setattr(parts, "entry_points", points.select)


def save(net: ResGAT, file: Path) -> None:
    state = {f"net.{key}": value for key, value in net.state_dict().items()}
    torch.save({"resgat": {"version": CHECKPOINT_VERSION, "net": net.config}, "state_dict": state}, file)


def test_torchvisions_names_give_torchvisions_encoder() -> None:
    encoder = build_encoder("resnet18", stage=3)
    assert isinstance(encoder, Encoder)
    assert encoder.stride == 16


def test_weights_of_the_other_library_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"timm, which only encoders timm/NAME have.*set imagenet, FILE or null"):
        build_encoder("resnet18", "timm")
    with pytest.raises(ConfigError, match=r"imagenet, which only torchvision.*set timm, FILE or null"):
        build_encoder("timm/resnet18", "imagenet")


def test_class_path_is_imported_when_the_user_names_it(outside: str) -> None:
    net = ResGAT(encoder=f"{outside}.Patches", weights="any", encoder_stage=3, heads=1, hidden=2, image_size=64).eval()
    assert net.backbone.made_of == (f"{outside}.Patches", "any", 3)
    assert net(torch.rand(1, 3, 64, 48)).attention.shape[0] == 1
    assert net.grid.shape == (4, 3)
    assert net.train().backbone.training


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("outside_encoders.Tokens", r"gives \(1, 8, 16\).*must be \(1, 8, 4, 4\)"),
        ("outside_encoders.Unset", "does not set out_channels and stride"),
        ("outside_encoders.Failing", r"of the package outside_encoders fails \(KeyError.*no such thing"),
        ("outside_encoders.Nothing", "has no Nothing"),
        ("outside_nowhere.Patches", "cannot be imported.*outside_nowhere"),
        ("outside_encoders.function", "no class derived from"),
        ("os.system", "no class derived from"),
        ("resnet.18", "did you mean"),
    ],
)
@pytest.mark.usefixtures("outside")
def test_what_is_no_encoder_is_named(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        build_encoder(name, image_size=64)
    assert name in str(caught.value)


def test_checkpoint_does_not_decide_what_is_imported(outside: str, tmp_path: Path) -> None:
    net = ResGAT(encoder=f"{outside}.Patches", heads=1, hidden=2, image_size=64)
    save(net, tmp_path / "best.ckpt")
    assert ResGAT.load(tmp_path / "best.ckpt").backbone.out_channels == 8  # imported by the line above
    del sys.modules[outside]
    with pytest.raises(WeightsError, match=rf"best\.ckpt.*{outside}\.Patches.*--import {outside} "):
        ResGAT.load(tmp_path / "best.ckpt")
    assert outside not in sys.modules
    net.config["encoder"] = ["resnet18"]
    save(net, tmp_path / "list.ckpt")
    with pytest.raises(WeightsError, match="it must be a name"):
        ResGAT.load(tmp_path / "list.ckpt")


def test_entry_point_of_an_installed_package(outside: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, f"{outside}:Patches")
    net = ResGAT(encoder="mine/small", heads=1, hidden=2, image_size=64)
    assert net.backbone.made_of == ("mine/small", None, 4)
    save(net, tmp_path / "best.ckpt")
    del sys.modules[outside]
    assert ResGAT.load(tmp_path / "best.ckpt").backbone.out_channels == 8

    install(monkeypatch, f"{outside}:function")
    with pytest.raises(ConfigError, match="mine is a int, not a GridEncoder"):
        build_encoder("mine", image_size=64)
    install(monkeypatch, f"{outside}:gone")
    with pytest.raises(ConfigError, match=rf"mine is of the package {outside}:gone, which fails"):
        build_encoder("mine", image_size=64)


def test_two_packages_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the one that happens to be listed last."""
    points = EntryPoints([EntryPoint("mine", value, "resgat_pl.encoders") for value in ("a:Net", "b:Net")])
    monkeypatch.setattr(parts, "entry_points", points.select)
    with pytest.raises(ConfigError, match=r"The encoder mine is of the packages .*give the class path \(a"):
        build_encoder("mine/small")
