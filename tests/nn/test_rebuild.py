from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from resgat_pl.core.errors import WeightsError
from resgat_pl.core.parts import class_path
from resgat_pl.nn import rebuild as module
from resgat_pl.nn.checkpoint_file import Checkpoint
from resgat_pl.nn.detector_net import DetectorNet
from resgat_pl.nn.logit_net import LogitNet
from resgat_pl.nn.pooled import PooledClassifier
from resgat_pl.nn.rebuild import rebuild
from resgat_pl.nn.resgat import ResGAT

from ..helpers.other_nets import Blocks, Cosine, Enormous, Plain


def checkpoint(net: DetectorNet | None = None) -> Checkpoint:
    weights = {"net.a": torch.zeros(1)}
    if net is not None:
        weights = {f"net.{name}": value for name, value in net.state_dict().items()}
    return Checkpoint.of({"resgat": {"version": 1, "net": {}}, "state_dict": weights}, "a.ckpt")


def test_a_network_that_fits_no_memory_is_not_built() -> None:
    with pytest.raises(WeightsError, match=r"The checkpoint holds the weights of another architecture: 2 missing"):
        rebuild(Enormous, {}, checkpoint())


@pytest.mark.parametrize(
    "encoder", ["timm/vit_giant_patch14_dinov2", "timm/convnext_xxlarge", "timm/eva_giant_patch14_224"]
)
def test_nor_a_huge_encoder(encoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("timm")
    devices = []
    planned = module._planned

    def noted(*given: Any) -> Any:
        devices.append("meta")
        return planned(*given)

    monkeypatch.setattr(module, "_planned", noted)
    arguments = {"encoder": encoder, "heads": 1, "hidden": 4, "image_size": 224}
    with pytest.raises(WeightsError, match="another architecture"):
        rebuild(ResGAT, arguments, checkpoint())
    assert devices == ["meta"]


def test_weights_are_not_fetched() -> None:
    net = Blocks(3)
    assert rebuild(Blocks, {"width": 3, "weights": "gone.pth"}, checkpoint(net)).config["weights"] is None


class NeedsNumbers(Blocks):
    def __init__(self, image_size: int = 224) -> None:
        super().__init__(int(torch.linspace(1, 3, 2)[-1].item()), image_size)


def test_a_class_that_cannot_be_planned_is_built_all_the_same() -> None:
    net = NeedsNumbers()
    loaded = rebuild(NeedsNumbers, {"image_size": 64}, checkpoint(net))
    assert torch.equal(loaded.out.weight, net.out.weight)
    assert module._planned(NeedsNumbers, {}) is None


def test_an_error_of_its_constructor_is_named() -> None:
    with pytest.raises(WeightsError, match=r"describes a network that cannot be built: not all arguments"):
        rebuild(Blocks, {"width": "many"}, checkpoint())


class NumbersInside(Plain):
    def __init__(self, widths: list[int]) -> None:
        super().__init__(int(torch.linspace(1, widths.pop(), 2)[0].item()))


class NumericHead(Cosine):
    def __init__(self, in_features: int) -> None:
        super().__init__(int(torch.tensor(in_features).item()))


@pytest.mark.parametrize(
    "make",
    [
        lambda: LogitNet(class_path(NumbersInside), {"widths": [2, 3]}, image_size=64),
        lambda: PooledClassifier("resnet18", image_size=64, head=class_path(NumericHead)),
    ],
)
def test_nor_one_with_a_part_that_cannot_be_planned(make: Callable[[], DetectorNet]) -> None:
    """The parts' errors are this package's; a part that changes the lists it gets is made from the same ones."""
    net = make()
    assert net.config.get("arguments") in (None, {"widths": [2, 3]})
    loaded = rebuild(type(net), net.spec["init_args"], checkpoint(net))
    assert loaded.config == net.config
