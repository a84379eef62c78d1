"""The code on the pages about extending does what they say."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import get_args

import albumentations as A
import numpy as np
import pytest
import torch
import yaml
from jsonargparse import ArgumentParser

from resgat_pl.core.parts import PartKind, group_of
from resgat_pl.core.types import REAL, VideoRecord
from resgat_pl.data.transforms import Augmentation, Transform
from resgat_pl.evaluation.metrics.extra import ExtraMetrics
from resgat_pl.explain import registry
from resgat_pl.nn.checkpoint_file import Checkpoint
from resgat_pl.nn.contribution import contributions
from resgat_pl.nn.nets import load_net
from resgat_pl.nn.pooled import PooledClassifier
from resgat_pl.nn.resgat import ResGAT
from resgat_pl.training.module import ResGATModule

from ..helpers.loss_steps import loss_step, paired_batch, small_net
from .pages import DOCS, blocks

EXTEND = DOCS / "extend"


@pytest.fixture
def example(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    """The module that a page shows: its first one, or of ``PAGE#n`` the one after n others."""
    page, _, number = request.param.partition("#")
    path = tmp_path / f"{page}.py"
    path.write_text(blocks(EXTEND / f"{page}.md", "python")[int(number or 0)].code)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[path.stem]


@pytest.mark.parametrize("example", ["add_an_explainer"], indirect=True)
def test_the_explanation_method(example: ModuleType) -> None:
    try:
        method = registry.find("FeatureNorm")
        assert registry.describe(method) == "How strongly the encoder responds at each node."
    finally:
        registry._entries.pop("FeatureNorm", None)
    net = ResGAT(encoder="resnet18", encoder_stage=3, heads=2, hidden=4, image_size=64).eval()
    images = torch.rand(2, 3, 64, 64)
    found = method(net).attribute(images)
    assert found.node_map.shape == (2, *net.grid.shape)
    assert torch.allclose(found.node_map.flatten(1), net.encode(images).norm(dim=2))


@pytest.mark.parametrize("example", ["add_an_explainer#1"], indirect=True)
def test_an_explanation_method_of_any_detector(example: ModuleType) -> None:
    net = PooledClassifier("resnet18", encoder_stage=3, image_size=64).eval()
    images = torch.rand(2, 3, 64, 64)
    images[1] = 0.5  # nowhere far from its mean
    found = example.DistanceXGradient(net).attribute(images)
    assert found.node_map.shape == (2, 4, 4)
    assert found.node_map[0].abs().max() > 0
    assert found.node_map[1].abs().max() < 1e-6
    assert torch.allclose(found.logit[1], found.bias[1])


@pytest.mark.parametrize("example", ["add_a_layout"], indirect=True)
def test_the_layout(example: ModuleType, tmp_path: Path) -> None:
    for name in ("genuine/a.mp4", "genuine/b.mp4", "forged/a.mp4"):
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    index = example.TwoFolders().index(tmp_path / "set")
    assert [(record.key, record.label) for record in index.records] == [
        ("two_folders/forged/-/a", 1),
        ("two_folders/original/-/a", 0),
        ("two_folders/original/-/b", 0),
    ]
    assert index.problems == ()


@pytest.mark.parametrize("example", ["add_a_split"], indirect=True)
def test_the_split(example: ModuleType) -> None:
    names = [f"cam{camera}_{number}" for camera in range(20) for number in range(3)]
    videos = [VideoRecord("d", "original", "", name, REAL, "video", (), (name,)) for name in names]
    assigned = example.BySource(test=0.3).assign(videos)
    assert set(assigned.values()) == {"train", "val", "test"}
    sides = [{assigned[video.key] for video in videos[first : first + 3]} for first in range(0, 60, 3)]
    assert all(len(side) == 1 for side in sides)
    assert assigned != example.BySource(test=0.3, seed=1).assign(videos)
    assert example.BySource(test=0.3).spec["test"] == 0.3


@pytest.mark.parametrize("example", ["add_a_detector"], indirect=True)
def test_the_detector(example: ModuleType) -> None:
    torch.manual_seed(0)
    net = ResGATModule(example.Spectrum(rings=8, image_size=64)).net.eval()
    smooth = torch.linspace(0, 1, 64).expand(4, 3, 64, 64)
    noisy = (smooth + 0.5 * torch.rand(4, 3, 64, 64)).clamp(0, 1)
    images, labels = torch.cat([smooth, noisy]), torch.tensor([0.0] * 4 + [1.0] * 4)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(60):
        optimiser.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(net(images).logit, labels).backward()
        optimiser.step()
    assert ((net(images).logit > 0) == labels.bool()).all()
    weights = {f"net.{name}": value for name, value in net.state_dict().items()}
    stored = Checkpoint.of({"resgat": {"version": 1, "net": net.spec}, "state_dict": weights}, "a.ckpt")
    assert torch.equal(load_net(stored)(images).logit, net(images).logit)
    for name in ("InputXGradient", "Occlusion"):
        assert registry.find(name)(net).attribute(images).node_map.shape == (8, 7, 7)


