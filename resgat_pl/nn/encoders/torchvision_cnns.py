"""Convolutional encoders: torchvision's classifiers without their pooling and classifier."""

from __future__ import annotations

import difflib
from http.client import HTTPException
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models import WeightsEnum

from resgat_pl.core.errors import ConfigError, WeightsError
from resgat_pl.nn.encoders.base import GridEncoder
from resgat_pl.nn.node_geometry import geometry_of
from resgat_pl.nn.weights_file import load_strictly, read_state_dict

ENCODERS: tuple[str, ...] = tuple(
    models.list_models(module=models, include=["resnet*", "resnext*", "wide_resnet*", "mobilenet_v2", "efficientnet_*"])
)
"""Names of the encoders, as torchvision spells them."""


class Encoder(GridEncoder, nn.Sequential):
    """The convolutional part of a torchvision classifier.

    A ResNet is ``nn.Sequential(*resnet.children())`` without its last two (pooling and classifier), as in the paper's
    code, so its first parameter is ``0.weight``; MobileNetV2 and EfficientNet are their ``features``.

    Shapes:
        ``(B, 3, H, W)`` float → ``(B, out_channels, ⌈H / stride⌉, ⌈W / stride⌉)`` float.

    Args:
        name: One of ``ENCODERS``.
        weights: None for random values, ``"imagenet"`` for torchvision's, or the path of a state dict of the whole
            torchvision classifier.
        stage: 4 keeps every layer (stride 32); 3 ends with the last layer of stride 16 (``layer3`` of a ResNet).

    Raises:
        ConfigError: Unknown ``name``.
        WeightsError: The weights cannot be had, or do not fit.

    Example:
        >>> encoder = Encoder("resnet18", stage=3)
        >>> encoder.out_channels, encoder.stride, encoder.grid_shape(64, 64)
        (256, 16, (4, 4))
    """

    def __init__(self, name: str, weights: str | Path | None = None, stage: Literal[3, 4] = 4) -> None:
        if name not in ENCODERS:
            near = difflib.get_close_matches(name, ENCODERS, cutoff=0.4) or ENCODERS
            raise ConfigError(
                f"There is no encoder {name!r}; did you mean {' or '.join(near)}? Others are timm/NAME, class paths, "
                "and those of installed packages (entry points resgat_pl.encoders)."
            )
        model = models.get_model(name, weights=None)
        # The first version, which the paper's `pretrained=True` gave: torchvision's later ResNet-50 recipe (V2) has
        # other features. Every encoder here has a V1.
        pretrained = models.get_model_weights(name)["IMAGENET1K_V1"]
        if weights is not None:
            path = _imagenet_file(pretrained) if weights == "imagenet" else Path(weights)
            _load_backbone(model, path)
        layers = list(model.children())[:-2] if isinstance(model, models.ResNet) else list(model.features)
        layers, stride, channels = _cut(layers, 2 ** (stage + 1))
        super().__init__(*layers)
        self.stride = stride
        self.geometry = geometry_of(self)
        self.out_channels = channels
        transforms = pretrained.transforms()
        self.mean, self.std = tuple(transforms.mean), tuple(transforms.std)

    def stage_three(self) -> GridEncoder:
        """Channels, stride and places of the nodes of stage 3, without layers; of an encoder of stage 4."""
        layers, stride, channels = _cut(list(self), self.stride // 2)
        found = GridEncoder()
        found.stride, found.out_channels, found.geometry = stride, channels, geometry_of(nn.Sequential(*layers))
        return found

    def both_stages(self, images: Tensor) -> list[Tensor]:
        """Feature maps of stage 3 and of this one, 4, in one pass: the last strided layer's input, and the end."""
        first = last = images
        for layer in self:
            following = layer(last)
            first = last if following.shape[2:] != last.shape[2:] else first
            last = following
        return [first, last]


def _imagenet_file(weights: WeightsEnum) -> Path:
    """The file of weights in torch.hub's folder, downloaded if it is not there."""
    url: str = weights.url
    file = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    if not file.is_file():
        try:
            weights.get_state_dict(progress=True, check_hash=True, weights_only=True)
        # URLError is an OSError; a download cut short or altered is an HTTPException or a RuntimeError (wrong hash).
        except (OSError, HTTPException, RuntimeError) as error:
            raise WeightsError(
                f"Cannot download the ImageNet weights {file.name} ({error}). Without network, put that file into "
                f"{file.parent}, or give --net.weights FILE, or --net.weights null to start from random values."
            ) from error
    return file


def _load_backbone(model: nn.Module, path: Path) -> None:
    for classifier in ("fc", "classifier"):
        if hasattr(model, classifier):
            setattr(model, classifier, nn.Identity())
    state = {key: value for key, value in read_state_dict(path).items() if not key.startswith(("fc.", "classifier."))}
    load_strictly(model, state, path)


@torch.no_grad()
def _cut(layers: list[nn.Module], stride: int) -> tuple[list[nn.Module], int, int]:
    """Keep the layers whose output has at most ``stride``; also return the stride reached and the channels.

    A small image is sent through, so that nothing about the architectures has to be written down here.
    """
    side = 64
    features: Tensor = torch.zeros(1, 3, side, side)
    kept: list[nn.Module] = []
    for layer in layers:
        # Evaluation mode, so that the probe leaves no trace in batch-norm statistics and draws no random number.
        following = layer.eval()(features)
        layer.train()
        if side // following.shape[-1] > stride:
            break
        features = following
        kept.append(layer)
    return kept, side // features.shape[-1], features.shape[1]
