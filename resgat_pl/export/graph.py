"""The exported computation: traced, written as ONNX, and compared with the checkpoint."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.parts import class_path
from resgat_pl.core.text import first_line
from resgat_pl.export.runtime import OUTPUTS, ExportedDetector, ExportedOutput
from resgat_pl.nn.contribution import contributions
from resgat_pl.nn.detector_net import DetectorNet

TOLERANCE: Final = 1e-4
"""Largest difference from the checkpoint, relative to the largest logit or to 1: float32 sums in another order."""


class ExportGraph(nn.Module):
    """The exported part of the network: the prediction, with its decomposition over nodes where there is one."""

    spread: Tensor | None

    def __init__(self, net: DetectorNet) -> None:
        super().__init__()
        self.net = net
        levels = net.levels(net.image_size, net.image_size)
        several = net.has_contributions and len(levels.lattices) > 1
        # Two grids become one map, by a matrix (N, h·w).
        spread = levels.summed(torch.eye(levels.num_nodes)).flatten(1) if several else None
        self.register_buffer("spread", spread, persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """``OUTPUTS`` of images ``(B, 3, S, S)`` float in [0, 1], RGB; the first two without contributions."""
        if not self.net.has_contributions:
            output = self.net(images)
            return output.logit, output.probability
        found = contributions(self.net, images)
        node = found.node if self.spread is None else found.node @ self.spread
        return found.output.logit, found.output.probability, node, found.bias


def trace(net: DetectorNet) -> ExportedProgram:
    """Trace the computation for any number of images of the network's size.

    Raises:
        ConfigError: torch cannot trace it.
    """
    side = net.image_size
    # Two images: a size of 1 would be taken for a constant. Fitting the grid beforehand keeps its tables constants.
    example = torch.zeros(2, 3, side, side)
    with torch.no_grad():
        net(example)
    graph, shapes = ExportGraph(net).eval(), ({0: Dim("batch", min=1)},)
    try:
        return torch.export.export(graph, (example,), dynamic_shapes=shapes, strict=True)
    except Exception as error:  # of many kinds, on code that depends on numbers
        if type(net).__module__.startswith("resgat_pl."):
            raise
        raise ConfigError(
            f"torch.export cannot trace the detector {class_path(type(net))} ({first_line(error)}). Let its forward "
            "not depend on numbers in tensors or on the batch's size, or export it as safetensors."
        ) from error


@dataclass(frozen=True)
class Agreement:
    """Largest differences between a file and the checkpoint.

    Attributes:
        logit: Of the logits.
        contribution: Of the contributions and the bias.
        additivity: Between the file's own logit and the sum of its contributions and bias.
        scale: Largest logit, at least 1.
        images: Images that were compared.
    """

    logit: float
    contribution: float
    additivity: float
    scale: float
    images: int

    def __str__(self) -> str:
        return (
            f"largest difference of {self.images} images: logit {self.logit:.1e}, contribution "
            f"{self.contribution:.1e}; of the sum of contributions from the logit {self.additivity:.1e}"
        )

    def require(self, out: Path) -> None:
        """Refuse a file whose numbers are not those of the checkpoint.

        Raises:
            ConfigError: Gives the differences.
        """
        worst = float(np.max([self.logit, self.contribution, self.additivity]))  # NaN if one is
        if not worst <= TOLERANCE * self.scale:  # true of NaN as well
            raise ConfigError(
                f"{out} was not written: the exported detector does not agree with the checkpoint ({self}; allowed is "
                f"{TOLERANCE * self.scale:.1e}). Try the other --format, or other versions of torch and onnxruntime."
            )


def compare(net: DetectorNet, exported: ExportedDetector) -> Agreement:
    """Run both on five images, and the file on one of them alone, since their number must not matter.

    The network's logit is that of its ``forward``: a class derived from ResGAT may have one that the decomposition,
    which is exported, knows nothing of.
    """
    side, random = exported.image_size, torch.Generator().manual_seed(0)
    coarse = torch.rand(5, 3, 8, 8, generator=random)
    smooth = nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")
    noise = 0.1 * torch.rand(smooth.shape, generator=random)
    images = (0.9 * smooth + noise).clamp(0, 1)
    with torch.inference_mode():
        answer, graph = net(images), ExportGraph(net)(images)
        arrays = [answer.logit, answer.probability, *graph[2:]]
        expected = ExportedOutput.of([values.numpy()[[0, 1, 2, 3, 4, 0]] for values in arrays])
    runs = exported(images.numpy()), exported(images[:1].numpy())
    found = ExportedOutput(*(np.concatenate(parts) for parts in zip(*runs, strict=True)))
    logit, _, contribution, bias = (
        np.abs(one - other).max(initial=0) for one, other in zip(found, expected, strict=True)
    )
    scale = max(1.0, float(np.abs(expected.logit).max()))
    nodes = float(np.max([contribution, bias]))  # NaN if one is
    return Agreement(float(logit), nodes, additivity(found), scale, len(images))


def additivity(found: ExportedOutput) -> float:
    """Largest difference between a logit and the sum of its contributions and bias."""
    return float(np.abs(found.contribution.sum(1) + found.bias - found.logit).max())


def write_onnx(program: ExportedProgram, path: Path, properties: dict[str, Any]) -> None:
    """Write an ``.onnx`` file with its properties."""
    names = OUTPUTS[: len(program.graph_signature.user_outputs)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's and onnxscript's own use of what they deprecate
        exported = torch.onnx.export(
            program, dynamo=True, input_names=["images"], output_names=list(names), verbose=False
        )
    if exported is None:
        raise RuntimeError("torch.onnx.export returned nothing")
    exported.save(path)
    rewrite_properties(path, properties)


def rewrite_properties(path: Path, properties: dict[str, Any]) -> None:
    """Write properties into ``metadata_props`` of an ``.onnx`` file, each value as JSON."""
    import onnx

    model = onnx.load(path)
    onnx.helper.set_model_props(model, {name: json.dumps(value) for name, value in properties.items()})
    onnx.save(model, path)
