"""Detectors that go from an encoder's nodes to a verdict: the part that they have in common."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, Self, get_args, get_origin, get_type_hints

import torch
from torch import Tensor

from resgat_pl.core.errors import ConfigError
from resgat_pl.core.types import NetOutput
from resgat_pl.nn.detector_net import DetectorNet
from resgat_pl.nn.encoders.base import Stages
from resgat_pl.nn.encoders.registry import build_encoder
from resgat_pl.nn.encoders.tuning import TrainMode, choose_trained
from resgat_pl.nn.levels import Levels
from resgat_pl.nn.node_geometry import Lattice

Normalization = Literal["imagenet", "none"]
_LARGEST: Final = 2048
"""Pixels a side; larger images fit no memory: these are 16,384 nodes at stage 3."""


class EncoderNet(DetectorNet):
    """Base class of detectors with an encoder: ``forward`` is ``forward_nodes(encode(images))``.

    A subclass calls ``add_encoder`` in its constructor, and computes ``forward_nodes``.

    Attributes:
        backbone: The encoder.

    Example:
        >>> from resgat_pl.core.types import DetectorOutput
        >>> class Strongest(EncoderNet):
        ...     def __init__(self, encoder: str = "resnet18", image_size: int = 224):
        ...         super().__init__()
        ...         self.add_encoder(encoder, image_size=image_size)
        ...         self.head = torch.nn.Linear(self.backbone.out_channels, 1)
        ...     def forward_nodes(self, nodes):
        ...         return DetectorOutput.of(self.head(nodes).amax(dim=(1, 2)))
        >>> net = Strongest(image_size=64).eval()
        >>> net.encode(torch.zeros(1, 3, 64, 64)).shape, net(torch.zeros(1, 3, 64, 64)).logit.shape
        (torch.Size([1, 4, 512]), torch.Size([1]))
    """

    mean: Tensor
    std: Tensor
    _frozen = False

    def add_encoder(
        self,
        encoder: str,
        weights: str | Path | None = None,
        encoder_stage: Stages = 4,
        image_size: int = 224,
        train: TrainMode = "full",
        normalize: Normalization = "imagenet",
        receptive: int | None = None,
    ) -> None:
        """Make ``backbone``, and the buffers ``mean`` and ``std`` of its images; the arguments are those of ``ResGAT``.

        Raises:
            ConfigError: There is no such encoder, or a value is out of range.
            WeightsError: Its weights cannot be had, or do not fit.
        """
        self.backbone = build_encoder(encoder, weights, encoder_stage, image_size, receptive)
        choose_trained(self.backbone, train)
        self._frozen = train == "frozen"
        self.train()  # Lightning calls it only after a validation: until then a frozen encoder would be in training
        self._normalised = normalize == "imagenet"
        self.register_buffer("mean", torch.tensor(self.backbone.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(self.backbone.std).view(3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode; a frozen encoder stays in the latter, batch statistics included."""
        super().train(mode)
        if self._frozen:
            self.backbone.eval()
        return self

    def forward(self, images: Tensor) -> NetOutput:
        """Classify ``images (B, 3, H, W)`` float in [0, 1], RGB; raises as ``encode``."""
        return self.forward_nodes(self.encode(images))

    def encode(self, images: Tensor) -> Tensor:
        """Nodes ``(B, N, F)`` float of ``images (B, 3, H, W)`` float in [0, 1], RGB.

        Raises:
            ConfigError: The images are too small for a grid of 2×2 nodes.
        """
        self.backbone.grid_shape(*images.shape[-2:])
        return self.backbone.nodes(self.normalised(images))

    def forward_nodes(self, nodes: Tensor) -> NetOutput:
        """Classify images by their nodes ``(B, N, F)`` float, as ``encode`` gives them."""
        raise NotImplementedError(f"{type(self).__name__} has no forward_nodes")

    def normalised(self, images: Tensor) -> Tensor:
        """``images`` as the encoder takes them, in the precision of the network."""
        images = images.to(self.mean.dtype)  # 64 bits, if the network was made so
        return (images - self.mean) / self.std if self._normalised else images

    def lattice(self, height: int, width: int) -> Lattice:
        """Places of the nodes in an image of ``height × width`` pixels.

        Raises:
            ConfigError: The image is too small for a grid of 2×2 nodes.
        """
        return self.backbone.lattice(height, width)

    def levels(self, height: int, width: int) -> Levels:
        """Places of the nodes of every stage that the encoder gives, the finest first; raises as ``lattice``."""
        return Levels(self.backbone.lattices(height, width))


def check_arguments(
    kind: type[DetectorNet], given: Mapping[str, Any], largest: Mapping[str, int] | None = None
) -> None:
    """Refuse values that the types of a constructor do not: a checkpoint or a script can hold any.

    Args:
        kind: The detector.
        given: Its arguments.
        largest: By the names of whole numbers, the largest allowed; ``image_size`` is always among them.

    Raises:
        ConfigError: Names the argument.
    """
    for name, hint in get_type_hints(kind.__init__).items():
        if get_origin(hint) is Literal and given[name] not in get_args(hint):
            allowed = " or ".join(str(value) for value in get_args(hint))
            raise ConfigError(f"{name} is {given[name]!r}; it must be {allowed}.")
        if hint == Stages and given[name] not in (3, 4, [3, 4]):
            raise ConfigError(f"{name} is {given[name]!r:.60}; it must be 3, 4 or [3, 4].")
    for name, most in {**(largest or {}), "image_size": _LARGEST}.items():
        value = given[name]
        if type(value) is not int or not 1 <= value <= most:
            raise ConfigError(f"{name} is {value!r:.40}; it must be a whole number from 1 to {most:,}.")
    if not 0 <= given["dropout"] < 1:
        raise ConfigError(f"dropout is {given['dropout']}; it must be at least 0 and less than 1.")
