"""Patches of an image as nodes, each seen by one convolution."""

from pathlib import Path

from torch import Tensor, nn

from resgat_pl.nn.encoders import GridEncoder
from resgat_pl.nn.encoders.base import EncoderStage


class Patches(GridEncoder):
    """A patch embedding with batch norm: ``patches`` has 16 channels, ``patches/64`` has 64."""

    def __init__(self, name: str, weights: str | Path | None = None, stage: EncoderStage = 4) -> None:
        super().__init__()
        self.out_channels = int(name.partition("/")[2] or 16)
        self.stride = 2 ** (stage + 1)
        self.project = nn.Conv2d(3, self.out_channels, self.stride, self.stride)
        self.norm = nn.BatchNorm2d(self.out_channels)

    def forward(self, images: Tensor) -> Tensor:
        """Map ``images (B, 3, H, W)`` to ``(B, C, h, w)``; sides are multiples of the stride."""
        return self.norm(self.project(images)).relu()
