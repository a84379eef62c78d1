from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from resgat_pl.core.errors import ConfigError, WeightsError
from resgat_pl.core.parts import class_path
from resgat_pl.nn.checkpoint_file import Checkpoint
from resgat_pl.nn.detector_net import DetectorNet
from resgat_pl.nn.logit_net import LogitNet
from resgat_pl.nn.nets import NETS, check_same_net, find_net, load_net, parse_spec
from resgat_pl.nn.pooled import PooledClassifier
from resgat_pl.nn.resgat import ResGAT

from ..helpers.other_nets import Blocks, Cosine, Plain, Sizeless

IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
MADE: dict[str, Any] = {
    "ResGAT": lambda: ResGAT(encoder="resnet18", encoder_stage=3, heads=2, hidden=4, image_size=64),
    "its head": lambda: ResGAT(encoder="resnet18", heads=2, hidden=4, image_size=64, head=class_path(Cosine)),
    "PooledClassifier": lambda: PooledClassifier("resnet18", image_size=64, head="mlp"),
    "LogitNet": lambda: LogitNet(class_path(Plain), {"flat": True}, image_size=64),
    "of somebody else": lambda: Blocks(3, image_size=64),
}


def checkpoint(net: DetectorNet | None = None, spec: object = None) -> Checkpoint:
    weights = {} if net is None else {f"net.{name}": value for name, value in net.state_dict().items()}
    entry = {"version": 1, "net": net.spec if spec is None and net is not None else spec}
    return Checkpoint.of({"resgat": entry, "state_dict": weights}, "a.ckpt")


@pytest.mark.parametrize("kind", MADE)
def test_a_checkpoint_gives_its_detector_back(kind: str) -> None:
    net = MADE[kind]().eval()
    loaded = load_net(checkpoint(net))
    assert type(loaded) is type(net)
    assert not loaded.training
    assert loaded.config == net.config
    assert torch.equal(loaded(IMAGES).logit, net(IMAGES).logit)


def test_own_classes_by_every_path() -> None:
    for name, kind in NETS.items():
        for path in (name, f"resgat_pl.nn.{name}", class_path(kind)):
            assert find_net(path) is kind
    assert find_net(class_path(Blocks)) is Blocks  # imported already


