"""Lightning's ``load_from_checkpoint`` rebuilds the module from whatever holds a checkpoint."""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule

from resgat_pl.core.errors import ConfigError, WeightsError
from resgat_pl.nn.checkpoint_file import read_file
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.nn.safetensors_file import to_safetensors
from resgat_pl.training.from_checkpoint import mapped_device
from resgat_pl.training.module import ResGATModule

from ..helpers.hub import THRESHOLDS, content, small

IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.save(content(small()), tmp_path / "best.ckpt")
    return tmp_path / "best.ckpt"


def test_every_form_of_a_checkpoint_gives_the_module(checkpoint: Path) -> None:
    portable = checkpoint.with_name("best.safetensors")
    portable.write_bytes(to_safetensors(read_file(checkpoint)))
    folder = checkpoint.with_name("shared")
    net = ResGAT.load(checkpoint)
    net.save_pretrained(folder, checkpoint)
    expected = net(IMAGES).logit
    for path in (checkpoint, str(checkpoint), portable, folder):
        module = ResGATModule.load_from_checkpoint(path)
        assert isinstance(module, ResGATModule)
        assert module.training  # as Lightning leaves it
        assert module.net.training
        assert torch.equal(module.eval()(IMAGES).logit, expected)
        assert module.thresholds == THRESHOLDS
        assert module.temperatures == {"frame": 1.5, "video": None}
        assert module.validation is not None
        assert module.validation.fake == 13


def test_arguments_of_training_are_given(checkpoint: Path) -> None:
    module = ResGATModule.load_from_checkpoint(checkpoint, pos_weight=3.0)
    assert module.pos_weight == 3
    net = small(heads=1)
    with pytest.raises(WeightsError, match="heads is 2 there and 1 here"):
        ResGATModule.load_from_checkpoint(checkpoint, net=net)
    own = small()
    assert ResGATModule.load_from_checkpoint(checkpoint, net=own).net is own
    for wrong in ({"hparams_file": "a.yaml"}, {"weights_only": False}):
        with pytest.raises(ConfigError, match="Leave both out"):
            ResGATModule.load_from_checkpoint(checkpoint, **wrong)
    with pytest.raises(TypeError, match="no_such_argument"):
        ResGATModule.load_from_checkpoint(checkpoint, no_such_argument=1)


def test_strict_is_as_lightning_has_it(checkpoint: Path) -> None:
    changed = content(small())
    missing = next(name for name in changed["state_dict"] if name.startswith("net.head"))
    del changed["state_dict"][missing]
    torch.save(changed, checkpoint)
    for strict in (None, True):
        with pytest.raises(WeightsError, match=rf"missing \({missing.removeprefix('net.')}\)|missing \({missing}\)"):
            ResGATModule.load_from_checkpoint(checkpoint, net=small(), strict=strict)
    module = ResGATModule.load_from_checkpoint(checkpoint, net=small(), strict=False)
    assert torch.equal(module.net.gat.bias, changed["state_dict"]["net.gat.bias"])


@pytest.mark.parametrize(
    ("map_location", "device"),
    [
        (None, "cpu"),
        ("meta", "meta"),
        (torch.device("cpu"), "cpu"),
        ({"cuda:0": "meta"}, "cpu"),
        ({"cpu": "meta"}, "meta"),
        (lambda storage, place: storage, "cpu"),
        (lambda storage, place: None, "cpu"),
    ],
)
def test_map_location_is_as_torch_has_it(map_location: Any, device: str) -> None:
    assert mapped_device(map_location) == torch.device(device)


def test_the_module_is_moved(checkpoint: Path) -> None:
    assert ResGATModule.load_from_checkpoint(checkpoint, map_location="meta").device == torch.device("meta")


def test_arguments_are_those_of_lightning() -> None:
    ours, theirs = (signature(each.load_from_checkpoint).parameters for each in (ResGATModule, LightningModule))
    assert list(ours) == [name for name in theirs if name != "cls"]
