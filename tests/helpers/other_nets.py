"""Detectors and heads as somebody else would write them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from resgat_pl.core.types import DetectorOutput
from resgat_pl.nn.detector_net import DetectorNet
from resgat_pl.nn.head import Head


class Blocks(DetectorNet):
    """Two convolutions: no encoder, no nodes, no graph."""

    def __init__(self, width: int = 4, image_size: int = 224, weights: str | None = None) -> None:
        super().__init__()
        if weights is not None:
            raise FileNotFoundError(weights)
        self.features = nn.Sequential(nn.Conv2d(3, width, 5, 4), nn.ReLU(), nn.Conv2d(width, width, 3, 2), nn.ReLU())
        self.out = nn.Linear(width, 1)

    def forward(self, images: Tensor) -> DetectorOutput:
        return DetectorOutput.of(self.out(self.features(images).mean(dim=(2, 3))).squeeze(1))


class Plain(nn.Module):
    """A module that gives ``outputs`` numbers an image."""

    def __init__(self, outputs: int = 1, flat: bool = False) -> None:
        super().__init__()
        self.flat = flat
        self.layer = nn.Conv2d(3, outputs, 8, 8)

    def forward(self, images: Tensor) -> Tensor:
        numbers: Tensor = self.layer(images).mean(dim=(2, 3))
        return numbers.squeeze(1) if self.flat else numbers


class Sizeless(DetectorNet):
    """Takes no size of its images."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()


class Enormous(DetectorNet):
    """Four terabytes."""

    def __init__(self, image_size: int = 224) -> None:
        super().__init__()
        self.layer = nn.Linear(2**20, 2**20)


class Gated(Head):
    """Linear, times a gate that is the same for all images: additive."""

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(in_features))
        self.gate = nn.Parameter(torch.tensor(0.5))
        self.shift = nn.Parameter(torch.tensor(0.2))

    def forward(self, pooled: Tensor) -> Tensor:
        return pooled @ (self.weight * self.gate.sigmoid()) + self.shift

    def linearise(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        return (self.weight * self.gate.sigmoid())[None], self.shift[None]


class Cosine(Head):
    """Cosine of pooled features and a direction, times ten: no sum over features."""

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(in_features))

    def forward(self, pooled: Tensor) -> Tensor:
        return 10 * torch.cosine_similarity(pooled, self.weight[None])


class Wrong(Cosine):
    """Says that it is a sum, and is not."""

    def linearise(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        return self.weight[None], self.weight.new_zeros(1)