def test_what_is_no_detector() -> None:
    with pytest.raises(ConfigError, match=r"There is no detector 'PoolClassifier'. Did you mean PooledClassifier\?"):
        find_net("PoolClassifier")
    with pytest.raises(ConfigError, match=r"Plain is no class derived from resgat_pl\.nn\.detector_net\.DetectorNet"):
        find_net(class_path(Plain))
    with pytest.raises(ConfigError, match="Sizeless takes no image_size"):
        find_net(class_path(Sizeless))


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module that writes a file when it is imported."""
    mark = tmp_path / "imported"
    (tmp_path / "trap_of_a_file.py").write_text(
        f"from pathlib import Path\nPath({str(mark)!r}).touch()\n"
        "from resgat_pl.nn.detector_net import DetectorNet\nfrom resgat_pl.nn.head import Head\nimport torch.nn as nn\n"
        "class Net(DetectorNet):\n    def __init__(self, image_size=224): super().__init__()\n"
        "class Top(Head): pass\nclass Layer(nn.Identity): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "trap_of_a_file", raising=False)
    return mark


@pytest.mark.parametrize(
    "spec",
    [
        {"class_path": "trap_of_a_file.Net"},
        {"class_path": "resgat_pl.nn.LogitNet", "init_args": {"module": "trap_of_a_file.Layer"}},
        {"class_path": "resgat_pl.nn.PooledClassifier", "init_args": {"head": "trap_of_a_file.Top"}},
        {"class_path": "resgat_pl.nn.PooledClassifier", "init_args": {"encoder": "trap_of_a_file.Net"}},
        {"heads": 2, "hidden": 4, "encoder": "resnet18", "head": "trap_of_a_file.Top"},
        {"heads": 2, "hidden": 4, "encoder": "trap_of_a_file.Net"},
    ],
)
def test_a_checkpoint_imports_nothing(spec: dict[str, Any], trap: Path) -> None:
    with pytest.raises(WeightsError, match=r"The checkpoint .* cannot be built: .*trap_of_a_file"):
        load_net(checkpoint(spec=spec))
    assert not trap.exists()
    assert "trap_of_a_file" not in sys.modules


def test_nor_does_it_choose_among_the_libraries_of_this_program() -> None:
    """This class opens the file that its argument names."""
    path = "torchmetrics.functional.image.lpips._LPIPS"
    import_module(path.rpartition(".")[0])  # as this program does for its metrics
    arguments = {"net": "squeeze", "pnet_rand": True, "model_path": "/a/file/of/this/machine"}
    spec = {"class_path": "LogitNet", "init_args": {"module": path, "arguments": arguments}}
    with pytest.raises(WeightsError, match="_LPIPS is not part of this package"):
        load_net(checkpoint(spec=spec))


def test_once_its_user_has_imported_it(trap: Path) -> None:
    assert find_net("trap_of_a_file.Net", named_by_user=True).__name__ == "Net"
    assert trap.exists()
    net = load_net(checkpoint(spec={"class_path": "trap_of_a_file.Net"}))
    assert class_path(type(net)) == "trap_of_a_file.Net"


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"class_path": 3}, "which is no class_path with init_args"),
        ({"class_path": "PooledClassifier", "init_args": [1]}, "which is no class_path with init_args"),
        ({"class_path": "gone_package.Net"}, "gone_package.Net is not part of this package .* --import gone_package"),
        ({"class_path": "resgat_pl.nn.PooledClassifier", "init_args": {"depth": 3}}, "depth"),
        ({"class_path": "resgat_pl.nn.PooledClassifier", "init_args": {"encoder": "resnet19"}}, "resnet19"),
        ({"class_path": "resgat_pl.nn.PooledClassifier", "init_args": {"encoder": 3}}, "encoder is 3"),
        ({"class_path": "resgat_pl.nn.PooledClassifier", "init_args": {"head": ["a"]}}, "head is"),
    ],
)
def test_what_cannot_be_built_is_one_clear_error(spec: dict[str, Any], says: str) -> None:
    with pytest.raises(WeightsError, match=rf"The checkpoint (?s:.*){says}"):
        load_net(checkpoint(spec=spec))


def test_resgat_load_names_the_other_class() -> None:
    with pytest.raises(WeightsError, match=r"holds the detector .*PooledClassifier, not a ResGAT.*load_net"):
        ResGAT.load(checkpoint(PooledClassifier("resnet18", image_size=64)))


class Derived(ResGAT):
    def __init__(self, scale: float = 1.0, **options: Any) -> None:
        super().__init__(**options)


def test_a_derived_class_loads_its_own() -> None:
    net = Derived(2.0, encoder="resnet18", encoder_stage=3, heads=2, hidden=4, image_size=64)
    assert Derived.load(checkpoint(net)).config == net.config
    with pytest.raises(WeightsError, match=r"holds the detector .*Derived, not a ResGAT"):
        ResGAT.load(checkpoint(net))


def test_classes_and_arguments_must_fit() -> None:
    pooled, resgat = MADE["PooledClassifier"](), MADE["ResGAT"]()
    check_same_net(pooled.spec, {**pooled.spec, "class_path": "resgat_pl.nn.PooledClassifier"})
    check_same_net(resgat.spec, {"class_path": "resgat_pl.nn.ResGAT", "init_args": resgat.spec})
    with pytest.raises(WeightsError, match=r"net is PooledClassifier there and ResGAT here\. .* class \(--net\)"):
        check_same_net(resgat.spec, pooled.spec)
    changed = {**pooled.config, "weights": "imagenet", "image_size": 96, "dropout": 0.5}
    check_same_net(pooled.spec, {**pooled.spec, "init_args": changed})
    with pytest.raises(WeightsError, match="head is linear there and mlp here"):
        check_same_net(pooled.spec, {**pooled.spec, "init_args": {**pooled.config, "head": "linear"}})
    with pytest.raises(WeightsError, match=f"net is {class_path(Blocks)} there and LogitNet here"):
        check_same_net(MADE["LogitNet"]().spec, Blocks().spec)
    assert parse_spec(Blocks(3).spec) == (class_path(Blocks), Blocks(3).config)
