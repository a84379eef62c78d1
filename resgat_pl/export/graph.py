"""The exported computation: traced, written as ONNX, and compared with the checkpoint."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from resgat_pl.core.errors import ConfigError
from resgat_pl.export.onnx_file import TOLERANCE, additivity, largest_difference, rewrite_properties
from resgat_pl.export.runtime import OUTPUTS, ExportedDetector, ExportedOutput
from resgat_pl.nn.contribution import contributions
from resgat_pl.nn.resgat import ResGAT


class ExportGraph(nn.Module):
    """What is exported: the prediction with its decomposition over nodes; what nobody reads is left out of the file."""

    def __init__(self, net: ResGAT) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """``OUTPUTS`` of images ``(B, 3, S, S)`` float in [0, 1], RGB."""
        found = contributions(self.net, images)
        return found.output.logit, found.output.probability, found.node, found.bias


def trace(net: ResGAT) -> ExportedProgram:
    """The computation on images of the network's size and any number of them."""
    side = int(net.config["image_size"])
    # Two images: a size of 1 would be taken for a constant. Fitting the grid beforehand keeps its tables constants.
    example = torch.zeros(2, 3, side, side)
    with torch.no_grad():
        net(example)
    return torch.export.export(
        ExportGraph(net).eval(), (example,), dynamic_shapes=({0: Dim("batch", min=1)},), strict=True
    )


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
        """Refuse a file that says something else than the checkpoint.

        Raises:
            ConfigError: Gives the differences.
        """
        worst = float(np.max([self.logit, self.contribution, self.additivity]))  # NaN if one is
        if not worst <= TOLERANCE * self.scale:  # true of NaN as well
            raise ConfigError(
                f"{out} was not written: the exported detector does not agree with the checkpoint ({self}; allowed is "
                f"{TOLERANCE * self.scale:.1e}). Try the other --format, or other versions of torch and onnxruntime."
            )


def compare(net: ResGAT, exported: ExportedDetector) -> Agreement:
    """Run both on the same images: five and then one of them, since the number must not matter."""
    side, random = exported.image_size, torch.Generator().manual_seed(0)
    coarse = torch.rand(5, 3, 8, 8, generator=random)
    smooth = nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")
    noise = 0.1 * torch.rand(smooth.shape, generator=random)
    images = (0.9 * smooth + noise).clamp(0, 1)
    with torch.inference_mode():
        expected = ExportedOutput(*(values.numpy() for values in ExportGraph(net)(images)))
    found = exported(images.numpy())
    one = exported(images[:1].numpy())
    logit = float(
        np.max([largest_difference(found.logit, expected.logit), largest_difference(one.logit, expected.logit[:1])])
    )
    pairs = (
        (found.contribution, expected.contribution),
        (found.bias, expected.bias),
        (one.contribution, expected.contribution[:1]),
    )
    nodes = float(np.max([largest_difference(mine, theirs) for mine, theirs in pairs]))
    scale = max(1.0, float(np.abs(expected.logit).max()))
    return Agreement(logit, nodes, additivity(found), scale, len(images))


def write_onnx(program: ExportedProgram, path: Path, properties: dict[str, Any]) -> None:
    """Write an ``.onnx`` file with its properties."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's and onnxscript's own use of what they deprecate
        exported = torch.onnx.export(
            program, dynamo=True, input_names=["images"], output_names=list(OUTPUTS), verbose=False
        )
    if exported is None:
        raise RuntimeError("torch.onnx.export returned nothing")
    exported.save(path)
    rewrite_properties(path, properties)
