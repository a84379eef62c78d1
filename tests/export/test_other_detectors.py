"""Detectors without contributions are exported with their verdict alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from resgat_pl.core.errors import ConfigError, WeightsError
from resgat_pl.core.parts import class_path
from resgat_pl.core.types import DetectorOutput, ResGATOutput
from resgat_pl.evaluation.detector import Detector
from resgat_pl.explain.base import why_not
from resgat_pl.explain.methods.graph import Contribution
from resgat_pl.export.command import export
from resgat_pl.export.graph import ExportGraph, compare, trace
from resgat_pl.export.runtime import EXPORT_VERSION, ExportedDetector, ExportedOutput
from resgat_pl.nn.detector_net import DetectorNet
from resgat_pl.nn.logit_net import LogitNet
from resgat_pl.nn.nets import load_net
from resgat_pl.nn.pooled import PooledClassifier
from resgat_pl.nn.resgat import ResGAT

from ..helpers.other_nets import Blocks, Plain
from ..helpers.tiny_runs import untrained

THRESHOLDS = {"frame": 0.4, "video": 0.6}


def images(count: int) -> np.ndarray:
    return np.random.default_rng(0).random((count, 3, 64, 64), np.float32)


def checkpoint(net: DetectorNet, crops: Path, folder: Path) -> Path:
    return untrained(folder / "a.ckpt", crops, thresholds=THRESHOLDS, made=net)


def nets() -> dict[str, DetectorNet]:
    torch.manual_seed(0)
    return {
        "pooled": PooledClassifier("resnet18", encoder_stage=3, image_size=64),
        "plain": LogitNet(class_path(Plain), image_size=64),
    }


@pytest.mark.long
@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
@pytest.mark.parametrize("kind", ["pooled", "plain"])
def test_the_verdict_is_the_checkpoint_s(kind: str, suffix: str, ffpp_crops: Path, tmp_path: Path) -> None:
    path = checkpoint(nets()[kind], ffpp_crops, tmp_path)
    out = tmp_path / f"a{suffix}"
    assert "MB, float32" in export(path, out, "onnx" if suffix == ".onnx" else "torch")
    exported = ExportedDetector.load(out, trusted=True)
    net = Detector.load(path).net.cpu()
    for count in (1, 3):
        found = exported(images(count))
        with torch.inference_mode():
            expected = net(torch.from_numpy(images(count)))
        np.testing.assert_allclose(found.logit, expected.logit.numpy(), atol=1e-4)
        np.testing.assert_allclose(found.probability, expected.probability.numpy(), atol=1e-5)
        assert found.contribution.shape == (count, 0)
        np.testing.assert_array_equal(found.bias, found.logit)
        assert found.contribution.reshape(count, *exported.grid).shape == (count, 0, 0)
    assert exported.properties["net"] == class_path(type(net))
    assert exported.properties["schema"] == EXPORT_VERSION
    assert exported.threshold == 0.4
    assert compare(net, exported).additivity == 0
    if suffix == ".onnx":
        assert [output.name for output in onnx.load(out).graph.output] == ["logit", "probability"]


@pytest.mark.long
def test_int8_where_there_are_convolutions(ffpp_crops: Path, tmp_path: Path) -> None:
    path = checkpoint(nets()["pooled"], ffpp_crops, tmp_path)
    text = export(path, tmp_path / "a.onnx", int8=True, samples=24, tolerance=0.5)
    assert "int8 against the checkpoint" in text
    assert (tmp_path / "a.onnx").stat().st_size < 0.5 * path.stat().st_size
    dense = tmp_path / "dense"
    path = checkpoint(LogitNet(class_path(Dense), image_size=64), ffpp_crops, dense)
    with pytest.raises(ConfigError, match="int8 is for convolutions, and this detector has none"):
        export(path, dense / "a.onnx", int8=True, samples=24, tolerance=0.5)


class Dense(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 1)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        logit: torch.Tensor = self.layer(pictures.mean(dim=(2, 3)))
        return logit


@pytest.mark.parametrize("kind", ["pooled", "plain"])
def test_safetensors_hold_the_whole_checkpoint(kind: str, ffpp_crops: Path, tmp_path: Path) -> None:
    path = checkpoint(nets()[kind], ffpp_crops, tmp_path)
    out = tmp_path / "a.safetensors"
    assert "as in the checkpoint" in export(path, out, "safetensors")
    first, second = load_net(path), load_net(out)
    assert first.config == second.config
    given = torch.from_numpy(images(2))
    assert torch.equal(first(given).logit, second(given).logit)
    assert Detector.load(out).thresholds == THRESHOLDS


class Branching(Blocks):
    def forward(self, images: torch.Tensor) -> DetectorOutput:
        return DetectorOutput.of(
            images.sum(dim=(1, 2, 3)) if float(images.mean()) > 0.5 else images.mean(dim=(1, 2, 3))
        )


def test_what_cannot_be_traced_is_named() -> None:
    with pytest.raises(ConfigError, match=r"torch\.export cannot trace the detector .*Branching .*safetensors"):
        trace(Branching(image_size=64).eval())


def test_arrays_with_and_without_contributions() -> None:
    one = np.ones(2, np.float32)
    assert ExportedOutput.of([one, one]).contribution.shape == (2, 0)
    whole = ExportedOutput.of([one, one, np.ones((2, 4), np.float32), one])
    assert whole.contribution.shape == (2, 4)


def test_a_class_that_is_gone_is_named(ffpp_crops: Path, tmp_path: Path) -> None:
    path = checkpoint(Blocks(image_size=64), ffpp_crops, tmp_path)
    content = torch.load(path, weights_only=True)
    content["resgat"]["net"]["class_path"] = "gone_package.Net"
    torch.save(content, path)
    with pytest.raises(WeightsError, match=r"a\.ckpt .*gone_package\.Net is not part of .* --import gone_package"):
        Detector.load(path)


class Answered(ResGAT):
    """A ResGAT with an answer that is not all of its nodes."""

    def forward(self, images: Tensor) -> ResGATOutput:
        return super().forward(images)._replace(logit=images.mean(dim=(1, 2, 3)))


def test_an_answer_beside_the_nodes_is_what_is_exported() -> None:
    """The decomposition has another logit, and so none is offered, exported or explained by."""
    net = Answered(encoder="resnet18", encoder_stage=3, heads=2, hidden=4, image_size=64).eval()
    faces = torch.from_numpy(images(2))
    with torch.inference_mode():
        logit, *rest = ExportGraph(net)(faces)
        assert torch.equal(logit, net(faces).logit)
    assert len(rest) == 1
    assert "Answered has a separate answer" in str(why_not(Contribution, net))


def test_a_file_of_the_decomposition_alone_is_no_agreement(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Answered(encoder="resnet18", encoder_stage=3, heads=2, hidden=4, image_size=64).eval()
    monkeypatch.setattr(Answered, "has_contributions", True)

    def run(faces: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        with torch.inference_mode():
            return [values.numpy() for values in ExportGraph(net)(torch.from_numpy(faces))]

    with pytest.raises(ConfigError, match="does not agree with the checkpoint"):
        compare(net, ExportedDetector(run, {"image_size": 64, "grid": [4, 4]})).require(Path("out.onnx"))