@pytest.mark.parametrize("example", ["add_a_head"], indirect=True)
def test_the_head(example: ModuleType) -> None:
    torch.manual_seed(0)
    path = f"{example.__name__}.UnitHead"
    net = ResGAT(encoder="resnet18", encoder_stage=3, heads=2, hidden=4, image_size=64, head=path).eval()
    found = contributions(net, torch.rand(2, 3, 64, 64))
    torch.testing.assert_close(found.node.sum(1) + found.bias, found.output.logit, atol=1e-5, rtol=1e-5)
    weight, _ = net.head.linearise(torch.zeros(1, 8))
    assert float(weight.detach().norm()) == pytest.approx(1)


@pytest.mark.parametrize("example", ["add_a_face_detector"], indirect=True)
def test_the_face_detector(example: ModuleType) -> None:
    image = np.zeros((120, 160, 3), np.uint8)
    image[70:90, 100:120] = 255
    (face,) = example.Brightest(side=40).detect(image)
    assert np.abs(face.box - [90, 60, 130, 100]).max() <= 1
    assert example.Brightest().spec["side"] == 64


@pytest.mark.parametrize("example", ["add_an_encoder"], indirect=True)
def test_the_encoder(example: ModuleType) -> None:
    net = ResGAT(encoder="add_an_encoder.Patches", encoder_stage=3, heads=2, hidden=4, image_size=64, train="norms")
    assert net(torch.rand(2, 3, 64, 48)).logit.shape == (2,)
    assert net.grid.shape == (4, 3)
    assert net.backbone.norm_names() == ["norm.weight", "norm.bias"]
    assert net.mean.flatten().tolist() == [0.5] * 3


@pytest.mark.parametrize("example", ["add_an_augmentation"], indirect=True)
def test_the_augmentation(example: ModuleType) -> None:
    image = np.full((64, 64, 3), 200, np.uint8)
    assert (example.Holes(1.0)(image, 3) == 0).any()
    assert np.array_equal(example.Holes(1.0)(image, 3), example.Holes(1.0)(image, 3))
    assert np.array_equal(example.Holes(0.0)(image, 3), image)


def test_the_steps_of_albumentations() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", (EXTEND / "add_an_augmentation.md").read_text(), re.DOTALL)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--augmentation", type=Augmentation | Transform | None)
    found = parser.instantiate(parser.parse_object(yaml.safe_load(text)["data"])).augmentation
    assert [type(step) for step in found.transforms()] == [A.HorizontalFlip, A.ImageCompression]
    assert found(np.zeros((8, 8, 3), np.uint8), 1).shape == (8, 8, 3)


@pytest.mark.parametrize("example", ["add_a_loss"], indirect=True)
def test_the_loss(example: ModuleType) -> None:
    net = small_net()
    step = loss_step(net, paired_batch(2))
    step.found = step.found._replace(node=torch.arange(16.0).repeat(4, 1))
    assert float(example.Smoothness()(step)) == pytest.approx(1 + 16)
    step.batch["label"] = torch.zeros(4)
    assert float(example.Smoothness()(step)) == 0
    ResGATModule(net, losses=[example.Smoothness(weight=0.1)])


@pytest.mark.parametrize("example", ["add_a_metric"], indirect=True)
def test_the_metric(example: ModuleType) -> None:
    extra = ExtraMetrics([example.WorstRate(), example.WorstRate(threshold=0.8)])
    found = extra(np.array([0.1, 0.6, 0.7, 0.9]), np.array([0, 0, 1, 1]))
    assert {name: float(value) for name, value in found.items()} == {"WorstRate": 0.5, "WorstRate_2": 0.5}
    assert extra(np.array([0.1]), np.array([0]))["WorstRate"].isnan()


def test_every_kind_of_part_has_a_page_and_an_entry_point() -> None:
    shown = (EXTEND / "share_parts.md").read_text()
    for kind in get_args(PartKind):
        assert f'[project.entry-points."{group_of(kind)}"]' in shown
        assert any((EXTEND / f"add_{article}_{kind}.md").is_file() for article in ("a", "an"))
